defmodule LinxNative.Conn.Loaded do
  @moduledoc false

  # Loads the modules that a request and an error need before a connection starts, because later there may be no descriptor left
  # to load them with.

  alias LinxNative.{Alignment, Attributes, CommonOptions, Conn, Errno, Error, Message, Names}
  alias LinxNative.KernelText

  @modules [Access, Enum, GenServer, Integer, Keyword, List, Map, Process, System] ++
             [:atomics, :file, :gen_server, :queue] ++
             [Alignment, Attributes, Attributes.Kind, Attributes.Schema, Errno, Error, Message] ++
             [
               Names,
               Conn.Call,
               Conn.Caller,
               Conn.Entries,
               Conn.Inbox,
               Conn.KeyedQueue,
               CommonOptions,
               Conn.Options
             ] ++
             [Conn.Outcome, Conn.Requests, Conn.Server, Conn.Socket, Conn.State, Conn.Streaming] ++
             [Conn.Trace]

  @doc "Loads the modules."
  @spec ensure!() :: :ok
  def ensure! do
    for module <- @modules, do: {:module, ^module} = Code.ensure_loaded(module)
    # Which modules of Elixir this needs depends on its version.
    _ = KernelText.printable(<<0, 0xFF>>)
    :ok
  end
end
