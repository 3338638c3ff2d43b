defmodule LinxNative.Conn.Requests do
  @moduledoc """
  The requests of a connection, and which answer belongs to which: no process, no socket.

  A request is *waiting* until it is sent, then *pending* until its last answer. The kernel runs one dump a socket at a
  time and refuses others meanwhile, so that of several the others wait.

  Every request has a sequence number of its own. That of one which was given up (its time was over, its caller died) is
  remembered, as long as it is among the last 4096 of them: an answer that comes late is nobody's.
  """

  alias LinxNative.Conn.Outcome
  alias LinxNative.{Error, Message}

  @enforce_keys [:next, :port_id]
  defstruct [
    :next,
    :port_id,
    pending: %{},
    waiting: :queue.new(),
    dumps: :queue.new(),
    dump: nil,
    late: %{},
    oldest: :queue.new()
  ]

  @opaque t :: %__MODULE__{}

  @typedoc """
  A request: whose it is, the port it goes to, its message without sequence number and port id, whether it may begin a
  dump, whether it asks for an acknowledgement, and whether for an echo.
  """
  @type request :: %{
          from: term,
          to: Message.u32(),
          bytes: binary,
          dump?: boolean,
          ack?: boolean,
          echo?: boolean
        }

  @type result :: {:ok, [Message.t()]} | {:error, Error.t()}

  # NLMSG_* of linux/netlink.h
  @noop 1
  @error 2
  @done 3
  @data_lost 4

  # How many late ones are remembered. The kernel's come at once, if at all.
  @remembered 4096

  @max 0xFFFFFFFF

  @doc "No requests yet; the first gets the sequence number `first`, or 1 for 0."
  @spec new(Message.u32(), Message.u32()) :: t
  def new(first, port_id), do: %__MODULE__{next: max(first, 1), port_id: port_id}

  @doc "Takes a sequence number that no request has: 1 to 4294967295."
  @spec number(t) :: {Message.u32(), t}
  def number(%{next: number} = requests) do
    requests = %{requests | next: if(number == @max, do: 1, else: number + 1)}

    if Map.has_key?(requests.pending, number) or Map.has_key?(requests.late, number),
      do: number(requests),
      else: {number, requests}
  end

  @doc "Adds a request."
  @spec add(t, request) :: {Message.u32(), t}
  def add(requests, request) do
    {number, requests} = number(requests)
    request = Map.merge(request, %{sent?: false, interrupted?: false, replies: []})
    requests = %{requests | pending: Map.put(requests.pending, number, request)}

    if request.dump?,
      do: {number, next_dump(%{requests | dumps: :queue.in(number, requests.dumps)})},
      else: {number, %{requests | waiting: :queue.in(number, requests.waiting)}}
  end

  @doc "Adds bytes that are sent as they are and not waited for, after what is waiting."
  @spec post(t, term, Message.u32(), binary) :: t
  def post(requests, id, to, bytes) do
    %{requests | waiting: :queue.in({id, to, bytes}, requests.waiting)}
  end

  @doc """
  The next that is to be sent: what it is (the number of a request, or what `post/4` was given), its port and its bytes.
  """
  @spec pop(t) :: {{term, Message.u32(), binary}, t} | :empty
  def pop(requests) do
    case :queue.out(requests.waiting) do
      {:empty, _waiting} -> :empty
      {{:value, next}, waiting} -> popped(next, %{requests | waiting: waiting})
    end
  end

  @doc "Puts back, to be sent next, what was popped and not sent."
  @spec unpop(t, [{term, Message.u32(), binary}]) :: t
  def unpop(requests, items) do
    items = for {id, to, bytes} <- items, do: if(is_integer(id), do: id, else: {id, to, bytes})
    %{requests | waiting: :queue.join(:queue.from_list(items), requests.waiting)}
  end

  @doc "What was given to `post/4` and is not sent yet."
  @spec posted(t) :: [term]
  def posted(requests) do
    for {id, _to, _bytes} <- :queue.to_list(requests.waiting), do: id
  end

  @doc "It was sent."
  @spec sent(t, Message.u32()) :: t
  def sent(requests, number) do
    update_in(requests.pending, fn
      %{^number => request} = pending -> %{pending | number => %{request | sent?: true}}
      pending -> pending
    end)
  end

  @doc "Gives one up that has not ended: its request, or `nil` if there is none of that number."
  @spec give_up(t, Message.u32()) :: {request | nil, t}
  def give_up(requests, number) do
    case Map.pop(requests.pending, number) do
      {nil, _pending} ->
        {nil, requests}

      {%{sent?: true} = request, pending} ->
        {request, remember(%{requests | pending: pending}, number, request)}

      {request, pending} ->
        {request, %{requests | pending: pending}}
    end
  end

  @doc "Gives up all that were sent."
  @spec give_up_sent(t) :: {[{Message.u32(), request}], t}
  def give_up_sent(requests) do
    numbers = for {number, %{sent?: true}} <- requests.pending, do: number

    Enum.map_reduce(numbers, requests, fn number, requests ->
      {request, requests} = give_up(requests, number)
      {{number, request}, requests}
    end)
  end

  @doc "Whether what a port sends with this number is of the answer to a request."
  @spec answers?(t, Message.u32(), Message.u32()) :: boolean
  def answers?(requests, number, port_id) do
    match?(%{^number => %{sent?: true, to: ^port_id}}, requests.pending)
  end

  @doc "All that have not ended."
  @spec all(t) :: [request]
  def all(requests), do: Map.values(requests.pending)

  @doc "How many have not ended."
  @spec count(t) :: non_neg_integer
  def count(requests), do: map_size(requests.pending)

  @doc "Whether an answer may still come."
  @spec expecting?(t) :: boolean
  def expecting?(requests) do
    requests.dump != nil or
      Enum.any?(requests.pending, fn {_number, request} -> request.sent? end)
  end

  @doc "Whether the kernel may be in the middle of the dump of this number."
  @spec dumping?(t, Message.u32()) :: boolean
  def dumping?(requests, number), do: requests.dump == number

  @doc "Whether there is something to be sent."
  @spec waiting?(t) :: boolean
  def waiting?(requests), do: not :queue.is_empty(requests.waiting)

  @doc """
  Nothing is left to be received. The kernel makes the next part of a dump when one is received, so a dump whose request
  was given up is over.
  """
  @spec drained(t) :: t
  def drained(%{dump: nil} = requests), do: requests

  def drained(requests) do
    if Map.has_key?(requests.pending, requests.dump),
      do: requests,
      else: free_dump(requests, requests.dump)
  end

  @doc """
  Whether a message to a group is the answer to a request for an echo (`NLM_F_ECHO`). The kernel sends that to the group
  without us, and once more to us alone, but as if it were to the group.
  """
  @spec echo?(t, Message.t()) :: boolean
  def echo?(requests, %{sequence: number, port_id: port_id}) do
    port_id == requests.port_id and match?(%{^number => %{echo?: true}}, requests.pending)
  end

  @doc """
  Takes a message that came from a port to this socket alone.

    * `{:ended, number, request, result}` - it was the last one of a request
    * `:taken` - it is one of several of a request
    * `:late` - it belongs to a request that was given up
    * `:unknown` - it is none of ours
  """
  @spec take(t, Message.t(), Message.u32()) ::
          {{:ended, Message.u32(), request, result} | :taken | :late | :unknown, t}
  def take(requests, message, port_id) do
    number = message.sequence
    # The kernel, whose port is 0, leaves out whom it answers in some protocols: in NETLINK_AUDIT.
    to_us? = message.port_id == requests.port_id or {message.port_id, port_id} == {0, 0}

    case requests.pending do
      _ when not to_us? -> {:unknown, requests}
      %{^number => %{sent?: true, to: ^port_id} = request} -> answer(requests, request, message)
      _ -> late(requests, message, port_id)
    end
  end

  defp popped(number, requests) when is_integer(number) do
    case requests.pending do
      %{^number => request} -> {{number, request.to, bytes(requests, number, request)}, requests}
      # Given up meanwhile.
      _ -> requests |> free_dump(number) |> pop()
    end
  end

  defp popped(item, requests), do: {item, requests}

  defp answer(requests, _request, %{type: @noop}), do: {:taken, requests}

  defp answer(requests, request, %{type: type} = message) when type in [@error, @done] do
    kind = if type == @error, do: :error, else: :done
    # The end of a dump may be all that says so.
    request = interrupted(request, message)
    result = with :ok <- Outcome.read(message, kind), do: complete(request)
    {ended, requests} = ended(requests, request, message, result)

    # Where several messages were the answer to what is no dump, the acknowledgement comes after them.
    late? = type == @done and request.ack? and not request.dump?
    {ended, if(late?, do: remember(requests, message.sequence, request), else: requests)}
  end

  defp answer(requests, request, %{type: @data_lost} = message) do
    ended(requests, request, message, {:error, %Error{reason: :overrun}})
  end

  defp answer(requests, request, message) do
    request = interrupted(%{request | replies: [message | request.replies]}, message)

    if request.ack? or Message.flag?(message, :multi) do
      {:taken, put_in(requests.pending[message.sequence], request)}
    else
      ended(requests, request, message, complete(request))
    end
  end

  defp interrupted(request, message) do
    %{request | interrupted?: request.interrupted? or Message.flag?(message, :dump_intr)}
  end

  defp complete(%{interrupted?: true} = request) do
    {:error, %Error{reason: :dump_interrupted, messages: Enum.reverse(request.replies)}}
  end

  defp complete(request), do: {:ok, Enum.reverse(request.replies)}

  defp ended(requests, request, %{sequence: number}, result) do
    requests = %{requests | pending: Map.delete(requests.pending, number)}
    {{:ended, number, request, result}, free_dump(requests, number)}
  end

  defp late(requests, %{sequence: number, type: type}, port_id) do
    cond do
      requests.late[number] != port_id -> {:unknown, requests}
      type in [@error, @done] -> {:late, requests |> forget(number) |> free_dump(number)}
      true -> {:late, requests}
    end
  end

  defp free_dump(%{dump: number} = requests, number), do: next_dump(%{requests | dump: nil})
  defp free_dump(requests, _number), do: requests

  defp next_dump(%{dump: nil} = requests) do
    case :queue.out(requests.dumps) do
      {:empty, _dumps} ->
        requests

      {{:value, number}, dumps} when is_map_key(requests.pending, number) ->
        %{requests | dump: number, dumps: dumps, waiting: :queue.in(number, requests.waiting)}

      # Given up meanwhile.
      {{:value, _number}, dumps} ->
        next_dump(%{requests | dumps: dumps})
    end
  end

  defp next_dump(requests), do: requests

  # The oldest are forgotten first. Some that are gone already may be among them.
  defp remember(requests, number, %{to: port_id}) do
    oldest = :queue.in(number, requests.oldest)
    requests = %{requests | late: Map.put(requests.late, number, port_id), oldest: oldest}
    if :queue.len(oldest) > @remembered, do: forget_oldest(requests), else: requests
  end

  defp forget_oldest(requests) do
    {{:value, number}, oldest} = :queue.out(requests.oldest)
    forget(%{requests | oldest: oldest}, number)
  end

  defp forget(requests, number), do: %{requests | late: Map.delete(requests.late, number)}

  defp bytes(requests, number, request) do
    <<head::binary-size(8), _::64, body::binary>> = request.bytes
    <<head::binary, number::native-32, requests.port_id::native-32, body::binary>>
  end
end
