defmodule LinxNative.Conn do
  @moduledoc """
  A netlink connection in any network namespace: a process that owns one `AF_NETLINK` socket.

      alias LinxNative.{Conn, Rtnetlink}

      {:ok, conn} = Conn.start_link(:route, netns: {:pid, 4711})

      # The links of that namespace
      {:ok, links} = Conn.request(conn, Rtnetlink.message(:getlink, flags: [:dump]))

  or under a supervisor, as `{LinxNative.Conn, {:route, netns: {:path, "/run/netns/blue"}, name: Blue}}`.

  Messages have names in `LinxNative.Rtnetlink` and `LinxNative.Genetlink`; those of other protocols are written with
  `LinxNative.Message` and `LinxNative.Attributes`. `trace/2` shows what goes over a connection, and
  `LinxNative.Conn.Test` stands in for one in tests.

  ## The descriptor

  The socket belongs to the process. It is closed, and so lets its namespace go, with `close/1`, when the process that
  started it ends, and when the process itself ends for whatever reason, `:kill` included. A start that fails leaves
  nothing. There is no moment in which a caller has a descriptor that it could lose. Every descriptor is close-on-exec.

  ## Requests

  Any number of processes use one connection at the same time: each request has a sequence number of its own, and no
  lock is held while it is answered. An answer goes to the caller whose sequence number and port id it has, if it comes
  from the port the request went to, and never to another. Several messages that are one answer are returned as one. It
  is whole, or a `LinxNative.Error` says what happened.

  The kernel runs one dump at a time for each socket: of several, the others wait for their turn. Other requests are sent
  between the parts of a dump, a few hundred kilobytes each.

  The kernel acts on a request while it is sent, and makes the parts of a dump while they are received. If that takes long,
  for example because another has its locks, the connection waits, and others' requests and `close/1` with it. No timeout
  does: the caller keeps the time. If slow requests must not hold up others, use two connections.

  A large dump is read as a stream, see `stream/3`.

  ## Events

  A connection that joined multicast groups (`join_group/2`, or the option `:groups`) gets their events. They go to its
  subscriber as

      {:netlink, conn, messages, origin}
      {:netlink_error, conn, error}

  with flow control as `:gen_udp` has it, see `active/2`, or to whoever calls `recv/2`. `origin` is a `t:origin/0`. A
  datagram of events counts as one.

  What nobody wants yet stays in the kernel's read buffer, and what had to be taken from there to reach an answer is
  kept in the process, up to `:event_buffer` bytes, each message counting 256 more than it has. When either is full,
  what comes is lost, and that is told by an error with the reason `:overrun`: as `{:netlink_error, conn, error}`, or
  from `recv/2`. The connection goes on. Whoever follows the state of the kernel by its events then asks for all of it
  again. As the kernel does not say what was lost, an overrun also ends the requests that are on their way with that
  error: for many events, use a connection of their own.

  `docs/conn.md` compares it with mdlayher/netlink and with `:socket`, row by row.
  """

  import Bitwise

  alias LinxNative.Conn.{Call, Filter, Loaded, Options, Server, Streaming}
  alias LinxNative.{Error, Message, Native, Rtnetlink}

  @typedoc "A connection on this node, or the name it was given."
  @type t :: GenServer.server()

  @typedoc "Whose network namespace."
  @type netns :: :host | {:pid, pos_integer} | {:path, binary} | {:fd, non_neg_integer}

  @typedoc """
  Where a message came from.

    * `port_id` - the port that sent it; 0 is the kernel
    * `group` - the multicast group it was sent to; 0 if to this connection alone; `nil` without `:packet_info`
    * `nsid` - with `:listen_all_nsid`, the id of the namespace it is from, as the connection's namespace numbers others;
      `nil` if from its own
  """
  @type origin :: %{
          port_id: Message.u32(),
          group: Message.u32() | nil,
          nsid: integer | nil
        }

  @typedoc "An option of the socket that is on or off, see `start_link/2`."
  @type flag :: Native.flag()

  @dump Message.flags([:dump])
  @create Message.flags([:create])
  @echo Message.flags([:echo])
  @request Message.flags([:request])
  @request_and_ack Message.flags([:request, :ack])
  @buffers [:read_buffer, :write_buffer]

  @doc false
  def child_spec({protocol, options}) do
    # Without a name, two of the same protocol are two children all the same.
    id = options[:name] || make_ref()
    %{id: {__MODULE__, id}, start: {__MODULE__, :start_link, [protocol, options]}}
  end

  def child_spec(protocol), do: child_spec({protocol, []})

  @doc """
  Opens a connection, linked to the calling process.

    * `protocol` - a number, as `0` for `NETLINK_ROUTE`, or one of `:route`, `:usersock`, `:sock_diag`, `:xfrm`, `:audit`,
      `:netfilter`, `:generic`, `:crypto`

  ## Options

    * `:netns` - whose network namespace: `:host` (the default) that of the VM, `{:pid, pid}` that of a process,
      `{:path, path}` that of a file, `{:fd, fd}` that of an open descriptor, which stays the caller's
    * `:groups` - multicast groups to join, see `join_group/2`
    * `:active`, `:subscriber` - see `active/2`; what is not `active: false` needs a subscriber
    * `:read_buffer`, `:write_buffer` - sizes in bytes, 1 to 1073741823, which the kernel doubles; beyond the system's
      limit (`net.core.rmem_max`, `wmem_max`) where that is allowed
    * `:datagram` - the longest datagram that is received whole, in bytes, 32 to 16777216; 65536
    * `:event_buffer` - how many bytes of events are kept that nobody wants yet; 1048576
    * `:filter` - a program for `attach_filter/2`
    * `:accept` - `:kernel` (the default) has the kernel refuse what other programs send to this port (`connect(2)`), and
      drops what they send to its groups; `:any` takes it, and answers to requests with `:to`
    * `:trace` - shows what goes over the connection, see `trace/2`; `false`
    * `:name`, `:timeout`, `:debug`, `:spawn_opt` - as of `GenServer.start_link/3`
    * `:hibernate_after` - how long the connection is idle before it gives its memory back, in milliseconds, or
      `:infinity`; 1000. See `:erlang.hibernate/3`

  and these of `netlink(7)`, each `true` or `false`:

    * `:packet_info` - tell the group of an event; `true`
    * `:ext_ack` - the kernel's words on errors; `true`
    * `:cap_ack` - errors without the request; `true`
    * `:strict_check` - have requests for dumps checked; `false`
    * `:listen_all_nsid` - events of all namespaces that have an id in this one; `false`
    * `:no_enobufs` - do not tell overruns; `false`
    * `:broadcast_error` - what this connection broadcasts fails if one receiver has no room; `false`

  ## Errors

  A `LinxNative.Error` whose `stage` is the step that failed: one of `Linx.Netlink.Socket.Native.open_in_netns/2`, for
  example `:open` with the reason `:enoent`, or `:bind`, or an option, for example `{:group, 99}` with `:einval`. A name that is
  taken is `{:error, {:already_started, pid}}`. A wrong argument raises `ArgumentError`.
  """
  @spec start_link(atom | integer, keyword) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(protocol, options \\ []), do: start_link(protocol, options, & &1)

  @doc false
  # `change` gets the checked options, and returns those that the connection starts with.
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
  Closes a connection: the descriptor, then the process, when what the kernel is doing for it is done.

  Whoever waits in `request/3` or `recv/2` gets an error with the reason `:closed`. Closing one that is closed is `:ok`. A
  name that nobody has exits, as it does in every function here and in `GenServer.call/3`.
  """
  @spec close(t) :: :ok
  def close(conn) do
    GenServer.stop(conn)
  catch
    :exit, {:noproc, _call} = exit -> if is_pid(conn), do: :ok, else: exit(exit)
    :exit, _reason -> :ok
  end

  @doc """
  Sends a request and returns its answer: the messages up to the acknowledgement or the end of the dump, without those.

  `message` gets its sequence number and port id here, and the flags `NLM_F_REQUEST` and `NLM_F_ACK`. With `NLM_F_ECHO` the
  kernel's notice of the change is part of the answer, and then no event.

  ## Options

    * `:timeout` - in milliseconds, or `:infinity`; 5000. It counts from the call, waiting for other dumps and further
      attempts included.
    * `:retry` - how many more attempts to make if a dump is interrupted (`:dump_interrupted`), because what it lists
      changed meanwhile; 0
    * `:ack` - `false` asks for no acknowledgement: the first message that is not part of several ends the answer. For
      protocols that do not acknowledge. `true`
    * `:to` - the port it goes to; 0, the kernel. Another one takes the option `accept: :any` of the connection.

  A request that was given up may have been done all the same.
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

    case Call.call_until(conn, Call.speak(message, {:request, id, request}), id, left(deadline)) do
      {:error, %Error{reason: :dump_interrupted}} when retry > 0 ->
        request(conn, message, request, deadline, retry - 1)

      result ->
        result
    end
  end

  # By the clock of the caller, for several attempts.
  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - System.monotonic_time(:millisecond), 0)

  @doc """
  Returns the answer to a request as `request/3` does, or raises its error.
  """
  @spec request!(t, Message.t(), keyword) :: [Message.t()]
  def request!(conn, message, options \\ []), do: conn |> request(message, options) |> value!()

  @doc """
  Returns an enumerable of the messages of a dump, which receives them as they are consumed.

      {:ok, conn} = LinxNative.Conn.start_link(:route)
      request = LinxNative.Rtnetlink.message(:getroute, flags: [:dump])
      count = conn |> LinxNative.Conn.stream(request) |> Enum.count()

  The kernel makes the next part of a dump, some 32 KiB, when the one before was received. So a stream takes as much memory
  for a million routes as for a hundred. It may be left at any point, and begins anew each time it is enumerated.

  Each enumeration has a socket of its own, in the network namespace of the connection, without its filter and its groups.
  So a slow consumer holds up nobody. The socket is closed when the enumeration ends, however it does, when its process
  ends, and when the connection does. To open it takes what it took to open the connection, and `CAP_NET_ADMIN` unless
  `:netns` is `:host`.

  What goes wrong raises a `LinxNative.Error`, after the messages that came before: for example `:dump_interrupted`, when
  what is listed changed meanwhile, or `:closed`.

  Options: `:timeout` - that of each part, in milliseconds, or `:infinity`; 5000.

  A `message` without the flag `:dump` raises `ArgumentError`.
  """
  @spec stream(t, Message.t(), keyword) :: Enumerable.t()
  def stream(conn, %Message{flags: flags} = message, options \\ []) do
    options = Options.call!(options, timeout: 5000)

    unless is_integer(flags) and dump?(flags) do
      raise ArgumentError,
            "a stream is of a dump: the message needs the flag :dump, see LinxNative.Message.flags/1"
    end

    Streaming.stream(conn, %{message | flags: flags ||| @request_and_ack}, options[:timeout])
  end

  @doc """
  Sends one message as it is, and does not wait for an answer; that goes to the subscriber, or to `recv/2`.

  A sequence number or port id of 0 is filled in, and nothing else: without the flag `NLM_F_REQUEST` the kernel ignores
  it. While another dump of this connection is running, its answer to one is EBUSY; `request/3` waits for that. Returns
  the message that was sent.

  Options: `:to` and `:timeout`, as of `request/3`. Errors: the reason `:timeout`, `:closed`, or the name of the errno of
  `sendto(2)`.
  """
  @spec send(t, Message.t(), keyword) :: {:ok, Message.t()} | {:error, Error.t()}
  def send(conn, %Message{} = message, options \\ []) do
    with {:ok, [message]} <- send_many(conn, [message], options), do: {:ok, message}
  end

  @doc """
  Sends several messages, at least one, in one datagram, as `send/3` does one.
  """
  @spec send_many(t, nonempty_list(Message.t()), keyword) ::
          {:ok, [Message.t()]} | {:error, Error.t()}
  def send_many(conn, [_ | _] = messages, options \\ []) do
    options = Options.call!(options, timeout: 5000, to: 0)
    bytes = Enum.map(messages, &Message.encode/1)
    id = make_ref()
    send = {:send, id, bytes, options[:to]}

    with {:ok, addresses} <-
           Call.call_until(conn, Call.speak(hd(messages), send), id, options[:timeout]) do
      {:ok,
       for {message, {number, port_id}} <- Enum.zip(messages, addresses) do
         %{message | sequence: number, port_id: port_id}
       end}
    end
  end

  @doc """
  Returns the message that was sent as `send/3` does, or raises its error.
  """
  @spec send!(t, Message.t(), keyword) :: Message.t()
  def send!(conn, message, options \\ []), do: conn |> send(message, options) |> value!()

  @doc """
  Returns the messages that were sent as `send_many/3` does, or raises its error.
  """
  @spec send_many!(t, nonempty_list(Message.t()), keyword) :: [Message.t()]
  def send_many!(conn, messages, options \\ []) do
    conn |> send_many(messages, options) |> value!()
  end

  @doc """
  Receives the next datagram that is not the answer to a `request/3`: events, and answers to `send/3`.

  Several processes may wait, each gets another one, and they come before the subscriber. `timeout` is in milliseconds,
  or `:infinity`; 0 asks for what is there. What comes when the time is over is not lost: the next one gets it.

  Errors: the reason `:timeout`, `:closed`, or what went wrong with a datagram: `:overrun`, `:truncated`, `:malformed`.
  The connection goes on after these.
  """
  @spec recv(t, timeout) :: {:ok, [Message.t()], origin} | {:error, Error.t()}
  def recv(conn, timeout \\ :infinity), do: Call.recv(conn, Options.timeout!(timeout))

  @doc """
  Returns the next datagram and its origin as `recv/2` does, or raises its error.
  """
  @spec recv!(t, timeout) :: {[Message.t()], origin}
  def recv!(conn, timeout \\ :infinity) do
    with {:ok, messages, origin} <- recv(conn, timeout),
         do: {messages, origin},
         else: ({:error, error} -> raise(error))
  end

  @doc """
  Makes the calling process the subscriber, and says how much it wants.

    * `true` - everything, as it comes
    * `:once` - the next datagram
    * a number, 1 to 32767 - so many datagrams, then `{:netlink_passive, conn}`
    * `false` - nothing

  When the subscriber ends, there is none.
  """
  @spec active(t, boolean | :once | 1..32_767, timeout) :: :ok | {:error, Error.t()}
  def active(conn, active, timeout \\ 5000) do
    Options.check!(active: active)
    call(conn, {:active, active}, timeout)
  end

  @doc """
  Shows what goes over a connection, from now on.

    * `true` - prints it to standard error
    * a pid - sends it there, as `{:netlink_trace, conn, trace}`
    * `false` - stops that

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
  `LinxNative.Rtnetlink`. The groups of generic netlink are joined by `LinxNative.Genetlink.join_group/3`.

  Errors: `:einval` (the protocol has no such group), `:eperm`.
  """
  @spec join_group(t, pos_integer | Rtnetlink.group(), timeout) :: :ok | {:error, Error.t()}
  def join_group(conn, group, timeout \\ 5000) do
    with {:ok, group} <- group(conn, group, timeout),
         do: native(conn, {:group, group}, :join, [group], timeout)
  end

  @doc """
  Leaves a multicast group: `NETLINK_DROP_MEMBERSHIP`. Events that are on their way still come.
  """
  @spec leave_group(t, pos_integer | Rtnetlink.group(), timeout) :: :ok | {:error, Error.t()}
  def leave_group(conn, group, timeout \\ 5000) do
    with {:ok, group} <- group(conn, group, timeout),
         do: native(conn, {:group, group}, :leave, [group], timeout)
  end

  # What a name stands for depends on the protocol, which the connection knows.
  defp group(conn, name, timeout) when is_atom(name) do
    with {:ok, protocol} <- call(conn, :protocol, timeout),
         do: {:ok, Options.group!(name, protocol)}
  end

  defp group(_conn, number, _timeout), do: {:ok, Options.group!(number, nil)}

  @doc """
  Sets an option of the socket: one of those of `start_link/2` that are on or off, or the size of `:read_buffer` or
  `:write_buffer` in bytes.

  Errors: the name of the errno of `setsockopt(2)`, as `:eperm` or `:enoprotoopt`.
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
  Reads an option of the socket. The size of a buffer is twice what was set.
  """
  @spec get_option(t, flag | :read_buffer | :write_buffer, timeout) ::
          {:ok, boolean | non_neg_integer} | {:error, Error.t()}
  def get_option(conn, name, timeout \\ 5000) do
    Options.option!(name)
    native(conn, name, if(name in @buffers, do: :buffer, else: :flag), [name], timeout)
  end

  @doc """
  Attaches a classic BPF program, in place of the one there may be: what it returns 0 for is not received, answers
  included. `SO_ATTACH_FILTER`.

  The kernel stays in the middle of a dump whose parts are not received, and refuses others meanwhile (`:ebusy`).

  `program` is a list of instructions. It is checked before the kernel gets it: an error with the reason `:filter`, see
  `LinxNative.Conn.Filter.assemble/1`.
  """
  @spec attach_filter(t, [Filter.instruction()], timeout) :: :ok | {:error, Error.t()}
  def attach_filter(conn, program, timeout \\ 5000) do
    Options.check!(filter: program)

    with {:ok, program} <- Filter.assemble(program),
         do: native(conn, :filter, :attach_filter, [program], timeout)
  end

  @doc """
  Takes the program away: `SO_DETACH_FILTER`. An error with the reason `:enoent` if there is none.
  """
  @spec detach_filter(t, timeout) :: :ok | {:error, Error.t()}
  def detach_filter(conn, timeout \\ 5000) do
    native(conn, :filter, :detach_filter, [], timeout)
  end

  @doc """
  The number of the socket's descriptor, for what this module does not have: `setsockopt(2)` in native code of one's own,
  `:socket.open/1`, which duplicates it.

  It stays the connection's: not to be closed, not to be received from, and not valid any longer than the connection.
  """
  @spec descriptor(t, timeout) :: {:ok, non_neg_integer} | {:error, Error.t()}
  def descriptor(conn, timeout \\ 5000) do
    native(conn, :descriptor, :descriptor, [], timeout)
  end

  @doc """
  The identity of its network namespace, see `LinxNative.netns_id/1`.
  """
  @spec netns(t, timeout) :: {:ok, LinxNative.ns_id()} | {:error, Error.t()}
  def netns(conn, timeout \\ 5000), do: native(conn, :netns, :netns, [], timeout)

  @doc """
  What is known of a connection:

    * `port_id` - its port id
    * `groups` - the multicast groups it is in
    * `netns` - its network namespace, see `LinxNative.netns_id/1`; `nil` without `CAP_NET_ADMIN` in there
    * `read_buffer`, `write_buffer` - sizes in bytes, as the kernel counts
    * `drops` - how many datagrams the kernel has thrown away
    * `pending` - how many requests are not answered yet
    * `counters` - `requests` made, messages `sent`, `datagrams` and `bytes` received, `events` handed on or kept,
      `late` answers, `foreign` datagrams (of other programs, not accepted), `overruns`, `truncated`, `malformed`
  """
  @spec info(t, timeout) :: {:ok, map} | {:error, Error.t()}
  def info(conn, timeout \\ 5000), do: call(conn, :info, timeout)

  @doc """
  Returns what is known of a connection as `info/1` does, or raises its error.
  """
  @spec info!(t, timeout) :: map
  def info!(conn, timeout \\ 5000), do: conn |> info(timeout) |> value!()

  defp value!({:ok, value}), do: value
  defp value!({:error, error}), do: raise(error)

  defp native(conn, stage, function, arguments, timeout) do
    call(conn, {:native, stage, function, arguments}, timeout)
  end

  defp call(conn, request, timeout), do: Call.call(conn, request, Options.timeout!(timeout))

  # In some protocols one of the bits is enough. But with NLM_F_CREATE they are NLM_F_EXCL and NLM_F_REPLACE.
  defp dump?(flags) do
    bits = flags &&& @dump
    bits == @dump or (bits != 0 and (flags &&& @create) == 0)
  end
end
