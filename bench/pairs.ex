defmodule LinxNative.Bench.Pairs do
  @moduledoc """
  Measures contestants side by side. In each round each contestant runs twice, A B … B A, so that other load of the machine affects all
  alike. A ratio is computed within a round, and the median of these ratios is the result.
  """

  alias LinxNative.Bench.Stats

  @doc """
  Runs contestants `{name, fun}`.

  `fun` takes a number of calls and returns a list of `{operation, times}`. Each turn of a contestant takes about
  `turn_ms`, but at least one call.

  Returns `{operation, contestant, round, times}`, with the times of both turns of that round.
  """
  def run(contestants, rounds, turn_ms) do
    sized = for {name, fun} <- contestants, do: {name, fun, calls(fun, turn_ms)}

    for round <- 1..rounds,
        turns = for({name, fun, calls} <- there_and_back(sized), do: {name, fun.(calls)}),
        {{operation, contestant}, times} <- merge(turns) do
      {operation, contestant, round, times}
    end
  end

  @doc """
  Returns all times of a contestant for an operation.
  """
  def times(blocks, operation, contestant) do
    for {^operation, ^contestant, _, times} <- blocks, time <- times, do: time
  end

  @doc """
  Returns the spread of the ratio of two contestants over the rounds, or `nil` if only one took part.
  """
  def ratio(blocks, operation, a, b) do
    medians = fn contestant ->
      for {^operation, ^contestant, round, times} <- blocks,
          into: %{},
          do: {round, Stats.median(times)}
    end

    {a, b} = {medians.(a), medians.(b)}
    ratios = for {round, median} <- a, other = b[round], do: median / other
    if ratios == [], do: nil, else: Stats.spread(ratios)
  end

  @doc """
  The turns of a round: A B … B A.
  """
  def there_and_back(contestants), do: contestants ++ Enum.reverse(contestants)

  defp merge(turns) do
    for({contestant, operations} <- turns, {operation, times} <- operations) do
      {{operation, contestant}, times}
    end
    |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))
    |> Enum.map(fn {key, lists} -> {key, Enum.concat(lists)} end)
  end

  defp calls(fun, turn_ms) do
    # The first call is not like the others.
    fun.(1)
    calls(fun, turn_ms * 1000, 1)
  end

  # From a quarter of a turn: in a few calls a pause of the machine would be most of the time.
  defp calls(fun, turn, probe) do
    case :timer.tc(fn -> fun.(probe) end) do
      {time, _} when time * 4 < turn -> calls(fun, turn, probe * 2)
      {time, _} -> max(1, round(turn * probe / time))
    end
  end
end
