defmodule LinxNative.Conn.Inbox do
  @moduledoc false

  # Queue of unsolicited messages, with flow control: events, and answers to messages of `LinxNative.Conn.send/3`.
  #
  # It is part of the process of the connection, which delivers the messages.
  #
  # There is one subscriber, with flow control as in `:gen_udp`, and there are the callers blocked in `LinxNative.Conn.recv/2`,
  # who come first. Unclaimed messages are kept, up to a number of bytes.

  alias LinxNative.Conn.{Caller, KeyedQueue}
  alias LinxNative.Error

  @enforce_keys [:room]
  defstruct [
    :room,
    :subscriber,
    active: false,
    waiting: KeyedQueue.new(),
    kept: :queue.new(),
    size: 0
  ]

  @typedoc """
  How many datagrams the subscriber gets: all (`true`), one (`:once`), a number, or none (`false`).
  """
  @type active :: boolean | :once | 1..32_767

  @type item ::
          {:messages, [LinxNative.Message.t()], LinxNative.Conn.origin()} | {:error, Error.t()}

  @opaque t :: %__MODULE__{}

  @doc "Returns an empty inbox that keeps up to `room` bytes."
  @spec new(non_neg_integer) :: t
  def new(room), do: %__MODULE__{room: room}

  @doc "Reports whether the subscriber or a caller wants the next datagram."
  @spec wanted?(t) :: boolean
  def wanted?(inbox), do: inbox.active != false or KeyedQueue.size(inbox.waiting) > 0

  @doc "Returns how many datagrams the subscriber and the callers want now."
  @spec wanted(t) :: non_neg_integer | :all
  def wanted(%{active: true}), do: :all

  def wanted(%{active: active} = inbox) do
    by_subscriber = %{false: 0, once: 1}
    KeyedQueue.size(inbox.waiting) + Map.get(by_subscriber, active, active)
  end

  @doc """
  Adds an item of `size` bytes. Returns `:overrun` if it was dropped because there was no room.
  """
  @spec put(t, item, non_neg_integer) :: {:ok | :overrun, t}
  def put(inbox, item, size) do
    case receiver(inbox) do
      # If somebody wants an item, none is kept.
      {receiver, inbox} when receiver != nil ->
        {:ok, deliver(inbox, receiver, item)}

      {nil, inbox} ->
        cond do
          match?({:error, %Error{reason: :overrun}}, item) -> {:ok, gap(inbox)}
          inbox.size + size <= inbox.room -> {:ok, keep(inbox, item, size)}
          true -> {:overrun, gap(inbox)}
        end
    end
  end

  @doc "Sets the subscriber, and how many datagrams it gets."
  @spec activate(t, pid | nil, active) :: t
  def activate(inbox, subscriber, active) do
    hand_over(%{inbox | subscriber: subscriber, active: active})
  end

  @doc "Adds a caller that waits for the next item."
  @spec wait(t, Caller.t()) :: t
  def wait(inbox, caller) do
    hand_over(%{inbox | waiting: KeyedQueue.put_last(inbox.waiting, Caller.id(caller), caller)})
  end

  @doc "Removes a waiting caller and returns it, or `nil` if no caller with that id waits."
  @spec leave(t, reference) :: {Caller.t() | nil, t}
  def leave(inbox, id) do
    {caller, waiting} = KeyedQueue.pop(inbox.waiting, id)
    {caller, %{inbox | waiting: waiting}}
  end

  @doc "Returns the callers blocked in `recv/2`."
  @spec waiting(t) :: [Caller.t()]
  def waiting(inbox) do
    for id <- KeyedQueue.keys(inbox.waiting), do: KeyedQueue.get(inbox.waiting, id)
  end

  # Consecutive losses are one item, at the place of the loss, so that they take no room.
  defp gap(inbox) do
    if match?({:value, {{:error, %Error{reason: :overrun}}, 0}}, :queue.peek_r(inbox.kept)),
      do: inbox,
      else: keep(inbox, {:error, %Error{reason: :overrun}}, 0)
  end

  defp keep(inbox, item, size) do
    %{inbox | kept: :queue.in({item, size}, inbox.kept), size: inbox.size + size}
  end

  defp hand_over(inbox) do
    with {{:value, {item, size}}, kept} <- :queue.out(inbox.kept),
         {receiver, inbox} when receiver != nil <- receiver(inbox) do
      %{inbox | kept: kept, size: inbox.size - size} |> deliver(receiver, item) |> hand_over()
    else
      {nil, inbox} -> inbox
      {:empty, _kept} -> inbox
    end
  end

  # Returns the receiver of the next item: a caller that has not given up, or the subscriber.
  defp receiver(inbox) do
    case KeyedQueue.pop_first(inbox.waiting) do
      {_id, caller, waiting} ->
        inbox = %{inbox | waiting: waiting}
        if Caller.claim(caller), do: {caller, inbox}, else: receiver(forget(inbox, caller))

      :empty ->
        {if(inbox.active != false, do: :subscriber), inbox}
    end
  end

  defp forget(inbox, caller) do
    Caller.forget(caller)
    inbox
  end

  defp deliver(inbox, :subscriber, item) do
    send(inbox.subscriber, message(item))
    count(inbox)
  end

  defp deliver(inbox, caller, item) do
    Caller.reply(caller, reply(item))
    inbox
  end

  defp reply({:messages, messages, origin}), do: {:ok, messages, origin}
  defp reply({:error, error}), do: {:error, error}

  defp message({:messages, messages, origin}), do: {:netlink, self(), messages, origin}
  defp message({:error, error}), do: {:netlink_error, self(), error}

  defp count(%{active: true} = inbox), do: inbox
  defp count(%{active: :once} = inbox), do: %{inbox | active: false}

  defp count(%{active: 1} = inbox) do
    send(inbox.subscriber, {:netlink_passive, self()})
    %{inbox | active: false}
  end

  defp count(inbox), do: %{inbox | active: inbox.active - 1}
end
