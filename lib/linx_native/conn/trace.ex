defmodule LinxNative.Conn.Trace do
  @moduledoc """
  Shows what goes over a `LinxNative.Conn`: each datagram that it sends or receives, and each error of its socket.

      {:ok, conn} = LinxNative.Conn.start_link(:route, trace: true)

  prints to standard error, for each message:

      08:15:02.123 #PID<0.150.0> to 0: #LinxNative.Message<type: 18, ...>
      08:15:02.123 #PID<0.150.0> from 0: #LinxNative.Message<type: 16, ...>

  With a process in place of `true`, that process gets `{:netlink_trace, conn, %LinxNative.Conn.Trace{}}` instead.
  `LinxNative.Conn.trace/2` turns it on and off while the connection is in use.

  A trace has everything in it, also keys that are set or read. There is no flow control: a process that is slower than
  the connection gets a long message queue. While it prints, the connection waits for standard error.

  When it is off, which is the default, it takes one comparison for each call of the kernel.
  """

  alias LinxNative.{Error, Message}

  @enforce_keys [:direction, :time, :port_id]
  defstruct [:direction, :time, :port_id, :group, :nsid, :error, messages: []]

  @typedoc """
  A datagram, or an error of the socket.

    * `direction` - `:sent` or `:received`
    * `time` - when the call of the kernel had returned
    * `port_id` - the port it went to or came from; 0 is the kernel; `nil` if it is an error of the socket
    * `group`, `nsid` - of one that was received, see `t:LinxNative.Conn.origin/0`
    * `messages` - the messages in it
    * `error` - `nil`, or what went wrong with it
  """
  @type t :: %__MODULE__{
          direction: :sent | :received,
          time: DateTime.t(),
          port_id: Message.u32() | nil,
          group: Message.u32() | nil,
          nsid: integer | nil,
          messages: [Message.t()],
          error: Error.t() | nil
        }

  @doc false
  # Tells what one exchange sent and received. `to` is what the option `:trace` says.
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

  defp received({:truncated, port_id, group, nsid, _bytes, length}, _protocol, time) do
    %{event(time, port_id, group, nsid) | error: %Error{reason: :truncated, detail: length}}
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
      {:ok, messages} -> %{event | messages: messages}
      {:error, error} -> %{event | error: error}
    end
  end

  defp tell(true, event), do: IO.puts(:stderr, format(self(), event))
  defp tell(pid, event), do: send(pid, {:netlink_trace, self(), event})

  @doc """
  The lines that `trace: true` prints for an event, without the last newline.
  """
  @spec format(pid, t) :: String.t()
  def format(conn, %__MODULE__{} = event) do
    head = "#{clock(event.time)} #{inspect(conn)} #{whereabouts(event)}: "
    lines = for message <- event.messages, do: inspect(message, limit: 32, width: :infinity)
    error = if event.error, do: ["error: " <> Exception.message(event.error)], else: []
    Enum.map_join(lines ++ error, "\n", &(head <> &1))
  end

  defp clock(time), do: time |> DateTime.to_time() |> Time.truncate(:millisecond)

  defp whereabouts(%{direction: :sent} = event), do: "to #{event.port_id}"
  defp whereabouts(%{port_id: nil}), do: "received"
  defp whereabouts(%{group: group} = event) when group in [nil, 0], do: "from #{event.port_id}"
  defp whereabouts(event), do: "from #{event.port_id}, group #{event.group}"
end
