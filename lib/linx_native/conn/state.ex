defmodule LinxNative.Conn.State do
  @moduledoc false

  # The state of the server, with the functions that change it and need no socket. They reply to callers.

  alias LinxNative.Conn.{Caller, Inbox, Requests}
  alias LinxNative.Error

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

  @enforce_keys [:owners, :number, :protocol, :options, :socket, :requests, :inbox, :trace] ++
                  [:packet_info]
  defstruct @enforce_keys ++
              [
                :armed,
                :subscription,
                # By the id of a caller: the number of its request, or, for a post, the caller and the addresses of the messages.
                callers: %{},
                working?: false,
                overrun?: false,
                # How many bytes were received since the last garbage collection.
                garbage: 0,
                counters: Map.new(@counters, &{&1, 0})
              ]

  @type t :: %__MODULE__{}

  @doc "Adds to a counter."
  @spec count(t, atom, non_neg_integer) :: t
  def count(state, counter, more \\ 1) do
    %{state | counters: Map.update!(state.counters, counter, &(&1 + more))}
  end

  @doc "Adds a request of a caller."
  @spec add(t, map, Caller.t()) :: t
  def add(state, request, caller) do
    {number, requests} = Requests.add(state.requests, Map.put(request, :from, caller))
    callers = Map.put(state.callers, Caller.id(caller), number)
    count(%{state | requests: requests, callers: callers}, :requests)
  end

  @doc "Adds messages that are sent as they are. Their caller gets `addresses` when they are sent."
  @spec post(t, Caller.t(), term, non_neg_integer, binary) :: t
  def post(state, caller, addresses, to, bytes) do
    id = Caller.id(caller)
    requests = Requests.post(state.requests, id, to, bytes)
    %{state | requests: requests, callers: Map.put(state.callers, id, {caller, addresses})}
  end

  @doc "Marks a request or a post as sent."
  @spec sent(t, term) :: t
  def sent(state, number) when is_integer(number) do
    count(%{state | requests: Requests.sent(state.requests, number)}, :sent)
  end

  def sent(state, id) do
    {{caller, addresses}, callers} = Map.pop!(state.callers, id)
    Caller.reply(caller, {:ok, addresses})
    count(%{state | callers: callers}, :sent)
  end

  @doc "Ends a request or a post with an error."
  @spec fail(t, term, Error.t()) :: t
  def fail(state, number, error) when is_integer(number) do
    {request, requests} = Requests.give_up(state.requests, number)
    state = %{state | requests: requests}
    if request, do: end_request(state, request, {:error, error}), else: state
  end

  def fail(state, id, error) do
    {{caller, _addresses}, callers} = Map.pop!(state.callers, id)
    Caller.reply(caller, {:error, error})
    %{state | callers: callers}
  end

  @doc "Ends all requests in flight with an error, because any of their answers may be lost."
  @spec fail_sent(t, Error.t()) :: t
  def fail_sent(state, error) do
    {given_up, requests} = Requests.give_up_sent(state.requests)

    Enum.reduce(given_up, %{state | requests: requests}, fn {_number, request}, state ->
      end_request(state, request, {:error, error})
    end)
  end

  @doc "Ends a request with its result."
  @spec end_request(t, map, term) :: t
  def end_request(state, %{from: caller}, result) do
    Caller.reply(caller, result)
    %{state | callers: Map.delete(state.callers, Caller.id(caller))}
  end

  @doc """
  Removes a caller that no longer waits, whatever it waited for, and calls `ending` with it. Reports whether the kernel may be in the
  middle of its dump.
  """
  @spec leave(t, reference, (Caller.t() -> :ok)) :: {dump? :: boolean, t}
  def leave(state, id, ending) do
    case Map.pop(state.callers, id) do
      {nil, _callers} ->
        {false, %{state | inbox: leave_inbox(state.inbox, id, ending)}}

      {{caller, _addresses}, callers} ->
        ending.(caller)
        requests = Requests.unpost(state.requests, id)
        {false, %{state | requests: requests, callers: callers}}

      {number, callers} ->
        {request, requests} = Requests.give_up(state.requests, number)
        ending.(request.from)
        dump? = Requests.dumping?(requests, number)
        {dump?, %{state | requests: requests, callers: callers}}
    end
  end

  defp leave_inbox(inbox, id, ending) do
    case Inbox.leave(inbox, id) do
      {nil, inbox} ->
        inbox

      {caller, inbox} ->
        ending.(caller)
        inbox
    end
  end

  @doc "Replies to all waiting callers with an error."
  @spec end_all(t, Error.t()) :: :ok
  def end_all(state, error) do
    requests = for request <- Requests.all(state.requests), do: request.from
    posts = for {_id, {caller, _addresses}} <- state.callers, do: caller

    for caller <- requests ++ posts ++ Inbox.waiting(state.inbox),
        do: Caller.reply(caller, {:error, error})

    :ok
  end

  @doc "Adds an item of `size` bytes to the inbox."
  @spec put(t, Inbox.item(), non_neg_integer) :: t
  def put(state, item, size) do
    case {Inbox.put(state.inbox, item, size), item} do
      {{:ok, inbox}, {:messages, _, _}} -> count(%{state | inbox: inbox}, :events)
      {{:ok, inbox}, {:error, _}} -> %{state | inbox: inbox}
      {{:overrun, inbox}, _item} -> count(%{state | inbox: inbox}, :overruns)
    end
  end

  @doc "Makes a process the subscriber, or removes it if `subscriber` is `nil`."
  @spec activate(t, pid | nil, Inbox.active()) :: t
  def activate(state, subscriber, active) do
    if state.subscription, do: Process.demonitor(state.subscription, [:flush])
    subscription = subscriber && Process.monitor(subscriber)
    %{state | subscription: subscription, inbox: Inbox.activate(state.inbox, subscriber, active)}
  end

  @doc "Reports whether there is a reason to receive: a wanted event, or a pending answer."
  @spec wanted?(t) :: boolean
  def wanted?(state) do
    Inbox.wanted?(state.inbox) or Requests.expecting?(state.requests)
  end
end
