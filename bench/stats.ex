defmodule LinxNative.Bench.Stats do
  @moduledoc """
  Computes medians and other quantiles.
  """

  @doc """
  Returns the value below which the part `q` of the numbers lies.
  """
  def quantile([_ | _] = numbers, q) do
    sorted = Enum.sort(numbers)
    Enum.at(sorted, round(q * (length(sorted) - 1)))
  end

  @doc """
  Returns the median.
  """
  def median(numbers), do: quantile(numbers, 0.5)

  @doc """
  Returns the median of the numbers of several rounds, and their quartiles: `{median, lower, upper}`.
  """
  def spread(numbers) do
    {median(numbers), quantile(numbers, 0.25), quantile(numbers, 0.75)}
  end
end
