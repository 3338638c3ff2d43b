defmodule LinxNative.Conn.Entries do
  @moduledoc false

  # Assigns the entries of an exchange (see `t:LinxNative.Native.entry/0`) to requests and to the inbox.

  alias LinxNative.Conn.{Requests, State}
  alias LinxNative.{Error, Message, Native}

  # The approximate memory of a kept message besides its bytes, in bytes.
  @overhead 256

  @doc """
  Applies the entries of an exchange to the state. `items` are the items that it was given to send, as `Requests.pop/1` returned
  them. Returns the items that were not sent.
  """
  @spec take(State.t(), [Native.entry()], [tuple]) :: {State.t(), [tuple]}
  def take(state, entries, items), do: Enum.reduce(entries, {state, items}, &entry/2)

  defp entry(:drained, {state, items}) do
    state = tell_overrun(state)
    {%{state | requests: Requests.drained(state.requests)}, items}
  end

  defp entry(:sent, {state, [{id, _to, _bytes} | items]}), do: {State.sent(state, id), items}

  defp entry({:refused, errno}, {state, [{id, _to, _bytes} | items]}) do
    {State.fail(state, id, Error.from_errno(:send, errno)), items}
  end

  defp entry({:datagram, port_id, group, nsid, bytes}, {state, items}) do
    state = counted(state, byte_size(bytes))

    if accepted?(state, port_id),
      do: {datagram(state, origin(state, port_id, group, nsid), group, bytes), items},
      else: {State.count(state, :foreign), items}
  end

  defp entry({:truncated, port_id, group, _nsid, bytes, length}, {state, items}) do
    state = counted(state, length)
    error = %Error{reason: :truncated, detail: length}

    if accepted?(state, port_id),
      do: {state |> State.count(:truncated) |> damaged(port_id, group, bytes, error), items},
      else: {State.count(state, :foreign), items}
  end

  # The kernel reports an overrun before the datagrams that it still had room for, and queues nothing more until these are
  # received. So the loss comes after them.
  defp entry(:overrun, {state, items}), do: {%{tell_overrun(state) | overrun?: true}, items}

  defp entry({:failed, errno}, {state, items}) do
    error = Error.from_errno(:receive, errno)
    {state |> State.fail_sent(error) |> State.put({:error, error}, @overhead), items}
  end

  defp counted(state, bytes) do
    %{state | garbage: state.garbage + bytes}
    |> State.count(:datagrams)
    |> State.count(:bytes, bytes)
  end

  defp tell_overrun(%{overrun?: false} = state), do: state

  defp tell_overrun(state) do
    error = %Error{reason: :overrun}

    %{state | overrun?: false}
    |> State.count(:overruns)
    |> State.fail_sent(error)
    |> State.put({:error, error}, 0)
  end

  # In some protocols any program can send to a group. Only the kernel has port 0. A datagram without a sender is not accepted.
  defp accepted?(_state, nil), do: false
  defp accepted?(state, port_id), do: port_id == 0 or state.options.accept == :any

  defp origin(state, port_id, group, nsid) do
    %{port_id: port_id, group: if(state.packet_info, do: group), nsid: nsid}
  end

  defp datagram(state, origin, group, bytes) do
    case Message.decode(bytes, state.protocol) do
      {:ok, messages} ->
        {unknown, state} =
          Enum.reduce(messages, {[], state}, &message(&1, origin.port_id, group, &2))

        unknown = Enum.reverse(unknown)

        if unknown == [],
          do: state,
          else: State.put(state, {:messages, unknown, origin}, size(length(unknown), bytes))

      {:error, error} ->
        state |> State.count(:malformed) |> damaged(origin.port_id, group, bytes, error)
    end
  end

  defp message(message, port_id, group, {unknown, state}) do
    if group == 0 or Requests.echo?(state.requests, message),
      do: answer(message, port_id, {unknown, state}),
      else: {[message | unknown], state}
  end

  defp answer(message, port_id, {unknown, state}) do
    {taken, requests} = Requests.take(state.requests, message, port_id)
    state = %{state | requests: requests}

    case taken do
      {:ended, _number, request, result} ->
        {unknown, state |> State.end_request(request, result) |> count_malformed(result)}

      :taken ->
        {unknown, state}

      :late ->
        {unknown, State.count(state, :late)}

      :unknown ->
        {[message | unknown], state}
    end
  end

  # All messages of a datagram to one socket belong to one request. The sender's port decides whether it is the request with this
  # number.
  defp damaged(state, port_id, 0, <<_::64, number::native-32, _::binary>> = bytes, error) do
    if Requests.answers?(state.requests, number, port_id),
      do: State.fail(state, number, error),
      else: put_damaged(state, bytes, error)
  end

  defp damaged(state, _port_id, _group, bytes, error), do: put_damaged(state, bytes, error)

  defp put_damaged(state, bytes, error), do: State.put(state, {:error, error}, size(1, bytes))

  # The approximate memory of messages. Without the overhead, messages without a body would count as nothing.
  defp size(messages, bytes), do: byte_size(bytes) + @overhead * messages

  defp count_malformed(state, {:error, %Error{reason: :malformed}}),
    do: State.count(state, :malformed)

  defp count_malformed(state, _result), do: state
end
