defmodule LinxNative.Conn.Line do
  @moduledoc false

  # A queue whose members have keys and may leave from anywhere. Each function but keys/1 takes as long as a map does,
  # whatever the length: places are numbers that only grow, and pop_first/1 skips each place that was left once.

  defstruct first: 0, next: 0, keys: %{}, members: %{}

  @opaque t :: %__MODULE__{}
  @type key :: term
  @type value :: term

  @doc "Returns an empty queue."
  @spec new() :: t
  def new, do: %__MODULE__{}

  @doc "Puts a member at the end. Its key must be new."
  @spec put_last(t, key, value) :: t
  def put_last(line, key, value), do: put(%{line | next: line.next + 1}, line.next, key, value)

  @doc "Puts a member at the beginning. Its key must be new."
  @spec put_first(t, key, value) :: t
  def put_first(line, key, value) do
    put(%{line | first: line.first - 1}, line.first - 1, key, value)
  end

  @doc "Takes the first member out."
  @spec pop_first(t) :: {key, value, t} | :empty
  def pop_first(%{members: members}) when map_size(members) == 0, do: :empty

  def pop_first(%{first: first} = line) do
    line = %{line | first: first + 1}

    case line.keys do
      %{^first => key} ->
        {value, line} = pop(line, key)
        {key, value, line}

      _ ->
        pop_first(line)
    end
  end

  @doc "Takes the member of a key out; `nil` if there is none."
  @spec pop(t, key) :: {value | nil, t}
  def pop(line, key) do
    case Map.pop(line.members, key) do
      {nil, _members} ->
        {nil, line}

      {{place, value}, members} ->
        {value, %{line | members: members, keys: Map.delete(line.keys, place)}}
    end
  end

  @doc "Returns the value of a key, or `nil`."
  @spec get(t, key) :: value | nil
  def get(line, key) do
    case line.members do
      %{^key => {_place, value}} -> value
      _ -> nil
    end
  end

  @doc "Returns the number of members."
  @spec size(t) :: non_neg_integer
  def size(line), do: map_size(line.members)

  @doc "Returns the keys in their order."
  @spec keys(t) :: [key]
  def keys(line), do: line.keys |> Enum.sort() |> Enum.map(&elem(&1, 1))

  defp put(line, place, key, value) do
    %{
      line
      | keys: Map.put(line.keys, place, key),
        members: Map.put(line.members, key, {place, value})
    }
  end
end
