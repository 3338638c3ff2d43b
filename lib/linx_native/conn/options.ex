defmodule LinxNative.Conn.Options do
  @moduledoc """
  The options of `LinxNative.Conn.start_link/2`, checked before a process is started.
  """

  alias LinxNative.Conn.{Filter, Native}
  alias LinxNative.{Message, Rtnetlink}

  @flags [
    :packet_info,
    :broadcast_error,
    :no_enobufs,
    :listen_all_nsid,
    :cap_ack,
    :ext_ack,
    :strict_check
  ]

  # NETLINK_* of linux/netlink.h
  @protocols %{
    route: 0,
    usersock: 2,
    sock_diag: 4,
    xfrm: 6,
    audit: 9,
    netfilter: 12,
    generic: 16,
    crypto: 21
  }

  # What the kernel's `int` holds when doubled.
  @max_buffer 0x3FFFFFFF
  @max_group 0x7FFFFFFF
  @max_datagram 0x1000000

  @defaults [
    netns: :host,
    groups: [],
    read_buffer: nil,
    write_buffer: nil,
    datagram: 65_536,
    event_buffer: 1_048_576,
    filter: nil,
    accept: :kernel,
    trace: false,
    subscriber: nil,
    active: false,
    packet_info: true,
    broadcast_error: false,
    no_enobufs: false,
    listen_all_nsid: false,
    cap_ack: true,
    ext_ack: true,
    strict_check: false
  ]

  @doc "The names of the socket's options that are on or off."
  @spec flags() :: [atom]
  def flags, do: @flags

  @doc "The protocol whose names the messages of a connection have, see `t:LinxNative.Message.protocol/0`."
  @spec named(integer) :: Message.protocol() | nil
  def named(0), do: :route
  def named(16), do: :generic
  def named(_number), do: nil

  @doc "The number of a protocol."
  @spec protocol!(atom | integer) :: integer
  def protocol!(protocol) when is_map_key(@protocols, protocol), do: @protocols[protocol]
  def protocol!(protocol) when protocol in -0x80000000..0x7FFFFFFF, do: protocol

  def protocol!(other) do
    names = @protocols |> Map.keys() |> Enum.map_join(", ", &inspect/1)
    raise ArgumentError, "a protocol is an integer or one of #{names}, not #{inspect(other)}"
  end

  @doc "The options as the process takes them, with what was left out."
  @spec parse!(keyword, integer) :: map
  def parse!(options, protocol) do
    options = options |> Keyword.validate!(@defaults) |> Map.new()
    for {name, value} <- options, do: check(name, value) || refuse!(name, value)

    %{
      netns: netns(options.netns),
      groups: Enum.map(options.groups, &group!(&1, named(protocol))),
      buffers: for(name <- [:read_buffer, :write_buffer], size = options[name], do: {name, size}),
      datagram: options.datagram,
      event_buffer: options.event_buffer,
      filter: options.filter && assemble!(options.filter),
      accept: options.accept,
      trace: options.trace,
      native: Native,
      subscriber: options.subscriber,
      active: options.active,
      packet_info: options.packet_info,
      # What is off is off in a new socket.
      flags: for(flag <- @flags -- [:packet_info], options[flag], do: {flag, true})
    }
  end

  defguardp is_group(group) when is_integer(group) and group in 1..@max_group

  @doc "The number of a multicast group, which may have a name if the protocol has names here, see `named/1`."
  @spec group!(term, Message.protocol() | nil) :: pos_integer
  def group!(group, _protocol) when is_group(group), do: group
  def group!(name, :route) when is_atom(name), do: Rtnetlink.group(name)

  def group!(name, _protocol) when is_atom(name) do
    raise ArgumentError,
          "a multicast group has a name only on a connection to :route; here it is a number, not #{inspect(name)}"
  end

  def group!(other, _protocol) do
    raise ArgumentError,
          "a multicast group is a name or a number in 1..#{@max_group}, not #{inspect(other)}"
  end

  @doc "Whether it is a size of a buffer, in bytes."
  defguard is_buffer(size) when is_integer(size) and size in 1..@max_buffer

  @doc "Whether it says where a trace goes."
  defguard is_trace(trace) when is_boolean(trace) or is_pid(trace)

  @doc "Whether it is a flow control."
  defguard is_active(active)
           when is_boolean(active) or active == :once or
                  (is_integer(active) and active in 1..32_767)

  defp check(:netns, :host), do: true
  defp check(:netns, {:pid, pid}), do: is_integer(pid) and pid > 0
  defp check(:netns, {:path, path}), do: is_binary(path)
  defp check(:netns, {:fd, fd}), do: is_integer(fd) and fd in 0..0x7FFFFFFF
  defp check(:netns, _other), do: false
  # Each of them is checked by group!/2.
  defp check(:groups, groups), do: is_list(groups) and not List.improper?(groups)
  defp check(name, nil) when name in [:read_buffer, :write_buffer, :filter, :subscriber], do: true
  defp check(name, size) when name in [:read_buffer, :write_buffer], do: is_buffer(size)
  defp check(:datagram, size), do: is_integer(size) and size in 32..@max_datagram
  defp check(:event_buffer, size), do: is_integer(size) and size >= 0
  defp check(:filter, filter), do: is_list(filter)
  defp check(:accept, accept), do: accept in [:kernel, :any]
  defp check(:trace, trace), do: is_trace(trace)
  defp check(:subscriber, subscriber), do: is_pid(subscriber)
  defp check(:active, active), do: is_active(active)
  defp check(flag, on) when flag in @flags, do: is_boolean(on)

  @spec refuse!(atom, term) :: no_return
  defp refuse!(name, value) do
    raise ArgumentError, "the option #{inspect(name)} cannot be #{inspect(value)}"
  end

  defp netns({:pid, pid}), do: {:path, "/proc/#{pid}/ns/net"}
  defp netns(netns), do: netns

  defp assemble!(filter) do
    case Filter.assemble(filter) do
      {:ok, program} -> program
      {:error, error} -> raise ArgumentError, "the option :filter: #{Exception.message(error)}"
    end
  end
end
