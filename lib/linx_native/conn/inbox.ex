defmodule LinxNative.Conn.Inbox do
  @moduledoc """
  What nobody asked for, on its way to whoever wants it: events, and answers to what was sent without waiting for them.

  It belongs to the process of the connection, and sends to others from there.

  There is one subscriber, with flow control as `:gen_udp` has it, and there are those who wait in
  `LinxNative.Conn.recv/2`, who come first. What nobody wants yet is kept, up to a number of bytes.
  """

  alias LinxNative.Conn.Caller
  alias LinxNative.Error

  @enforce_keys [:room]
  defstruct [
    :room,
    :subscriber,
    active: false,
    waiting: :queue.new(),
    kept: :queue.new(),
    size: 0
  ]

  @typedoc """
  How many datagrams the subscriber gets: all, one, so many, or none.
  """
  @type active :: boolean | :once | 1..32_767

  @type item ::
          {:messages, [LinxNative.Message.t()], LinxNative.Conn.origin()} | {:error, Error.t()}

  @opaque t :: %__MODULE__{}

  @doc "An empty one that keeps up to `room` bytes."
  @spec new(non_neg_integer) :: t
  def new(room), do: %__MODULE__{room: room}

  @doc "Whether somebody wants what is to come."
  @spec wanted?(t) :: boolean
  def wanted?(inbox), do: inbox.active != false or not :queue.is_empty(inbox.waiting)

  @doc "How many datagrams are wanted now."
  @spec wanted(t) :: non_neg_integer | :all
  def wanted(%{active: true}), do: :all

  def wanted(%{active: active} = inbox) do
    by_subscriber = %{false: 0, once: 1}
    :queue.len(inbox.waiting) + Map.get(by_subscriber, active, active)
  end

  @doc """
  Puts something in, that takes so many bytes. `:overrun` says that it was thrown away, as there was no room.
  """
  @spec put(t, item, non_neg_integer) :: {:ok | :overrun, t}
  def put(inbox, item, size) do
    cond do
      # Nothing is kept then.
      wanted?(inbox) ->
        {:ok, deliver(inbox, item)}

      match?({:error, %Error{reason: :overrun}}, item) ->
        {:ok, gap(inbox)}

      inbox.size + size <= inbox.room ->
        {:ok, keep(inbox, item, size)}

      true ->
        {:overrun, gap(inbox)}
    end
  end

  @doc "Sets the subscriber, and how much it wants."
  @spec activate(t, pid | nil, active) :: t
  def activate(inbox, subscriber, active) do
    hand_over(%{inbox | subscriber: subscriber, active: active})
  end

  @doc "Somebody waits for the next item."
  @spec wait(t, Caller.t()) :: t
  def wait(inbox, caller), do: hand_over(%{inbox | waiting: :queue.in(caller, inbox.waiting)})

  @doc "Somebody waits no more: who it was, or `nil` if nobody waits by that reference."
  @spec leave(t, reference) :: {Caller.t() | nil, t}
  def leave(inbox, reference) do
    {callers, waiting} =
      inbox.waiting |> :queue.to_list() |> Enum.split_with(&(Caller.reference(&1) == reference))

    {List.first(callers), %{inbox | waiting: :queue.from_list(waiting)}}
  end

  @doc "Those who wait."
  @spec waiting(t) :: [Caller.t()]
  def waiting(inbox), do: :queue.to_list(inbox.waiting)

  # It is told once, where the gap is, so that any number of them takes no room.
  defp gap(inbox) do
    if match?({:value, {{:error, %Error{reason: :overrun}}, 0}}, :queue.peek_r(inbox.kept)),
      do: inbox,
      else: keep(inbox, {:error, %Error{reason: :overrun}}, 0)
  end

  defp keep(inbox, item, size) do
    %{inbox | kept: :queue.in({item, size}, inbox.kept), size: inbox.size + size}
  end

  defp hand_over(inbox) do
    with true <- wanted?(inbox),
         {{:value, {item, size}}, kept} <- :queue.out(inbox.kept) do
      %{inbox | kept: kept, size: inbox.size - size} |> deliver(item) |> hand_over()
    else
      _ -> inbox
    end
  end

  defp deliver(inbox, item) do
    case :queue.out(inbox.waiting) do
      {{:value, caller}, waiting} ->
        Caller.reply(caller, reply(item))
        %{inbox | waiting: waiting}

      {:empty, _waiting} ->
        send(inbox.subscriber, message(item))
        count(inbox)
    end
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
