defmodule LinxNative.Conn.Server do
  @moduledoc false

  # The process behind a `LinxNative.Conn`: it owns the socket, and is the only one that sends and receives.
  #
  # What is to be sent is collected while other work is done, and then given to one call of
  # `LinxNative.Native.exchange/3`, which also receives the answers: the kernel has them ready when `sendto(2)`
  # returns. The socket is watched only while an answer is still to come, or somebody wants events; else these stay in the
  # kernel's buffer.

  use GenServer

  alias LinxNative.Conn.{Caller, Entries, Inbox, Options, Requests, Socket, State, Trace}
  alias LinxNative.Error

  # How many messages go to one call.
  @batch 64

  # No limit.
  @all 0xFFFFFFFF

  # After so many bytes what is left of them is collected, as soon as no answer is being put together. A process that has
  # little to do would else keep its largest heap.
  @collect 262_144

  @doc """
  Starts it, linked to the caller. The connection ends when one of `owners` does.
  """
  @spec start_link({[pid], integer, map, keyword}) :: GenServer.on_start()
  def start_link({owners, protocol, options, server}) do
    GenServer.start_link(__MODULE__, {owners, protocol, options}, server)
  end

  @impl true
  def init({owners, protocol, options}) do
    # However many messages wait, a garbage collection does not look at them.
    Process.flag(:message_queue_data, :off_heap)
    # The link alone would let it outlive a process that ends normally.
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
        # Else the caller would get an exit signal with the error.
        for owner <- owners, do: Process.unlink(owner)
        {:stop, {:shutdown, error}}
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
      # Its time is over already, and the next message says so.
      now? -> {:noreply, exchange(state)}
      true -> {:noreply, work(state)}
    end
  end

  def handle_call({:active, active}, {pid, _tag}, state) do
    {:reply, :ok, state |> State.activate(pid, active) |> watch()}
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

  def handle_call(:beside, _from, state) do
    options = Socket.beside(state.socket, %{state.options | trace: state.trace})
    {:reply, {:ok, {self(), state.number, options}}, state}
  end

  def handle_call(:protocol, _from, state), do: {:reply, {:ok, state.protocol}, state}
  def handle_call({:trace, trace}, _from, state), do: {:reply, :ok, %{state | trace: trace}}
  def handle_call(:info, _from, state), do: {:reply, {:ok, info(state)}, state}

  @impl true
  def handle_cast({:gave_up, id}, state) do
    # One that waits in recv/2 on another node is told that it left before anything came.
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

  # An answer may be behind any number of others. Without one, the kernel keeps what nobody wants.
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
      # Later: while this is handled, gen_server has the state from before, with the answer in it.
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

  # A caller that waits no more, because its time is over or because it ended.
  defp leave(state, id, ending) do
    {dump?, state} = State.leave(state, id, ending)
    # Others wait for the end of a dump, and nothing else may come to be received.
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
