defmodule LinxNative.Conn.Requests do
  @moduledoc false

  # The pending requests of a connection. Decides which answer belongs to which request. It has no process and no socket.
  #
  # A request is pending from add/2 to its last answer. It waits until it is sent. The kernel runs one dump at a time for each
  # socket and refuses others meanwhile, so dumps wait for each other.
  #
  # Every request has a sequence number of its own. If a request was given up (its timeout was over, or its caller died), its
  # number is remembered while it is among the last 4096 such numbers: a late answer belongs to no other request.
  #
  # Each function but give_up_sent/1 and all/1 takes the same time, however many requests are pending.

  alias LinxNative.Conn.{KeyedQueue, Outcome}
  alias LinxNative.{Error, Message}

  @enforce_keys [:next, :port_id]
  defstruct [
    :next,
    :port_id,
    pending: %{},
    sent: %{},
    waiting: KeyedQueue.new(),
    dumps: KeyedQueue.new(),
    dump: nil,
    late: KeyedQueue.new()
  ]

  @opaque t :: %__MODULE__{}

  @typedoc """
  A request: its caller, the port that it goes to, its message without sequence number and port id, whether it may start a dump,
  whether it asks for an acknowledgement, and whether it asks for an echo.
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

  # How many numbers of given up requests are remembered. If a late answer of the kernel comes, it comes at once.
  @remembered 4096

  @max 0xFFFFFFFF

  @doc "Returns an empty set of requests. The first request gets the sequence number `first`, or 1 for 0."
  @spec new(Message.u32(), Message.u32()) :: t
  def new(first, port_id), do: %__MODULE__{next: max(first, 1), port_id: port_id}

  @doc "Returns a sequence number that no request has: 1 to 4294967295."
  @spec number(t) :: {Message.u32(), t}
  def number(%{next: number} = requests) do
    requests = %{requests | next: if(number == @max, do: 1, else: number + 1)}

    if Map.has_key?(requests.pending, number) or KeyedQueue.get(requests.late, number) != nil,
      do: number(requests),
      else: {number, requests}
  end

  @doc "Adds a request and returns its sequence number."
  @spec add(t, request) :: {Message.u32(), t}
  def add(requests, request) do
    {number, requests} = number(requests)
    request = Map.merge(request, %{sent?: false, interrupted?: false, replies: []})
    requests = %{requests | pending: Map.put(requests.pending, number, request)}

    if request.dump?,
      do:
        {number,
         next_dump(%{requests | dumps: KeyedQueue.put_last(requests.dumps, number, :dump)})},
      else: {number, wait(requests, number)}
  end

  @doc "Adds bytes that are sent as they are, without waiting for an answer. `id` must not be an integer."
  @spec post(t, term, Message.u32(), binary) :: t
  def post(requests, id, to, bytes) do
    %{requests | waiting: KeyedQueue.put_last(requests.waiting, id, {to, bytes})}
  end

  @doc "Removes a post that is not sent yet."
  @spec unpost(t, term) :: t
  def unpost(requests, id) do
    {_post, waiting} = KeyedQueue.pop(requests.waiting, id)
    %{requests | waiting: waiting}
  end

  @doc """
  Removes and returns the next item to send: the number of a request or the id of a post, its port and its bytes.
  """
  @spec pop(t) :: {{term, Message.u32(), binary}, t} | :empty
  def pop(requests) do
    case KeyedQueue.pop_first(requests.waiting) do
      :empty ->
        :empty

      {number, :request, waiting} ->
        request = Map.fetch!(requests.pending, number)
        {{number, request.to, bytes(requests, number, request)}, %{requests | waiting: waiting}}

      {id, {to, bytes}, waiting} ->
        {{id, to, bytes}, %{requests | waiting: waiting}}
    end
  end

  @doc "Puts items that were popped but not sent back to the front."
  @spec unpop(t, [{term, Message.u32(), binary}]) :: t
  def unpop(requests, items) do
    items
    |> Enum.reverse()
    |> Enum.reduce(requests, fn {id, to, bytes}, requests ->
      if is_integer(id),
        do: unpop_request(requests, id),
        else: %{requests | waiting: KeyedQueue.put_first(requests.waiting, id, {to, bytes})}
    end)
  end

  # A request that was given up meanwhile is not put back.
  defp unpop_request(requests, number) do
    if Map.has_key?(requests.pending, number),
      do: %{requests | waiting: KeyedQueue.put_first(requests.waiting, number, :request)},
      else: requests
  end

  @doc "Marks a request as sent."
  @spec sent(t, Message.u32()) :: t
  def sent(requests, number) do
    case requests.pending do
      %{^number => request} = pending ->
        pending = %{pending | number => %{request | sent?: true}}
        %{requests | pending: pending, sent: Map.put(requests.sent, number, true)}

      _ ->
        requests
    end
  end

  @doc "Gives up a pending request and returns it, or `nil` if no request has that number."
  @spec give_up(t, Message.u32()) :: {request | nil, t}
  def give_up(requests, number) do
    case Map.pop(requests.pending, number) do
      {nil, _pending} ->
        {nil, requests}

      {%{sent?: true} = request, pending} ->
        sent = Map.delete(requests.sent, number)
        {request, remember(%{requests | pending: pending, sent: sent}, number, request)}

      {request, pending} ->
        {_, waiting} = KeyedQueue.pop(requests.waiting, number)
        {_, dumps} = KeyedQueue.pop(requests.dumps, number)
        requests = %{requests | pending: pending, waiting: waiting, dumps: dumps}
        {request, free_dump(requests, number)}
    end
  end

  @doc "Gives up all requests that were sent, and returns them."
  @spec give_up_sent(t) :: {[{Message.u32(), request}], t}
  def give_up_sent(requests) do
    requests.sent
    |> Map.keys()
    |> Enum.map_reduce(requests, fn number, requests ->
      {request, requests} = give_up(requests, number)
      {{number, request}, requests}
    end)
  end

  @doc "Reports whether a message with this number from this port belongs to the answer to a request."
  @spec answers?(t, Message.u32(), Message.u32()) :: boolean
  def answers?(requests, number, port_id) do
    match?(%{^number => %{sent?: true, to: ^port_id}}, requests.pending)
  end

  @doc "Returns all pending requests."
  @spec all(t) :: [request]
  def all(requests), do: Map.values(requests.pending)

  @doc "Returns the number of pending requests."
  @spec count(t) :: non_neg_integer
  def count(requests), do: map_size(requests.pending)

  @doc "Reports whether an answer may still come."
  @spec expecting?(t) :: boolean
  def expecting?(requests) do
    requests.dump != nil or map_size(requests.sent) > 0
  end

  @doc "Reports whether the kernel may be in the middle of the dump with this number."
  @spec dumping?(t, Message.u32()) :: boolean
  def dumping?(requests, number), do: requests.dump == number

  @doc "Reports whether there is something to send."
  @spec waiting?(t) :: boolean
  def waiting?(requests), do: KeyedQueue.size(requests.waiting) > 0

  @doc """
  Records that nothing is left to receive. The kernel makes the next part of a dump when a part is received, so a dump whose
  request was given up is then over.
  """
  @spec drained(t) :: t
  def drained(%{dump: nil} = requests), do: requests

  def drained(requests) do
    if Map.has_key?(requests.pending, requests.dump),
      do: requests,
      else: free_dump(requests, requests.dump)
  end

  @doc """
  Reports whether a message to a group is the answer to a request for an echo (`NLM_F_ECHO`). The kernel sends an echo to the
  other members of the group, and to this socket separately, but marked as sent to the group.
  """
  @spec echo?(t, Message.t()) :: boolean
  def echo?(requests, %{sequence: number, port_id: port_id}) do
    port_id == requests.port_id and match?(%{^number => %{echo?: true}}, requests.pending)
  end

  @doc """
  Takes a message that a port sent to this socket alone. Returns one of these:

    * `{:ended, number, request, result}` - it is the last message of the answer to a request
    * `:taken` - it is another message of an answer
    * `:late` - it belongs to a request that was given up
    * `:unknown` - it belongs to no request
  """
  @spec take(t, Message.t(), Message.u32()) ::
          {{:ended, Message.u32(), request, result} | :taken | :late | :unknown, t}
  def take(requests, message, port_id) do
    number = message.sequence

    # In some protocols, for example NETLINK_AUDIT, the kernel (port 0) does not fill in the port id of the receiver.
    to_us? = message.port_id == requests.port_id or {message.port_id, port_id} == {0, 0}

    case requests.pending do
      _ when not to_us? -> {:unknown, requests}
      %{^number => %{sent?: true, to: ^port_id} = request} -> answer(requests, request, message)
      _ -> late(requests, message, port_id)
    end
  end

  defp answer(requests, _request, %{type: @noop}), do: {:taken, requests}

  defp answer(requests, request, %{type: type} = message) when type in [@error, @done] do
    kind = if type == @error, do: :error, else: :done
    # The flag for an interrupted dump may be only in its last message.
    request = interrupted(request, message)
    result = with :ok <- Outcome.read(message, kind), do: complete(request)
    {ended, requests} = ended(requests, request, message, result)

    # If a request that is no dump is answered by several messages, the acknowledgement comes after them.
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
    pending = Map.delete(requests.pending, number)
    requests = %{requests | pending: pending, sent: Map.delete(requests.sent, number)}
    {{:ended, number, request, result}, free_dump(requests, number)}
  end

  defp late(requests, %{sequence: number, type: type}, port_id) do
    cond do
      KeyedQueue.get(requests.late, number) != port_id -> {:unknown, requests}
      type in [@error, @done] -> {:late, requests |> forget(number) |> free_dump(number)}
      true -> {:late, requests}
    end
  end

  defp free_dump(%{dump: number} = requests, number), do: next_dump(%{requests | dump: nil})
  defp free_dump(requests, _number), do: requests

  defp next_dump(%{dump: nil} = requests) do
    case KeyedQueue.pop_first(requests.dumps) do
      :empty -> requests
      {number, :dump, dumps} -> wait(%{requests | dump: number, dumps: dumps}, number)
    end
  end

  defp next_dump(requests), do: requests

  defp wait(requests, number) do
    %{requests | waiting: KeyedQueue.put_last(requests.waiting, number, :request)}
  end

  # Forgets the oldest number if there are too many.
  defp remember(requests, number, %{to: port_id}) do
    late = KeyedQueue.put_last(requests.late, number, port_id)

    if KeyedQueue.size(late) > @remembered do
      {_number, _port_id, late} = KeyedQueue.pop_first(late)
      %{requests | late: late}
    else
      %{requests | late: late}
    end
  end

  defp forget(requests, number) do
    {_port_id, late} = KeyedQueue.pop(requests.late, number)
    %{requests | late: late}
  end

  defp bytes(requests, number, request) do
    <<head::binary-size(8), _::64, body::binary>> = request.bytes
    <<head::binary, number::native-32, requests.port_id::native-32, body::binary>>
  end
end
