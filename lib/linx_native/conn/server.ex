defmodule LinxNative.Conn.Server do
  @moduledoc false

  # The process of a `LinxNative.Conn`. It owns the socket, and is the only process that sends and receives.
  #
  # Messages to send are collected while the process does other work, and then passed to one call of
  # `LinxNative.Native.exchange/3`. That call also receives the answers, which the kernel has ready when `sendto(2)`
  # returns. The socket is watched only while an answer is pending or somebody wants events. Otherwise events stay in the
  # kernel's buffer.

  use GenServer

  alias LinxNative.Conn.{Caller, Entries, Inbox, Options, Requests, Socket, State, Trace}
  alias LinxNative.Error

  # The largest number of messages in one call.
  @batch 64

  # No limit on the number of datagrams.
  @all 0xFFFFFFFF

  # After this many received bytes the process collects its garbage, as soon as no answer is incomplete. Otherwise an idle process
  # would keep its largest heap.
  @collect 262_144

  @doc """
  Starts the process, linked to the caller. It ends when one of `owners` ends.
  """
  @spec start_link({[pid], integer, map, keyword}) :: GenServer.on_start()
  def start_link({owners, protocol, options, server}) do
    GenServer.start_link(__MODULE__, {owners, protocol, options}, server)
  end

  @impl true
  def init({owners, protocol, options}) do
    # Off the heap, so that a garbage collection does not copy waiting messages.
    Process.flag(:message_queue_data, :off_heap)
    # The link alone does not end this process if an owner ends normally.
    monitors = Map.new(owners, &{Process.monitor(&1), &1})

    case Socket.open(protocol, options) do
      {:ok, socket, port_id} ->
        state = %State{
          owners: monitors,
          number: protocol,
          protocol: Options.named(protocol),
          options: Map.drop(options, [:filter, :groups]),
          trace: options.trace,
          socket: socket,
          requests: Requests.new(:rand.uniform(0xFFFFFFFF), port_id),
          inbox: Inbox.new(options.event_buffer),
          packet_info: options.packet_info
        }

        {:ok, state |> State.activate(options.subscriber, options.active) |> watch()}

      {:error, error} ->
        # Otherwise the caller would get an exit signal with the error.
        for owner <- owners, do: Process.unlink(owner)
        {:stop, {:shutdown, error}}
    end
  end

  @impl true
  def handle_call({:protocol, protocol, request}, from, state) do
    if state.protocol in [nil, protocol],
      do: handle_call(request, from, state),
      else:
        {:reply, {:error, %Error{reason: :protocol, detail: {protocol, state.protocol}}}, state}
  end

  # The kernel would refuse the answer of another port.
  def handle_call({:request, _id, %{to: to}}, _from, %{options: %{accept: :kernel}} = state)
      when to != 0 do
    {:reply, {:error, %Error{reason: :not_accepted}}, state}
  end

  def handle_call({:request, id, request}, from, state) do
    {:noreply, state |> State.add(request, Caller.watch(from, id)) |> work()}
  end

  def handle_call({:send, id, messages, to}, from, state) do
    {numbered, requests} = Enum.map_reduce(messages, state.requests, &address/2)
    bytes = for {_address, bytes} <- numbered, into: <<>>, do: bytes
    addresses = for {address, _bytes} <- numbered, do: address
    state = %{state | requests: requests}
    {:noreply, state |> State.post(Caller.watch(from, id), addresses, to, bytes) |> work()}
  end

  def handle_call({:recv, id, claim, now?}, from, state) do
    state = %{state | inbox: Inbox.wait(state.inbox, Caller.watch(from, id, claim))}

    cond do
      not Inbox.wanted?(state.inbox) -> {:noreply, watch(state)}
      # The caller's timeout of 0 is over already, and its cast comes next. So the exchange cannot wait.
      now? -> {:noreply, exchange(state)}
      true -> {:noreply, work(state)}
    end
  end

  def handle_call({:active, active}, {pid, _tag}, state) do
    {:reply, :ok, state |> State.activate(pid, active) |> watch()}
  end

  # The option of the socket stays on, because it tells an event from an answer.
  def handle_call({:native, _stage, :set_flag, [:packet_info, on]}, _from, state) do
    {:reply, :ok, %{state | packet_info: on}}
  end

  def handle_call({:native, _stage, :flag, [:packet_info]}, _from, state) do
    {:reply, {:ok, state.packet_info}, state}
  end

  def handle_call({:native, stage, function, arguments}, _from, state) do
    {:reply, Socket.call(state.socket, stage, function, arguments), state}
  end

  def handle_call(:stream_options, _from, state) do
    options = Socket.stream_options(state.socket, %{state.options | trace: state.trace})
    {:reply, {:ok, {self(), state.number, options}}, state}
  end

  def handle_call(:protocol, _from, state), do: {:reply, {:ok, state.protocol}, state}
  def handle_call({:trace, trace}, _from, state), do: {:reply, :ok, %{state | trace: trace}}
  def handle_call(:info, _from, state), do: {:reply, {:ok, info(state)}, state}

  @impl true
  def handle_cast({:gave_up, id}, state) do
    # A caller of recv/2 on another node gets this reply as the confirmation that nothing was delivered to it.
    {:noreply, leave(state, id, &Caller.reply(&1, {:error, %Error{reason: :timeout}}))}
  end

  @impl true
  def handle_info(:work, state), do: {:noreply, exchange(%{state | working?: false})}

  def handle_info(:collect, state) do
    :erlang.garbage_collect()
    {:noreply, state}
  end

  def handle_info({:select, _socket, armed, :ready_input}, %{armed: armed} = state) do
    {:noreply, exchange(%{state | armed: nil})}
  end

  def handle_info({{:gone, id}, _monitor, :process, _pid, _reason}, state) do
    {:noreply, leave(state, id, fn _caller -> :ok end)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    cond do
      is_map_key(state.owners, monitor) -> {:stop, :normal, state}
      monitor == state.subscription -> {:noreply, State.activate(state, nil, false)}
      true -> {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    :ok = Socket.close(state.socket)
    State.end_all(state, %Error{reason: :closed})
  end

  # Fills in a sequence number and a port id that are 0.
  defp address(
         <<head::binary-size(8), number::native-32, port_id::native-32, body::binary>>,
         requests
       ) do
    {number, requests} = if number == 0, do: Requests.number(requests), else: {number, requests}
    port_id = if port_id == 0, do: requests.port_id, else: port_id
    bytes = <<head::binary, number::native-32, port_id::native-32, body::binary>>
    {{{number, port_id}, bytes}, requests}
  end

  # Schedules an exchange by a message to itself: messages that arrived before it are handled first, so their requests are
  # collected.
  defp work(%{working?: true} = state), do: state

  defp work(state) do
    send(self(), :work)
    %{state | working?: true}
  end

  defp exchange(state) do
    {items, requests} = pop(state.requests, @batch, [])
    state = %{state | requests: requests}

    if items == [] and not State.wanted?(state) do
      state
    else
      messages = for {_id, to, bytes} <- items, do: {to, bytes}

      case Socket.exchange(state.socket, messages, limit(state, items)) do
        {:error, reason} ->
          exit({:shutdown, reason})

        entries ->
          Trace.exchanged(state.trace, state.protocol, messages, entries)
          {state, unsent} = Entries.take(state, entries, items)
          state = %{state | requests: Requests.unpop(state.requests, unsent)}
          state |> received(List.last(entries) == :drained) |> collect()
      end
    end
  end

  # An answer may be queued behind any number of events. If no answer is pending, unclaimed events stay in the kernel's buffer.
  defp limit(state, items) do
    case Inbox.wanted(state.inbox) do
      :all ->
        @all

      wanted ->
        expecting? =
          Enum.any?(items, &is_integer(elem(&1, 0))) or Requests.expecting?(state.requests)

        if expecting?, do: @all, else: wanted
    end
  end

  defp pop(requests, 0, items), do: {Enum.reverse(items), requests}

  defp pop(requests, count, items) do
    case Requests.pop(requests) do
      {item, requests} -> pop(requests, count - 1, [item | items])
      :empty -> {Enum.reverse(items), requests}
    end
  end

  defp received(state, drained?) do
    if (not drained? and State.wanted?(state)) or Requests.waiting?(state.requests),
      do: work(state),
      else: watch(state)
  end

  defp collect(%{garbage: bytes} = state) do
    if bytes >= @collect and not Requests.expecting?(state.requests) do
      # Later, because gen_server still references the previous state, with the answer in it, while this message is handled.
      send(self(), :collect)
      %{state | garbage: 0}
    else
      state
    end
  end

  defp watch(%{armed: nil} = state) do
    if State.wanted?(state) do
      armed = make_ref()
      :ok = Socket.select(state.socket, armed)
      %{state | armed: armed}
    else
      state
    end
  end

  defp watch(state), do: state

  # Removes a caller whose timeout is over, or that ended.
  defp leave(state, id, ending) do
    {dump?, state} = State.leave(state, id, ending)
    # Other dumps wait for the end of this one, which only an exchange can find.
    if dump?, do: work(state), else: state
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
end
