defmodule LinxNative.Conn.Server do
  @moduledoc """
  The process behind a `LinxNative.Conn`: it owns the socket, and is the only one that sends and receives.

  What is to be sent is collected while other work is done, and then given to one call of
  `LinxNative.Conn.Native.exchange/3`, which also receives the answers: the kernel has them ready when `sendto(2)` returns.
  The socket is watched only while an answer is still to come, or somebody wants events; else these stay in the kernel's
  buffer.
  """

  use GenServer

  alias LinxNative.Conn.{Caller, Inbox, Options, Requests, Socket, Trace}
  alias LinxNative.{Error, Message}

  # How many messages go to one call.
  @batch 64

  # No limit.
  @all 0xFFFFFFFF

  # What a message that is kept takes besides its bytes, about, in bytes.
  @overhead 256

  @counters [
    :requests,
    :sent,
    :datagrams,
    :bytes,
    :events,
    :late,
    :foreign,
    :overruns,
    :truncated,
    :malformed
  ]

  @enforce_keys [:owner, :socket, :requests, :inbox]
  defstruct [
    :owner,
    :protocol,
    :socket,
    :requests,
    :inbox,
    :accept,
    :trace,
    :packet_info,
    :armed,
    :subscription,
    callers: %{},
    working?: false,
    overrun?: false,
    counters: Map.new(@counters, &{&1, 0})
  ]

  @impl true
  def init({parent, protocol, options}) do
    # The link alone would let it outlive a process that ends normally.
    owner = Process.monitor(parent)

    case Socket.open(protocol, options) do
      {:ok, socket, port_id} ->
        state = %__MODULE__{
          owner: owner,
          protocol: Options.named(protocol),
          trace: options.trace,
          socket: socket,
          requests: Requests.new(:rand.uniform(0xFFFFFFFF), port_id),
          inbox: Inbox.new(options.event_buffer),
          accept: options.accept,
          packet_info: options.packet_info
        }

        {:ok, state |> activate(options.subscriber, options.active) |> watch()}

      {:error, reason} ->
        # Else the caller would get an exit signal with the error.
        Process.unlink(parent)
        {:stop, {:shutdown, reason}}
    end
  end

  @impl true
  def handle_call({:speak, protocol, request}, from, state) do
    if state.protocol in [nil, protocol],
      do: handle_call(request, from, state),
      else:
        {:reply, {:error, %Error{reason: :protocol, detail: {protocol, state.protocol}}}, state}
  end

  # The kernel would refuse its answer.
  def handle_call({:request, %{to: to}, _deadline}, _from, %{accept: :kernel} = state)
      when to != 0 do
    {:reply, error(:not_accepted), state}
  end

  def handle_call({:request, request, deadline}, from, state) do
    case left(deadline) do
      # The caller is gone.
      timeout when timeout < 0 -> {:noreply, state}
      timeout -> {:noreply, add(state, request, Caller.watch(from, timeout))}
    end
  end

  def handle_call({:send, messages, to}, from, state) do
    {numbered, requests} = Enum.map_reduce(messages, state.requests, &address/2)
    bytes = for {_address, bytes} <- numbered, into: <<>>, do: bytes
    addresses = for {address, _bytes} <- numbered, do: address
    requests = Requests.post(requests, {:posted, from, {:ok, addresses}}, to, bytes)
    {:noreply, work(%{state | requests: requests})}
  end

  def handle_call({:recv, timeout}, from, state) do
    state = %{state | inbox: Inbox.wait(state.inbox, Caller.watch(from, timeout))}
    # At once, not when the socket says that there is something: the timeout may be 0.
    {:noreply, if(Inbox.wanted?(state.inbox), do: exchange(state), else: watch(state))}
  end

  def handle_call({:active, active}, {pid, _tag}, state) do
    {:reply, :ok, state |> activate(pid, active) |> watch()}
  end

  # The option itself stays on: it tells an event from an answer.
  def handle_call({:native, _stage, :set_flag, [:packet_info, on]}, _from, state) do
    {:reply, :ok, %{state | packet_info: on}}
  end

  def handle_call({:native, _stage, :flag, [:packet_info]}, _from, state) do
    {:reply, {:ok, state.packet_info}, state}
  end

  def handle_call({:native, stage, function, arguments}, _from, state) do
    {:reply, Socket.call(state.socket, stage, function, arguments), state}
  end

  def handle_call(:protocol, _from, state), do: {:reply, {:ok, state.protocol}, state}
  def handle_call({:trace, trace}, _from, state), do: {:reply, :ok, %{state | trace: trace}}
  def handle_call(:info, _from, state), do: {:reply, {:ok, info(state)}, state}

  @impl true
  def handle_info(:work, state), do: {:noreply, state |> Map.put(:working?, false) |> exchange()}

  def handle_info({:select, _socket, armed, :ready_input}, %{armed: armed} = state) do
    {:noreply, exchange(%{state | armed: nil})}
  end

  def handle_info({:over, reference}, state) do
    {:noreply, leave(state, reference, &Caller.reply(&1, error(:timeout)))}
  end

  def handle_info({:DOWN, owner, :process, _pid, _reason}, %{owner: owner} = state) do
    {:stop, :normal, state}
  end

  def handle_info({:DOWN, reference, :process, _pid, _reason}, state) do
    if reference == state.subscription,
      do: {:noreply, activate(state, nil, false)},
      else: {:noreply, leave(state, reference, &Caller.forget/1)}
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    :ok = Socket.close(state.socket)
    callers = for request <- Requests.all(state.requests), do: request.from

    for caller <- callers ++ Inbox.waiting(state.inbox),
        do: Caller.reply(caller, error(:closed))

    for {:posted, from, _result} <- Requests.posted(state.requests),
        do: GenServer.reply(from, error(:closed))
  end

  # What a message without sequence number or port id gets.
  defp address(
         <<head::binary-size(8), number::native-32, port_id::native-32, body::binary>>,
         requests
       ) do
    {number, requests} = if number == 0, do: Requests.number(requests), else: {number, requests}
    port_id = if port_id == 0, do: requests.port_id, else: port_id
    bytes = <<head::binary, number::native-32, port_id::native-32, body::binary>>
    {{{number, port_id}, bytes}, requests}
  end

  # By a message to itself: what came before it is done first, and so collected.
  defp work(%{working?: true} = state), do: state

  defp work(state) do
    send(self(), :work)
    %{state | working?: true}
  end

  defp exchange(state) do
    {items, requests} = pop(state.requests, @batch, [])
    state = %{state | requests: requests}

    if items == [] and not wanted?(state) do
      state
    else
      messages = for {_id, to, bytes} <- items, do: {to, bytes}

      case Socket.exchange(state.socket, messages, limit(state, items)) do
        {:error, reason} ->
          exit({:shutdown, reason})

        entries ->
          Trace.exchanged(state.trace, state.protocol, messages, entries)
          {state, unsent} = Enum.reduce(entries, {state, items}, &entry/2)
          state |> unpop(unsent) |> received(List.last(entries) == :drained)
      end
    end
  end

  # An answer may be behind any number of others. Without one, the kernel keeps what nobody wants.
  defp limit(state, items) do
    case Inbox.wanted(state.inbox) do
      wanted when is_integer(wanted) and items == [] ->
        if Requests.expecting?(state.requests), do: @all, else: wanted

      _ ->
        @all
    end
  end

  defp pop(requests, 0, items), do: {Enum.reverse(items), requests}

  defp pop(requests, count, items) do
    case Requests.pop(requests) do
      {item, requests} -> pop(requests, count - 1, [item | items])
      :empty -> {Enum.reverse(items), requests}
    end
  end

  defp unpop(state, unsent), do: %{state | requests: Requests.unpop(state.requests, unsent)}

  defp received(state, drained?) do
    if (not drained? and wanted?(state)) or Requests.waiting?(state.requests),
      do: work(state),
      else: watch(state)
  end

  defp watch(%{armed: nil} = state) do
    if wanted?(state) do
      armed = make_ref()
      :ok = Socket.select(state.socket, armed)
      %{state | armed: armed}
    else
      state
    end
  end

  defp watch(state), do: state

  defp wanted?(state) do
    Inbox.wanted?(state.inbox) or Requests.expecting?(state.requests)
  end

  defp entry(:drained, {state, items}) do
    state = tell_overrun(state)
    {%{state | requests: Requests.drained(state.requests)}, items}
  end

  defp entry(:sent, {state, [{{:posted, from, result}, _to, _bytes} | items]}) do
    GenServer.reply(from, result)
    {count(state, :sent), items}
  end

  defp entry(:sent, {state, [{number, _to, _bytes} | items]}) do
    state = %{state | requests: Requests.sent(state.requests, number)}
    {count(state, :sent), items}
  end

  defp entry({:refused, errno}, {state, [{{:posted, from, _result}, _to, _bytes} | items]}) do
    GenServer.reply(from, {:error, Error.from_errno(:send, errno)})
    {state, items}
  end

  defp entry({:refused, errno}, {state, [{number, _to, _bytes} | items]}) do
    {fail(state, number, Error.from_errno(:send, errno)), items}
  end

  defp entry({:datagram, port_id, group, nsid, bytes}, {state, items}) do
    state = state |> count(:datagrams) |> count(:bytes, byte_size(bytes))

    if accepted?(state, port_id),
      do: {datagram(state, origin(state, port_id, group, nsid), group, bytes), items},
      else: {count(state, :foreign), items}
  end

  defp entry({:truncated, port_id, group, _nsid, bytes, length}, {state, items}) do
    state = state |> count(:datagrams) |> count(:bytes, length)

    if accepted?(state, port_id),
      do:
        {state
         |> count(:truncated)
         |> damaged(port_id, group, bytes, %Error{reason: :truncated, detail: length}), items},
      else: {count(state, :foreign), items}
  end

  # The kernel says so before what it still had room for, and keeps nothing more until all of that is received. So the
  # gap comes after it.
  defp entry(:overrun, {state, items}), do: {%{tell_overrun(state) | overrun?: true}, items}

  defp entry({:failed, errno}, {state, items}) do
    error = Error.from_errno(:receive, errno)
    {state |> fail_sent(error) |> put({:error, error}, @overhead), items}
  end

  defp tell_overrun(%{overrun?: false} = state), do: state

  defp tell_overrun(state) do
    %{state | overrun?: false}
    |> count(:overruns)
    |> fail_sent(%Error{reason: :overrun})
    |> put(error(:overrun), 0)
  end

  # What is sent to a group of some protocols may be anybody's; only the kernel has port 0. What does not say who sent it
  # is nobody's.
  defp accepted?(_state, nil), do: false
  defp accepted?(state, port_id), do: port_id == 0 or state.accept == :any

  defp origin(state, port_id, group, nsid) do
    %{port_id: port_id, group: if(state.packet_info, do: group), nsid: nsid}
  end

  defp datagram(state, origin, group, bytes) do
    case Message.decode(bytes, state.protocol) do
      {:ok, messages} ->
        {unknown, state} =
          Enum.reduce(messages, {[], state}, &take(&1, origin.port_id, group, &2))

        unknown = Enum.reverse(unknown)

        if unknown == [],
          do: state,
          else: put(state, {:messages, unknown, origin}, size(length(unknown), bytes))

      {:error, error} ->
        state |> count(:malformed) |> damaged(origin.port_id, group, bytes, error)
    end
  end

  defp take(message, port_id, group, {unknown, state}) do
    if group == 0 or Requests.echo?(state.requests, message),
      do: take(message, port_id, {unknown, state}),
      else: {[message | unknown], state}
  end

  defp take(message, port_id, {unknown, state}) do
    {taken, requests} = Requests.take(state.requests, message, port_id)
    state = %{state | requests: requests}

    case taken do
      {:ended, _number, request, result} ->
        {unknown, state |> end_request(request, result) |> count_malformed(result)}

      :taken ->
        {unknown, state}

      :late ->
        {unknown, count(state, :late)}

      :unknown ->
        {[message | unknown], state}
    end
  end

  # The messages of a datagram to one socket are all of one request; of which one, only the port says that it went to.
  defp damaged(state, port_id, 0, <<_::64, number::native-32, _::binary>> = bytes, error) do
    if Requests.answers?(state.requests, number, port_id),
      do: fail(state, number, error),
      else: put_damaged(state, bytes, error)
  end

  defp damaged(state, _port_id, _group, bytes, error), do: put_damaged(state, bytes, error)

  defp put_damaged(state, bytes, error), do: put(state, {:error, error}, size(1, bytes))

  # What so many messages take in memory, about: else those without a body would be many.
  defp size(messages, bytes), do: byte_size(bytes) + @overhead * messages

  defp put(state, item, size) do
    case {Inbox.put(state.inbox, item, size), item} do
      {{:ok, inbox}, {:messages, _, _}} -> count(%{state | inbox: inbox}, :events)
      {{:ok, inbox}, {:error, _}} -> %{state | inbox: inbox}
      {{:overrun, inbox}, _item} -> count(%{state | inbox: inbox}, :overruns)
    end
  end

  defp count_malformed(state, {:error, %Error{reason: :malformed}}), do: count(state, :malformed)
  defp count_malformed(state, _result), do: state

  defp left(:infinity), do: :infinity
  defp left(deadline), do: deadline - System.monotonic_time(:millisecond)

  defp add(state, request, caller) do
    {number, requests} = Requests.add(state.requests, Map.put(request, :from, caller))
    callers = Map.put(state.callers, Caller.reference(caller), number)
    %{state | requests: requests, callers: callers} |> count(:requests) |> work()
  end

  defp end_request(state, %{from: caller}, result) do
    Caller.reply(caller, result)
    %{state | callers: Map.delete(state.callers, Caller.reference(caller))}
  end

  defp error(reason), do: {:error, %Error{reason: reason}}

  defp fail(state, number, error) do
    {request, requests} = Requests.give_up(state.requests, number)
    state = %{state | requests: requests}
    if request, do: end_request(state, request, {:error, error}), else: state
  end

  # Any of their answers may be what is lost.
  defp fail_sent(state, error) do
    {given_up, requests} = Requests.give_up_sent(state.requests)

    Enum.reduce(given_up, %{state | requests: requests}, fn {_number, request}, state ->
      end_request(state, request, {:error, error})
    end)
  end

  # A caller that waits no more, because its time is over or because it died.
  defp leave(state, reference, ending) do
    case Map.pop(state.callers, reference) do
      {nil, _callers} ->
        %{state | inbox: leave_inbox(state.inbox, reference, ending)}

      {number, callers} ->
        {request, requests} = Requests.give_up(state.requests, number)
        ending.(request.from)
        state = %{state | requests: requests, callers: callers}
        # Others wait for the end of a dump, and nothing else may come to be received.
        if Requests.dumping?(requests, number), do: work(state), else: state
    end
  end

  defp leave_inbox(inbox, reference, ending) do
    case Inbox.leave(inbox, reference) do
      {nil, inbox} ->
        inbox

      {caller, inbox} ->
        ending.(caller)
        inbox
    end
  end

  defp activate(state, subscriber, active) do
    if state.subscription, do: Process.demonitor(state.subscription, [:flush])
    subscription = subscriber && Process.monitor(subscriber)
    %{state | subscription: subscription, inbox: Inbox.activate(state.inbox, subscriber, active)}
  end

  defp info(state) do
    state.socket
    |> Socket.info()
    |> Map.merge(%{
      port_id: state.requests.port_id,
      pending: Requests.count(state.requests),
      counters: state.counters
    })
  end

  defp count(state, counter, more \\ 1) do
    %{state | counters: Map.update!(state.counters, counter, &(&1 + more))}
  end
end
