defmodule LinxNative.Conn.Options do
  @moduledoc false

  # Checks the options of the functions of `LinxNative.Conn` before the process gets them.

  alias LinxNative.Conn.Filter
  alias LinxNative.{CommonOptions, Message, Names, Native, Rtnetlink}

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

  # The kernel doubles the size, and keeps it in an `int`.
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

  @server [:name, :timeout, :debug, :spawn_opt, :hibernate_after]

  # The valid values of each option, for messages.
  @choices %{
    netns: CommonOptions.namespaces(),
    groups: "a list of multicast groups",
    read_buffer: "a size in bytes, 1 to #{@max_buffer}",
    write_buffer: "a size in bytes, 1 to #{@max_buffer}",
    datagram: "a length in bytes, 32 to #{@max_datagram}",
    event_buffer: "a number of bytes, 0 or more",
    filter: "a list of instructions, see LinxNative.Conn.Filter",
    accept: ":kernel or :any",
    trace: "true, false or a process",
    subscriber: "a process",
    active: "true, false, :once or a number, 1 to 32767",
    name: "a name as in GenServer.start_link/3",
    timeout: CommonOptions.timeouts(),
    debug: "a list as in GenServer.start_link/3",
    spawn_opt: "a list as in GenServer.start_link/3",
    hibernate_after: CommonOptions.timeouts(),
    retry: "a number of further attempts, 0 or more",
    ack: "true or false",
    to: "a port id, 0 to #{0xFFFFFFFF}"
  }

  @doc "Returns the names of the socket's boolean options."
  @spec flags() :: [atom]
  def flags, do: @flags

  @doc "Returns the protocol of a number if its messages have names, else `nil`. See `t:LinxNative.Message.protocol/0`."
  @spec named(integer) :: Message.protocol() | nil
  def named(0), do: :route
  def named(16), do: :generic
  def named(_number), do: nil

  @doc "Returns the number of a protocol."
  @spec protocol!(atom | integer) :: integer
  def protocol!(protocol) when is_map_key(@protocols, protocol), do: @protocols[protocol]
  def protocol!(protocol) when protocol in -0x80000000..0x7FFFFFFF, do: protocol

  def protocol!(other) do
    names = @protocols |> Map.keys() |> Enum.map_join(", ", &inspect/1)
    raise ArgumentError, "a protocol is an integer or one of #{names}, not #{inspect(other)}"
  end

  @doc "Checks the options of start_link/2 and returns them as the process takes them, with the defaults."
  @spec parse!(keyword, integer) :: map
  def parse!(options, protocol) do
    options = options |> validate!(@defaults, @server) |> Map.new()

    if options.active != false and options.subscriber == nil do
      raise ArgumentError, "the option :active needs a :subscriber"
    end

    %{
      netns: CommonOptions.namespace(options.netns, "net"),
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
      # Every flag is off in a new socket.
      flags: for(flag <- @flags -- [:packet_info], options[flag], do: {flag, true})
    }
  end

  @doc "Splits the options of start_link/2 into those of GenServer.start_link/3, with a default, and the others."
  @spec split!(term) :: {keyword, keyword}
  def split!(options) do
    {server, others} = options |> keyword!() |> Keyword.split(@server)
    check!(server)
    {Keyword.put_new(server, :hibernate_after, 1000), others}
  end

  @doc "Checks the options of a call and returns them with the defaults."
  @spec call!(term, keyword) :: keyword
  def call!(options, defaults), do: validate!(options, defaults)

  @doc "Checks and returns a timeout that is an argument."
  @spec timeout!(term) :: timeout
  def timeout!(timeout) do
    if check(:timeout, timeout), do: timeout, else: refuse!("a timeout", :timeout, timeout)
  end

  @doc "Checks the name of an option of the socket, and its value if it is given."
  @spec option!(term) :: :ok
  @spec option!(term, term) :: :ok
  def option!(name) when name in @flags or name in [:read_buffer, :write_buffer], do: :ok

  def option!(name) do
    names = Enum.map_join([:read_buffer, :write_buffer | @flags], ", ", &inspect/1)
    raise ArgumentError, "an option of the socket is one of #{names}, not #{inspect(name)}"
  end

  def option!(name, value) do
    option!(name)

    if value != nil,
      do: check!([{name, value}]),
      else: refuse!("the option #{inspect(name)}", name, value)
  end

  # `others` are options that were split off before; the message lists them too.
  defp validate!(options, defaults, others \\ []) do
    for {name, _value} <- keyword!(options),
        not Keyword.has_key?(defaults, name),
        do:
          raise(ArgumentError, Names.unknown("no option", name, Keyword.keys(defaults) ++ others))

    options = Keyword.merge(defaults, options)
    check!(options)
    options
  end

  defp keyword!(options) do
    if Keyword.keyword?(options) do
      options
    else
      raise ArgumentError,
            "options are a keyword list, for example [timeout: 5000], not #{inspect(options)}"
    end
  end

  @doc "Checks the values of options."
  @spec check!(keyword) :: :ok
  def check!(options) do
    for {name, value} <- options,
        not check(name, value),
        do: refuse!("the option #{inspect(name)}", name, value)

    :ok
  end

  defguardp is_group(group) when is_integer(group) and group in 1..@max_group

  @doc "Returns the number of a multicast group. A name is valid only if the protocol has names, see `named/1`."
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

  defp check(:netns, netns), do: CommonOptions.namespace?(netns)
  # group!/2 checks each group.
  defp check(:groups, groups), do: is_list(groups) and not List.improper?(groups)
  defp check(name, nil) when name in [:read_buffer, :write_buffer, :filter, :subscriber], do: true

  defp check(name, size) when name in [:read_buffer, :write_buffer],
    do: is_integer(size) and size in 1..@max_buffer

  defp check(:datagram, size), do: is_integer(size) and size in 32..@max_datagram
  defp check(:event_buffer, size), do: is_integer(size) and size >= 0
  defp check(:filter, filter), do: is_list(filter)
  defp check(:accept, accept), do: accept in [:kernel, :any]
  defp check(:trace, trace), do: is_boolean(trace) or is_pid(trace)
  defp check(:subscriber, subscriber), do: is_pid(subscriber)

  defp check(:active, active) do
    is_boolean(active) or active == :once or (is_integer(active) and active in 1..32_767)
  end

  # GenServer checks the name.
  defp check(:name, _name), do: true
  defp check(name, list) when name in [:debug, :spawn_opt], do: is_list(list)

  defp check(name, timeout) when name in [:timeout, :hibernate_after],
    do: CommonOptions.timeout?(timeout)

  defp check(:retry, count), do: is_integer(count) and count >= 0
  defp check(:to, port_id), do: is_integer(port_id) and port_id in 0..0xFFFFFFFF
  defp check(name, on) when name in [:ack | @flags], do: is_boolean(on)

  @spec refuse!(String.t(), atom, term) :: no_return
  defp refuse!(what, name, value) do
    choices = Map.get(@choices, name, "true or false")
    raise ArgumentError, "#{what} is #{choices}, not #{inspect(value)}"
  end

  defp assemble!(filter) do
    case Filter.assemble(filter) do
      {:ok, program} -> program
      {:error, error} -> raise ArgumentError, "the option :filter: #{Exception.message(error)}"
    end
  end
end
