defmodule LinxNative.Conn.Requests do
  @moduledoc false

  # The requests of a connection, and which answer belongs to which: no process, no socket.
  #
  # A request is pending until its last answer, and waits until it is sent. The kernel runs one dump at a time for each
  # socket and refuses others meanwhile, so of several dumps the others wait.
  #
  # Every request has a sequence number of its own. That of a request which was given up (its time was over, its caller
  # died) is remembered as long as it is among the last 4096 of them: an answer that comes late is nobody's.
  #
  # However many requests there are, each function but give_up_sent/1 and all/1 takes the same time.

  alias LinxNative.Conn.{Line, Outcome}
  alias LinxNative.{Error, Message}

  @enforce_keys [:next, :port_id]
  defstruct [
    :next,
    :port_id,
    pending: %{},
    sent: %{},
    waiting: Line.new(),
    dumps: Line.new(),
    dump: nil,
    late: Line.new()
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

    if Map.has_key?(requests.pending, number) or Line.get(requests.late, number) != nil,
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
      do: {number, next_dump(%{requests | dumps: Line.put_last(requests.dumps, number, :dump)})},
      else: {number, wait(requests, number)}
  end

  @doc "Adds bytes that are sent as they are and not waited for, after what is waiting. `id` is no integer."
  @spec post(t, term, Message.u32(), binary) :: t
  def post(requests, id, to, bytes) do
    %{requests | waiting: Line.put_last(requests.waiting, id, {to, bytes})}
  end

  @doc "Takes back what was posted and is not sent yet."
  @spec unpost(t, term) :: t
  def unpost(requests, id) do
    {_post, waiting} = Line.pop(requests.waiting, id)
    %{requests | waiting: waiting}
  end

  @doc """
  The next that is to be sent: what it is (the number of a request, or what `post/4` was given), its port and its bytes.
  """
  @spec pop(t) :: {{term, Message.u32(), binary}, t} | :empty
  def pop(requests) do
    case Line.pop_first(requests.waiting) do
      :empty ->
        :empty

      {number, :request, waiting} ->
        request = Map.fetch!(requests.pending, number)
        {{number, request.to, bytes(requests, number, request)}, %{requests | waiting: waiting}}

      {id, {to, bytes}, waiting} ->
        {{id, to, bytes}, %{requests | waiting: waiting}}
    end
  end

  @doc "Puts back, to be sent next, what was popped and not sent."
  @spec unpop(t, [{term, Message.u32(), binary}]) :: t
  def unpop(requests, items) do
    items
    |> Enum.reverse()
    |> Enum.reduce(requests, fn {id, to, bytes}, requests ->
      if is_integer(id),
        do: unpop_request(requests, id),
        else: %{requests | waiting: Line.put_first(requests.waiting, id, {to, bytes})}
    end)
  end

  # One that was given up meanwhile is not there any more.
  defp unpop_request(requests, number) do
    if Map.has_key?(requests.pending, number),
      do: %{requests | waiting: Line.put_first(requests.waiting, number, :request)},
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

  @doc "Gives one up that has not ended: its request, or `nil` if there is none of that number."
  @spec give_up(t, Message.u32()) :: {request | nil, t}
  def give_up(requests, number) do
    case Map.pop(requests.pending, number) do
      {nil, _pending} ->
        {nil, requests}

      {%{sent?: true} = request, pending} ->
        sent = Map.delete(requests.sent, number)
        {request, remember(%{requests | pending: pending, sent: sent}, number, request)}

      {request, pending} ->
        {_, waiting} = Line.pop(requests.waiting, number)
        {_, dumps} = Line.pop(requests.dumps, number)
        requests = %{requests | pending: pending, waiting: waiting, dumps: dumps}
        {request, free_dump(requests, number)}
    end
  end

  @doc "Gives up all that were sent."
  @spec give_up_sent(t) :: {[{Message.u32(), request}], t}
  def give_up_sent(requests) do
    requests.sent
    |> Map.keys()
    |> Enum.map_reduce(requests, fn number, requests ->
      {request, requests} = give_up(requests, number)
      {{number, request}, requests}
    end)
  end

  @doc "Whether what a port sends with this number is of the answer to a request."
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

  @doc "Whether an answer may still come."
  @spec expecting?(t) :: boolean
  def expecting?(requests) do
    requests.dump != nil or map_size(requests.sent) > 0
  end

  @doc "Whether the kernel may be in the middle of the dump of this number."
  @spec dumping?(t, Message.u32()) :: boolean
  def dumping?(requests, number), do: requests.dump == number

  @doc "Whether there is something to be sent."
  @spec waiting?(t) :: boolean
  def waiting?(requests), do: Line.size(requests.waiting) > 0

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
    pending = Map.delete(requests.pending, number)
    requests = %{requests | pending: pending, sent: Map.delete(requests.sent, number)}
    {{:ended, number, request, result}, free_dump(requests, number)}
  end

  defp late(requests, %{sequence: number, type: type}, port_id) do
    cond do
      Line.get(requests.late, number) != port_id -> {:unknown, requests}
      type in [@error, @done] -> {:late, requests |> forget(number) |> free_dump(number)}
      true -> {:late, requests}
    end
  end

  defp free_dump(%{dump: number} = requests, number), do: next_dump(%{requests | dump: nil})
  defp free_dump(requests, _number), do: requests

  defp next_dump(%{dump: nil} = requests) do
    case Line.pop_first(requests.dumps) do
      :empty -> requests
      {number, :dump, dumps} -> wait(%{requests | dump: number, dumps: dumps}, number)
    end
  end

  defp next_dump(requests), do: requests

  defp wait(requests, number) do
    %{requests | waiting: Line.put_last(requests.waiting, number, :request)}
  end

  # The oldest are forgotten first.
  defp remember(requests, number, %{to: port_id}) do
    late = Line.put_last(requests.late, number, port_id)

    if Line.size(late) > @remembered do
      {_number, _port_id, late} = Line.pop_first(late)
      %{requests | late: late}
    else
      %{requests | late: late}
    end
  end

  defp forget(requests, number) do
    {_port_id, late} = Line.pop(requests.late, number)
    %{requests | late: late}
  end

  defp bytes(requests, number, request) do
    <<head::binary-size(8), _::64, body::binary>> = request.bytes
    <<head::binary, number::native-32, requests.port_id::native-32, body::binary>>
  end
end
