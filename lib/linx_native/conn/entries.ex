defmodule LinxNative.Conn.Entries do
  @moduledoc false

  # What an exchange reports, see `t:LinxNative.Native.entry/0`: to whom it belongs.

  alias LinxNative.Conn.{Requests, State}
  alias LinxNative.{Error, Message}

  # What a message that is kept takes besides its bytes, about, in bytes.
  @overhead 256

  @doc """
  Takes the entries of an exchange into the state. `items` is what it was to send, as `Requests.pop/1` gave it; returns
  what was not sent.
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

  # The kernel says so before what it still had room for, and keeps nothing more until all of that is received. So the
  # gap comes after it.
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

  # What is sent to a group of some protocols may be anybody's; only the kernel has port 0. What does not say who sent it
  # is nobody's.
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

  # The messages of a datagram to one socket are all of one request; of which one, only the port says that it went to.
  defp damaged(state, port_id, 0, <<_::64, number::native-32, _::binary>> = bytes, error) do
    if Requests.answers?(state.requests, number, port_id),
      do: State.fail(state, number, error),
      else: put_damaged(state, bytes, error)
  end

  defp damaged(state, _port_id, _group, bytes, error), do: put_damaged(state, bytes, error)

  defp put_damaged(state, bytes, error), do: State.put(state, {:error, error}, size(1, bytes))

  # What so many messages take in memory, about: else those without a body would be many.
  defp size(messages, bytes), do: byte_size(bytes) + @overhead * messages

  defp count_malformed(state, {:error, %Error{reason: :malformed}}),
    do: State.count(state, :malformed)

  defp count_malformed(state, _result), do: state
end
