defmodule LinxNative.Conn.KeyedQueue do
  @moduledoc false

  # A queue whose members have keys and can be removed from any position. Each function but keys/1 takes as long as an access to a
  # map, whatever the length. Positions are numbers that only grow at the end, and pop_first/1 skips each empty position once.

  defstruct first: 0, next: 0, keys: %{}, members: %{}

  @opaque t :: %__MODULE__{}
  @type key :: term
  @type value :: term

  @doc "Returns an empty queue."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Adds a member at the end. Its key must be new."
  @spec put_last(t, key, value) :: t
  def put_last(queue, key, value),
    do: put(%{queue | next: queue.next + 1}, queue.next, key, value)

  @doc "Adds a member at the beginning. Its key must be new."
  @spec put_first(t, key, value) :: t
  def put_first(queue, key, value) do
    put(%{queue | first: queue.first - 1}, queue.first - 1, key, value)
  end

  @doc "Removes and returns the first member."
  @spec pop_first(t) :: {key, value, t} | :empty
  def pop_first(%{members: members}) when map_size(members) == 0, do: :empty

  def pop_first(%{first: first} = queue) do
    queue = %{queue | first: first + 1}

    case queue.keys do
      %{^first => key} ->
        {value, queue} = pop(queue, key)
        {key, value, queue}

      _ ->
        pop_first(queue)
    end
  end

  @doc "Removes and returns the member of a key; `nil` if there is none."
  @spec pop(t, key) :: {value | nil, t}
  def pop(queue, key) do
    case Map.pop(queue.members, key) do
      {nil, _members} ->
        {nil, queue}

      {{place, value}, members} ->
        {value, %{queue | members: members, keys: Map.delete(queue.keys, place)}}
    end
  end

  @doc "Returns the value of a key, or `nil`."
  @spec get(t, key) :: value | nil
  def get(queue, key) do
    case queue.members do
      %{^key => {_place, value}} -> value
      _ -> nil
    end
  end

  @doc "Returns the number of members."
  @spec size(t) :: non_neg_integer
  def size(queue), do: map_size(queue.members)

  @doc "Returns the keys in the order of the queue."
  @spec keys(t) :: [key]
  def keys(queue), do: queue.keys |> Enum.sort() |> Enum.map(&elem(&1, 1))

  defp put(queue, place, key, value) do
    %{
      queue
      | keys: Map.put(queue.keys, place, key),
        members: Map.put(queue.members, key, {place, value})
    }
  end
end
