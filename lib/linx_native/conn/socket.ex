defmodule LinxNative.Conn.Socket do
  @moduledoc """
  The socket of a connection, with names for errors: how it is opened and set up, and what is known of it.
  """

  alias LinxNative.Native
  alias LinxNative.Error

  @typedoc "The module of its functions, `LinxNative.Native` or one like it, and what that opened."
  @type t :: {module, term}

  @doc """
  Opens one with the options that `LinxNative.Conn.Options.parse!/1` gave, for the calling process. Also its port id.

  If that fails the socket is closed, at the latest when the process ends.
  """
  @spec open(integer, map) ::
          {:ok, t, Native.u32()} | {:error, Error.t()}
  def open(protocol, options) do
    with {:ok, socket} <- open_in_netns(protocol, options),
         :ok <- run(socket, steps(options)),
         {:ok, port_id} <- call(socket, :port_id, :port_id, []) do
      {:ok, socket, port_id}
    end
  end

  @doc """
  Calls a function of `LinxNative.Native` for it, which is the stage that an error names.
  """
  @spec call(t, Error.stage(), atom, list) :: :ok | {:ok, term} | {:error, Error.t()}
  def call({native, socket}, stage, function, arguments) do
    case apply(native, function, [socket | arguments]) do
      {:error, :closed} -> {:error, %Error{reason: :closed}}
      {:error, errno} -> {:error, Error.from_errno(stage, errno)}
      result -> result
    end
  end

  @doc """
  Returns the options of another socket in the same network namespace, whose requests are answered in the same way, and
  which gets nothing else.
  """
  @spec beside(t, map) :: map
  def beside({_native, reference} = socket, options) do
    flags =
      for flag <- [:cap_ack, :ext_ack, :strict_check],
          call(socket, flag, :flag, [flag]) == {:ok, true},
          do: {flag, true}

    # To look at the namespace of a socket takes a right that one of the VM's own namespace does without.
    netns = if options.netns == :host, do: :host, else: {:beside, reference}
    own = %{groups: [], filter: nil, buffers: [], accept: :kernel, subscriber: nil, active: false}
    options |> Map.merge(own) |> Map.merge(%{netns: netns, flags: flags})
  end

  @doc "See `LinxNative.Native.exchange/3`."
  @spec exchange(t, [{Native.u32(), binary}], Native.u32()) :: [Native.entry()] | Native.failed()
  def exchange({native, socket}, messages, datagrams),
    do: native.exchange(socket, messages, datagrams)

  @doc "See `LinxNative.Native.select/2`."
  @spec select(t, reference) :: :ok | Native.failed()
  def select({native, socket}, reference), do: native.select(socket, reference)

  @doc "See `LinxNative.Native.close/1`."
  @spec close(t) :: :ok
  def close({native, socket}), do: native.close(socket)

  @doc """
  What the kernel says of it; `nil` for what it does not tell.
  """
  @spec info(t) :: map
  def info(socket) do
    for {key, function, arguments} <- [
          {:groups, :groups, []},
          {:netns, :netns, []},
          {:read_buffer, :buffer, [:read_buffer]},
          {:write_buffer, :buffer, [:write_buffer]},
          {:drops, :drops, []}
        ],
        into: %{} do
      case call(socket, key, function, arguments) do
        {:ok, value} -> {key, value}
        {:error, _reason} -> {key, nil}
      end
    end
  end

  defp open_in_netns(protocol, %{native: native} = options) do
    case native.open(options.netns, protocol, options.datagram) do
      {:ok, socket} -> {:ok, {native, socket}}
      {:error, {stage, errno}} -> {:error, Error.from_errno(stage, errno)}
      {:error, :closed} -> {:error, %Error{reason: :closed}}
    end
  end

  # The stage, and the function. The packet info first, so that no event is taken for an answer; the groups last, as what
  # they bring is subject to all else.
  defp steps(options) do
    kernel = if options.accept == :kernel, do: [{:accept, :only_kernel, []}], else: []
    filter = if options.filter, do: [{:filter, :attach_filter, [options.filter]}], else: []

    [{:packet_info, :set_flag, [:packet_info, true]}] ++
      kernel ++
      for({buffer, bytes} <- options.buffers, do: {buffer, :set_buffer, [buffer, bytes]}) ++
      for({flag, on} <- options.flags, do: {flag, :set_flag, [flag, on]}) ++
      filter ++
      for(group <- options.groups, do: {{:group, group}, :join, [group]})
  end

  defp run(socket, steps) do
    Enum.find_value(steps, :ok, fn {stage, function, arguments} ->
      with :ok <- call(socket, stage, function, arguments), do: nil
    end)
  end
end
