defmodule LinxNative.Conn do
  @moduledoc """
  A netlink connection in any network namespace: a process that owns an `AF_NETLINK` socket.

      alias LinxNative.{Conn, Rtnetlink}

      {:ok, conn} = Conn.start_link(:route, netns: {:pid, 4711})

      # The links of that namespace
      {:ok, links} = Conn.request(conn, Rtnetlink.message(:getlink, flags: [:dump]))

  or under a supervisor, as `{LinxNative.Conn, {:route, netns: {:path, "/run/netns/blue"}, name: Blue}}`.

  `LinxNative.Rtnetlink` and `LinxNative.Genetlink` have messages by name. Messages of other protocols are made with
  `LinxNative.Message` and `LinxNative.Attributes`. `trace/2` shows the messages of a connection, and `LinxNative.Conn.Test`
  replaces a connection in tests.

  ## The descriptor

  The socket belongs to the process of the connection. It is closed, and so releases its namespace, by `close/1`, when the
  process that started the connection ends, and when the process of the connection ends for any reason, `:kill` included. A
  start that fails leaves nothing open. No caller ever holds a descriptor that it could leak. Every descriptor is
  close-on-exec.

  ## Requests

  Any number of processes can use one connection at the same time. Each request has a sequence number of its own, and no lock
  is held while it is answered. An answer goes to the caller with its sequence number and port id, and only if it comes from
  the port that the request went to. An answer of several messages is returned as one list. It is complete, or the caller
  gets a `LinxNative.Error`.

  The kernel runs one dump at a time for each socket, so several dumps take turns. Other requests are sent between the parts of
  a dump, which have a few hundred kilobytes each.

  The kernel acts on a request while it is sent, and makes the parts of a dump while they are received. If that takes long, for
  example because another process holds the kernel's locks, the connection waits, and so do other requests and `close/1`.
  Timeouts still work, because the caller keeps the time. If slow requests must not delay others, use two connections.

  To read a large dump, use `stream/3`.

  ## Events

  A connection that joined multicast groups (`join_group/2`, or the option `:groups`) receives their events. It sends them to its
  subscriber as

      {:netlink, conn, messages, origin}
      {:netlink_error, conn, error}

  with flow control as in `:gen_udp`, see `active/2`, or returns them to the callers of `recv/2`. `origin` is a `t:origin/0`. A
  datagram counts as one event.

  Unclaimed events stay in the kernel's read buffer. Events that the process had to read to reach an answer are kept in the
  process, up to `:event_buffer` bytes; each message counts 256 bytes more than its size. If either buffer is full, further
  events are lost. The loss is reported in order, as an error with the reason `:overrun`: as `{:netlink_error, conn, error}`, or
  from `recv/2`. The connection goes on. A caller that follows the state of the kernel by its events then has to ask for the
  whole state again. The kernel does not say what was lost, so an overrun also ends the requests in flight with that error.
  For many events, use a connection of their own.

  `docs/conn.md` compares it with mdlayher/netlink and with `:socket`, row by row.
  """

  import Bitwise

  alias LinxNative.Conn.{Call, Filter, Loaded, Options, Server, Streaming}
  alias LinxNative.{Error, Message, Rtnetlink}

  @typedoc "The process of a connection, or its name."
  @type t :: GenServer.server()

  @typedoc "A network namespace: of the VM, of a process, by the path of its file, or by a descriptor."
  @type netns :: :host | {:pid, pos_integer} | {:path, binary} | {:fd, non_neg_integer}

  @typedoc """
  The sender of a message.

    * `port_id` - the port that sent it; 0 is the kernel
    * `group` - the multicast group that it was sent to; 0 if it was sent to this connection alone; `nil` without `:packet_info`
    * `nsid` - with `:listen_all_nsid`, the id of the namespace that it came from, as the connection's namespace numbers the
      others; `nil` for its own
  """
  @type origin :: %{
          port_id: Message.u32(),
          group: Message.u32() | nil,
          nsid: integer | nil
        }

  @typedoc "A boolean option of the socket, see `start_link/2`."
  @type flag ::
          :packet_info
          | :broadcast_error
          | :no_enobufs
          | :listen_all_nsid
          | :cap_ack
          | :ext_ack
          | :strict_check

  @dump Message.flags([:dump])
  @create Message.flags([:create])
  @echo Message.flags([:echo])
  @request Message.flags([:request])
  @request_and_ack Message.flags([:request, :ack])
  @buffers [:read_buffer, :write_buffer]

  @doc false
  def child_spec({protocol, options}) do
    # Several connections of one protocol can be children of one supervisor, also without a name.
    id = options[:name] || make_ref()
    %{id: {__MODULE__, id}, start: {__MODULE__, :start_link, [protocol, options]}}
  end

  def child_spec(protocol), do: child_spec({protocol, []})

  @doc """
  Opens a connection, linked to the calling process.

    * `protocol` - a number, for example `0` for `NETLINK_ROUTE`, or one of `:route`, `:usersock`, `:sock_diag`, `:xfrm`,
      `:audit`, `:netfilter`, `:generic`, `:crypto`

  ## Options

    * `:netns` - the network namespace: of the VM (`:host`, the default), of a process (`{:pid, pid}`), of a file
      (`{:path, path}`), or of an open descriptor (`{:fd, fd}`), which stays the caller's
    * `:groups` - multicast groups to join, see `join_group/2`
    * `:active`, `:subscriber` - see `active/2`; every value of `:active` but `false` needs a subscriber
    * `:read_buffer`, `:write_buffer` - sizes in bytes, 1 to 1073741823, which the kernel doubles; also beyond the system's
      limit (`net.core.rmem_max`, `wmem_max`) if the VM has the right
    * `:datagram` - the longest datagram that is received whole, in bytes, 32 to 16777216; default 65536
    * `:event_buffer` - how many bytes of unclaimed events the process keeps; default 1048576
    * `:filter` - a program for `attach_filter/2`
    * `:accept` - `:kernel` (the default): the kernel refuses messages that other programs send to this port (`connect(2)`), and
      the connection drops those that they send to its groups. `:any` accepts them, and answers to requests with `:to`
    * `:trace` - shows the messages of the connection, see `trace/2`; default `false`
    * `:name`, `:timeout`, `:debug`, `:spawn_opt` - as in `GenServer.start_link/3`
    * `:hibernate_after` - how long the connection is idle before it hibernates and releases memory, in milliseconds, or
      `:infinity`; default 1000. See `:erlang.hibernate/3`

  These options of `netlink(7)` are `true` or `false`:

    * `:packet_info` - adds the group to the origin of an event; default `true`
    * `:ext_ack` - adds the kernel's own message to errors (Linux 4.12); default `true`
    * `:cap_ack` - leaves the request out of errors (Linux 4.3); default `true`
    * `:strict_check` - makes the kernel check requests for dumps (Linux 4.20); default `false`
    * `:listen_all_nsid` - receives events of all namespaces that have an id in this one; default `false`
    * `:no_enobufs` - does not report overruns; default `false`
    * `:broadcast_error` - makes a broadcast of this connection fail if one receiver has no room; default `false`

  If an option is `true` and the kernel does not have it, the start fails with the reason `:enoprotoopt`. So before Linux 4.12 a
  connection needs `ext_ack: false`, and before Linux 4.3 also `cap_ack: false`.

  ## Errors

  A `LinxNative.Error` whose `stage` is the step that failed: a stage of `Linx.Netlink.Socket.Native.open_in_netns/2`, for
  example `:open` with the reason `:enoent`; or `:bind`; or an option, for example `{:group, 99}` with `:einval`. If the name is
  taken, it returns `{:error, {:already_started, pid}}`. A wrong argument raises `ArgumentError`.
  """
  @spec start_link(atom | integer, keyword) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(protocol, options \\ []), do: start_link(protocol, options, & &1)

  @doc false
  # `change` maps the checked options to those that the connection starts with.
  def start_link(protocol, options, change) do
    Loaded.ensure!()

    protocol = Options.protocol!(protocol)
    {server, options} = Options.split!(options)
    options = Options.parse!(options, protocol)

    case Server.start_link({[self()], protocol, change.(options), server}) do
      {:error, {:shutdown, error}} -> {:error, error}
      {:error, :timeout} -> {:error, %Error{reason: :timeout}}
      result -> result
    end
  end

  @doc """
  Closes a connection: first the descriptor, then the process. It waits until a system call that is running for the connection
  returns.

  Callers that wait in `request/3` or `recv/2` get an error with the reason `:closed`. If the connection is closed already,
  `close/1` returns `:ok`. If no process has the given name, the call exits, as every function here and `GenServer.call/3` do.
  """
  @spec close(t) :: :ok
  def close(conn) do
    GenServer.stop(conn)
  catch
    :exit, {:noproc, _call} = exit -> if is_pid(conn), do: :ok, else: exit(exit)
    :exit, _reason -> :ok
  end

  @doc """
  Sends a request and returns the messages of its answer, without the acknowledgement or the end of the dump.

  `message` gets its sequence number and port id here, and the flags `NLM_F_REQUEST` and `NLM_F_ACK`. With `NLM_F_ECHO` the
  kernel's notification of the change is part of the answer, and not an event.

  ## Options

    * `:timeout` - in milliseconds, or `:infinity`; default 5000. It starts with the call and includes waiting for other dumps
      and further attempts.
    * `:retry` - how many more attempts to make if a dump is interrupted (`:dump_interrupted`), because its content changed
      meanwhile; default 0
    * `:ack` - `false` asks for no acknowledgement: the first message without the flag `NLM_F_MULTI` ends the answer. This is
      for protocols that do not acknowledge. Default `true`
    * `:to` - the port that the request goes to; default 0, the kernel. Another port needs the option `accept: :any` of the
      connection.

  The kernel may have carried out a request that timed out.
  """
  @spec request(t, Message.t(), keyword) :: {:ok, [Message.t()]} | {:error, Error.t()}
  def request(conn, %Message{flags: flags} = message, options \\ []) when is_integer(flags) do
    options = Options.call!(options, timeout: 5000, retry: 0, ack: true, to: 0)
    flags = flags ||| if options[:ack], do: @request_and_ack, else: @request

    request = %{
      to: options[:to],
      bytes: Message.encode(%{message | flags: flags, sequence: 0, port_id: 0}),
      dump?: options[:to] == 0 and dump?(flags),
      ack?: options[:ack],
      echo?: (flags &&& @echo) != 0
    }

    request(conn, message, request, deadline(options[:timeout]), options[:retry])
  end

  defp request(conn, message, request, deadline, retry) do
    id = make_ref()

    case Call.call_until(
           conn,
           Call.with_protocol(message, {:request, id, request}),
           id,
           left(deadline)
         ) do
      {:error, %Error{reason: :dump_interrupted}} when retry > 0 ->
        request(conn, message, request, deadline, retry - 1)

      result ->
        result
    end
  end

  # All attempts share one deadline, by the clock of the caller.
  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  @doc """
  Sends a request as `request/3` does and returns the messages of its answer, or raises the error.
  """
  @spec request!(t, Message.t(), keyword) :: [Message.t()]
  def request!(conn, message, options \\ []), do: conn |> request(message, options) |> value!()

  @doc """
  Returns an enumerable of the messages of a dump, which receives them as they are consumed.

      {:ok, conn} = LinxNative.Conn.start_link(:route)
      request = LinxNative.Rtnetlink.message(:getroute, flags: [:dump])
      count = conn |> LinxNative.Conn.stream(request) |> Enum.count()

  The kernel makes the next part of a dump, about 32 KiB, when the previous part was received. So a stream needs as much memory
  for a million routes as for a hundred. The consumer may stop at any point. Each enumeration starts a new dump.

  Each enumeration has a socket of its own, in the network namespace of the connection, without its filter and its groups.
  So a slow consumer delays nobody. The socket is closed when the enumeration ends for any reason, when its process ends, and
  when the connection ends. Opening it needs the same capabilities as opening the connection, and `CAP_NET_ADMIN` unless
  `:netns` is `:host`.

  A failure raises a `LinxNative.Error` after the messages that came before it, for example `:dump_interrupted` if the content
  changed meanwhile, or `:closed`.

  Options: `:timeout` - for each part, in milliseconds, or `:infinity`; default 5000.

  A `message` without the flag `:dump` raises `ArgumentError`.
  """
  @spec stream(t, Message.t(), keyword) :: Enumerable.t()
  def stream(conn, %Message{flags: flags} = message, options \\ []) do
    options = Options.call!(options, timeout: 5000)

    unless is_integer(flags) and dump?(flags) do
      raise ArgumentError,
            "a stream reads a dump, so the message needs the flag :dump, see LinxNative.Message.flags/1"
    end

    Streaming.stream(conn, %{message | flags: flags ||| @request_and_ack}, options[:timeout])
  end

  @doc """
  Sends one message as it is, and returns it without waiting for an answer. The answer goes to the subscriber, or to a caller of
  `recv/2`.

  Only a sequence number or port id of 0 is filled in. The flags are not changed; the kernel ignores a message without
  `NLM_F_REQUEST`. If the message asks for a dump while another dump of this connection is running, the kernel answers EBUSY;
  `request/3` waits instead.

  Options: `:to` and `:timeout`, as for `request/3`. Errors: the reason `:timeout`, `:closed`, or the name of the errno of
  `sendto(2)`.
  """
  @spec send(t, Message.t(), keyword) :: {:ok, Message.t()} | {:error, Error.t()}
  def send(conn, %Message{} = message, options \\ []) do
    with {:ok, [message]} <- send_many(conn, [message], options), do: {:ok, message}
  end

  @doc """
  Sends several messages, at least one, in one datagram. Each is handled as by `send/3`.
  """
  @spec send_many(t, nonempty_list(Message.t()), keyword) ::
          {:ok, [Message.t()]} | {:error, Error.t()}
  def send_many(conn, [_ | _] = messages, options \\ []) do
    options = Options.call!(options, timeout: 5000, to: 0)
    bytes = Enum.map(messages, &Message.encode/1)
    id = make_ref()
    send = {:send, id, bytes, options[:to]}

    with {:ok, addresses} <-
           Call.call_until(conn, Call.with_protocol(hd(messages), send), id, options[:timeout]) do
      {:ok,
       for {message, {number, port_id}} <- Enum.zip(messages, addresses) do
         %{message | sequence: number, port_id: port_id}
       end}
    end
  end

  @doc """
  Sends a message as `send/3` does and returns it, or raises the error.
  """
  @spec send!(t, Message.t(), keyword) :: Message.t()
  def send!(conn, message, options \\ []), do: conn |> send(message, options) |> value!()

  @doc """
  Sends messages as `send_many/3` does and returns them, or raises the error.
  """
  @spec send_many!(t, nonempty_list(Message.t()), keyword) :: [Message.t()]
  def send_many!(conn, messages, options \\ []) do
    conn |> send_many(messages, options) |> value!()
  end

  @doc """
  Receives the next datagram that is not the answer to a `request/3`: events, and answers to `send/3`.

  Several processes may wait. Each gets a different datagram, and they come before the subscriber. `timeout` is in milliseconds,
  or `:infinity`; 0 returns only a datagram that is already there. A datagram that arrives when the timeout is over is not lost:
  the next caller gets it.

  Errors: the reason `:timeout`, `:closed`, or the failure of a datagram: `:overrun`, `:truncated`, `:malformed`. The connection
  goes on after a failure of a datagram.
  """
  @spec recv(t, timeout) :: {:ok, [Message.t()], origin} | {:error, Error.t()}
  def recv(conn, timeout \\ :infinity), do: Call.recv(conn, Options.timeout!(timeout))

  @doc """
  Receives the next datagram as `recv/2` does and returns it with its origin, or raises the error.
  """
  @spec recv!(t, timeout) :: {[Message.t()], origin}
  def recv!(conn, timeout \\ :infinity) do
    with {:ok, messages, origin} <- recv(conn, timeout),
         do: {messages, origin},
         else: ({:error, error} -> raise(error))
  end

  @doc """
  Makes the calling process the subscriber, and sets how many datagrams it gets.

    * `true` - every datagram, as it comes
    * `:once` - the next datagram
    * a number, 1 to 32767 - that many datagrams, then `{:netlink_passive, conn}`
    * `false` - none

  When the subscriber ends, the connection has no subscriber.
  """
  @spec active(t, boolean | :once | 1..32_767, timeout) :: :ok | {:error, Error.t()}
  def active(conn, active, timeout \\ 5000) do
    Options.check!(active: active)
    call(conn, {:active, active}, timeout)
  end

  @doc """
  Starts or stops showing the messages of a connection.

    * `true` - prints them to standard error
    * a pid - sends them to that process, as `{:netlink_trace, conn, trace}`
    * `false` - stops it

  See `LinxNative.Conn.Trace`.
  """
  @spec trace(t, boolean | pid, timeout) :: :ok | {:error, Error.t()}
  def trace(conn, trace, timeout \\ 5000) do
    Options.check!(trace: trace)
    call(conn, {:trace, trace}, timeout)
  end

  @doc """
  Joins a multicast group: `NETLINK_ADD_MEMBERSHIP`.

  `group` is its number, or on a connection to `:route` its name, for example `:link` (`RTNLGRP_LINK`); see
  `LinxNative.Rtnetlink`. For the groups of generic netlink use `LinxNative.Genetlink.join_group/3`.

  Errors: `:einval` (the protocol has no such group), `:eperm`.
  """
  @spec join_group(t, pos_integer | Rtnetlink.group(), timeout) :: :ok | {:error, Error.t()}
  def join_group(conn, group, timeout \\ 5000) do
    with {:ok, group} <- group(conn, group, timeout),
         do: native(conn, {:group, group}, :join, [group], timeout)
  end

  @doc """
  Leaves a multicast group: `NETLINK_DROP_MEMBERSHIP`. Events that are queued already still come.
  """
  @spec leave_group(t, pos_integer | Rtnetlink.group(), timeout) :: :ok | {:error, Error.t()}
  def leave_group(conn, group, timeout \\ 5000) do
    with {:ok, group} <- group(conn, group, timeout),
         do: native(conn, {:group, group}, :leave, [group], timeout)
  end

  # The meaning of a name depends on the protocol, which the connection knows.
  defp group(conn, name, timeout) when is_atom(name) do
    with {:ok, protocol} <- call(conn, :protocol, timeout),
         do: {:ok, Options.group!(name, protocol)}
  end

  defp group(_conn, number, _timeout), do: {:ok, Options.group!(number, nil)}

  @doc """
  Sets an option of the socket: one of the boolean options of `start_link/2`, or the size of `:read_buffer` or `:write_buffer`
  in bytes.

  Errors: the name of the errno of `setsockopt(2)`, for example `:eperm` or `:enoprotoopt`.
  """
  @spec set_option(t, flag, boolean, timeout) :: :ok | {:error, Error.t()}
  @spec set_option(t, :read_buffer | :write_buffer, pos_integer, timeout) ::
          :ok | {:error, Error.t()}
  def set_option(conn, name, value, timeout \\ 5000) do
    Options.option!(name, value)
    function = if name in @buffers, do: :set_buffer, else: :set_flag
    native(conn, name, function, [name, value], timeout)
  end

  @doc """
  Returns the value of an option of the socket. The size of a buffer is twice the value that was set.

  Errors: the name of the errno of `getsockopt(2)`, for example `:enoprotoopt` for `:listen_all_nsid` on Linux 6.1, which can only
  set it.
  """
  @spec get_option(t, flag | :read_buffer | :write_buffer, timeout) ::
          {:ok, boolean | non_neg_integer} | {:error, Error.t()}
  def get_option(conn, name, timeout \\ 5000) do
    Options.option!(name)
    native(conn, name, if(name in @buffers, do: :buffer, else: :flag), [name], timeout)
  end

  @doc """
  Attaches a classic BPF program and replaces the previous one: `SO_ATTACH_FILTER`. A datagram for which it returns 0 is
  dropped, also if it is an answer.

  If the program drops parts of a dump, the kernel does not finish that dump, and refuses others meanwhile (`:ebusy`).

  `program` is a list of instructions. It is checked before the kernel gets it. A wrong program is an error with the reason
  `:filter`, see `LinxNative.Conn.Filter.assemble/1`.
  """
  @spec attach_filter(t, [Filter.instruction()], timeout) :: :ok | {:error, Error.t()}
  def attach_filter(conn, program, timeout \\ 5000) do
    Options.check!(filter: program)

    with {:ok, program} <- Filter.assemble(program),
         do: native(conn, :filter, :attach_filter, [program], timeout)
  end

  @doc """
  Removes the program: `SO_DETACH_FILTER`. Returns an error with the reason `:enoent` if there is none.
  """
  @spec detach_filter(t, timeout) :: :ok | {:error, Error.t()}
  def detach_filter(conn, timeout \\ 5000) do
    native(conn, :filter, :detach_filter, [], timeout)
  end

  @doc """
  Returns the number of the socket's descriptor, for uses that this module does not cover: for example `setsockopt(2)` in native
  code of your own, or `:socket.open/1`, which duplicates it.

  The descriptor stays the connection's. Do not close it, do not receive from it, and do not use it after the connection ended.
  """
  @spec descriptor(t, timeout) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def descriptor(conn, timeout \\ 5000) do
    native(conn, :descriptor, :descriptor, [], timeout)
  end

  @doc """
  Returns the identity of the connection's network namespace, see `LinxNative.netns_id/1`.
  """
  @spec netns(t, timeout) :: {:ok, LinxNative.ns_id()} | {:error, Error.t()}
  def netns(conn, timeout \\ 5000), do: native(conn, :netns, :netns, [], timeout)

  @doc """
  Returns the state of a connection as a map:

    * `port_id` - its port id
    * `groups` - the multicast groups that it has joined
    * `netns` - its network namespace, see `LinxNative.netns_id/1`; `nil` without `CAP_NET_ADMIN` in that namespace
    * `read_buffer`, `write_buffer` - sizes in bytes, as the kernel counts them
    * `drops` - how many datagrams the kernel has dropped
    * `pending` - how many requests are pending
    * `counters` - `requests` made, messages `sent`, `datagrams` and `bytes` received, `events` delivered or kept,
      `late` answers, `foreign` datagrams (of other programs, not accepted), `overruns`, `truncated`, `malformed`
  """
  @spec info(t, timeout) :: {:ok, map} | {:error, Error.t()}
  def info(conn, timeout \\ 5000), do: call(conn, :info, timeout)

  @doc """
  Returns the state of a connection as `info/1` does, or raises the error.
  """
  @spec info!(t, timeout) :: map
  def info!(conn, timeout \\ 5000), do: conn |> info(timeout) |> value!()

  defp value!({:ok, value}), do: value
  defp value!({:error, error}), do: raise(error)

  defp native(conn, stage, function, arguments, timeout) do
    call(conn, {:native, stage, function, arguments}, timeout)
  end

  defp call(conn, request, timeout), do: Call.call(conn, request, Options.timeout!(timeout))

  # In some protocols one of the bits asks for a dump. But with NLM_F_CREATE these bits are NLM_F_EXCL and NLM_F_REPLACE.
  defp dump?(flags) do
    bits = flags &&& @dump
    bits == @dump or (bits != 0 and (flags &&& @create) == 0)
  end
end
