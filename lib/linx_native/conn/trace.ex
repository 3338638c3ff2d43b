defmodule LinxNative.Conn.Trace do
  @moduledoc """
  Shows the traffic of a `LinxNative.Conn`: each datagram that it sends or receives, and each error of its socket.

      {:ok, conn} = LinxNative.Conn.start_link(:route, trace: true)

  prints each message to standard error. A second line shows its content, if this library can decode it: the outcome of a
  request, a message of `LinxNative.Rtnetlink`, or the command and attributes of a message of generic netlink.

      08:15:02.123 #PID<0.150.0> to 0: #LinxNative.Message<:getlink (18), flags: [:request, :ack] (0x5), ...>
        %{family: :unspec, index: 7, ...} []
      08:15:02.123 #PID<0.150.0> from 0: #LinxNative.Message<:error (2), flags: [:capped] (0x100), ...>
        the kernel refused the request: no such device (:enodev, errno 19)

  If a pid is given instead of `true`, that process gets `{:netlink_trace, conn, %LinxNative.Conn.Trace{}}` instead.
  `LinxNative.Conn.trace/2` turns the trace on and off while the connection is in use.

  A trace contains everything, also secret keys that are set or read. There is no flow control: if the process is slower than the
  connection, its message queue grows. If the trace is printed, the connection waits for standard error.

  If the trace is off, which is the default, it costs one comparison for each native call that sends or receives.
  """

  alias LinxNative.Conn.Outcome
  alias LinxNative.{Error, Genetlink, Message, Rtnetlink}

  # NLMSG_* of linux/netlink.h
  @error 2
  @done 3

  @enforce_keys [:direction, :time, :port_id]
  defstruct [:direction, :time, :port_id, :group, :nsid, :bytes, :error, messages: []]

  @typedoc """
  A datagram, or an error of the socket.

    * `direction` - `:sent` or `:received`
    * `time` - the time when the system call had returned
    * `port_id` - the port that it went to or came from; 0 is the kernel; `nil` for an error of the socket
    * `group`, `nsid` - of a received datagram, see `t:LinxNative.Conn.origin/0`
    * `bytes` - the bytes of the datagram, or the first 16 bytes if it is too long; `nil` for an error of the socket
    * `messages` - the messages in it
    * `error` - the error of this datagram or of the socket, or `nil`
  """
  @type t :: %__MODULE__{
          direction: :sent | :received,
          time: DateTime.t(),
          port_id: Message.u32() | nil,
          group: Message.u32() | nil,
          nsid: integer | nil,
          bytes: binary | nil,
          messages: [Message.t()],
          error: Error.t() | nil
        }

  @doc false
  # Reports what one exchange sent and received. `to` is the value of the option `:trace`.
  def exchanged(false, _protocol, _messages, _entries), do: :ok

  def exchanged(to, protocol, messages, entries) do
    time = DateTime.utc_now()
    Enum.reduce(entries, messages, &entry(&1, &2, {to, protocol, time}))
    :ok
  end

  defp entry(:drained, messages, _trace), do: messages
  defp entry(:sent, [message | messages], trace), do: sent(message, nil, trace, messages)

  defp entry({:refused, errno}, [message | messages], trace),
    do: sent(message, Error.from_errno(:send, errno), trace, messages)

  defp entry(entry, messages, {to, protocol, time}) do
    tell(to, received(entry, protocol, time))
    messages
  end

  defp sent({port_id, bytes}, error, {to, protocol, time}, messages) do
    event = %__MODULE__{direction: :sent, time: time, port_id: port_id}
    tell(to, %{decoded(event, bytes, protocol) | error: error})
    messages
  end

  defp received({:datagram, port_id, group, nsid, bytes}, protocol, time) do
    event(time, port_id, group, nsid) |> decoded(bytes, protocol)
  end

  defp received({:truncated, port_id, group, nsid, bytes, length}, _protocol, time) do
    %{
      event(time, port_id, group, nsid)
      | bytes: bytes,
        error: %Error{reason: :truncated, detail: length}
    }
  end

  defp received(:overrun, _protocol, time) do
    %{event(time, nil, nil, nil) | error: %Error{reason: :overrun}}
  end

  defp received({:failed, errno}, _protocol, time) do
    %{event(time, nil, nil, nil) | error: Error.from_errno(:receive, errno)}
  end

  defp event(time, port_id, group, nsid) do
    %__MODULE__{direction: :received, time: time, port_id: port_id, group: group, nsid: nsid}
  end

  defp decoded(event, bytes, protocol) do
    case Message.decode(bytes, protocol) do
      {:ok, messages} -> %{event | bytes: bytes, messages: messages}
      {:error, error} -> %{event | bytes: bytes, error: error}
    end
  end

  defp tell(true, event), do: IO.puts(:stderr, format(self(), event))
  defp tell(pid, event), do: send(pid, {:netlink_trace, self(), event})

  @doc """
  Returns the lines that `trace: true` prints for an event, without the last newline.
  """
  @spec format(pid, t) :: String.t()
  def format(conn, %__MODULE__{} = event) do
    head = "#{clock(event.time)} #{inspect(conn)} #{whereabouts(event)}: "
    messages = for message <- event.messages, do: [head, shown(message) | meaning(message)]
    error = if event.error, do: [[head, "error: ", Exception.message(event.error)]], else: []
    (messages ++ error) |> Enum.intersperse("\n") |> IO.iodata_to_binary()
  end

  defp shown(term), do: inspect(term, limit: 32, printable_limit: 256)

  defp meaning(%{type: @error} = message), do: outcome(Outcome.read(message, :error))
  defp meaning(%{type: @done} = message), do: outcome(Outcome.read(message, :done))

  defp meaning(%{protocol: :route} = message) do
    case Rtnetlink.decode(message) do
      {:ok, decoded} -> ["\n  ", shown(decoded.header), " ", shown(decoded.attributes)]
      {:error, %Error{reason: :unknown_type}} -> []
      {:error, error} -> ["\n  ", Exception.message(error)]
    end
  end

  # If the family has a header of its own before the attributes, the bytes may not decode as attributes.
  defp meaning(%{protocol: :generic} = message) do
    case Genetlink.decode(message, Genetlink.schema(message)) do
      {:ok, %{command: command, attributes: attributes}} ->
        ["\n  command ", Integer.to_string(command), " ", shown(attributes)]

      {:error, _error} ->
        []
    end
  end

  defp meaning(_message), do: []

  defp outcome(:ok), do: ["\n  done"]
  defp outcome({:error, error}), do: ["\n  ", Exception.message(error)]

  defp clock(time), do: time |> DateTime.to_time() |> Time.truncate(:millisecond)

  defp whereabouts(%{direction: :sent} = event), do: "to #{event.port_id}"
  defp whereabouts(%{port_id: nil}), do: "received"
  defp whereabouts(%{group: group} = event) when group in [nil, 0], do: "from #{event.port_id}"
  defp whereabouts(event), do: "from #{event.port_id}, group #{event.group}"
end
