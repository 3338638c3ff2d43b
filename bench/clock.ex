defmodule LinxNative.Bench.Clock do
  @moduledoc """
  Times calls, in nanoseconds.
  """

  # So many calls between two looks at the clock, where a call takes no longer than such a look.
  @batch 100

  @doc """
  Calls `fun`: `{result, time}`.
  """
  def once(fun) do
    start = :erlang.monotonic_time()
    result = fun.()
    {result, nanoseconds(:erlang.monotonic_time() - start)}
  end

  @doc """
  Calls `fun` with each input: `{results, times}`, one time per call.
  """
  def each(inputs, fun) do
    inputs |> Enum.map(fn input -> once(fn -> fun.(input) end) end) |> Enum.unzip()
  end

  @doc """
  Calls `fun` with each input: times, each the mean of a batch of calls.
  """
  def batches(inputs, fun) do
    for batch <- Enum.chunk_every(inputs, @batch) do
      start = :erlang.monotonic_time()
      Enum.each(batch, fun)
      nanoseconds(:erlang.monotonic_time() - start) / length(batch)
    end
  end

  defp nanoseconds(native), do: System.convert_time_unit(native, :native, :nanosecond)
end
