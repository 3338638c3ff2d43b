defmodule LinxNative.Conn.Socket do
  @moduledoc false

  # The socket of a connection: opens it, sets its options, and turns errnos into a `LinxNative.Error`.

  alias LinxNative.{Error, Native}

  @typedoc "The module of the native functions, `LinxNative.Native` or a replacement, and the socket that it opened."
  @type t :: {module, term}

  @doc """
  Opens a socket for the calling process, with the options that `LinxNative.Conn.Options.parse!/2` returned. Returns also its port
  id.

  If this fails, the socket is closed, at the latest when the process ends.
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
  Calls a function of `LinxNative.Native` for a socket. `stage` is the stage of an error.
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
  Returns the options for the socket of a stream: in the same network namespace and with the same options for answers, but without
  groups and filter.
  """
  @spec stream_options(t, map) :: map
  def stream_options({_native, reference} = socket, options) do
    flags =
      for flag <- [:cap_ack, :ext_ack, :strict_check],
          call(socket, flag, :flag, [flag]) == {:ok, true},
          do: {flag, true}

    # To find the namespace of a socket needs CAP_NET_ADMIN. A socket in the VM's own namespace does not need that.
    netns = if options.netns == :host, do: :host, else: {:same_as, reference}
    own = %{groups: [], filter: nil, buffers: [], accept: :kernel, subscriber: nil, active: false}
    options |> Map.merge(own) |> Map.merge(%{netns: netns, flags: flags})
  end

  @doc "Sends and receives, see `LinxNative.Native.exchange/3`."
  @spec exchange(t, [{Native.u32(), binary}], Native.u32()) ::
          [Native.entry()] | Native.socket_error()
  def exchange({native, socket}, messages, datagrams),
    do: native.exchange(socket, messages, datagrams)

  @doc "Asks for one message when there is something to receive, see `LinxNative.Native.select/2`."
  @spec select(t, reference) :: :ok | Native.socket_error()
  def select({native, socket}, reference), do: native.select(socket, reference)

  @doc "Closes the socket, see `LinxNative.Native.close/1`."
  @spec close(t) :: :ok
  def close({native, socket}), do: native.close(socket)

  @doc """
  Returns what the kernel knows about a socket; `nil` for a value that it does not return.
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

  # The steps, each with its stage. The packet info comes first, so that no event is taken for an answer. The groups come last,
  # so that all other options apply to their events.
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
