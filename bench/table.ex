defmodule LinxNative.Bench.Table do
  @moduledoc """
  Formats rows as text, for people and for programs.
  """

  @doc """
  Formats rows in aligned columns. The first column is aligned to the left.
  """
  def text(header, rows) do
    widths = for column <- Enum.zip([header | rows]), do: column |> Tuple.to_list() |> widest()
    Enum.map_join([header | rows], &line(&1, widths))
  end

  @doc """
  Formats rows as comma-separated values.
  """
  def csv(header, rows), do: Enum.map_join([[header] | rows], "\n", &Enum.join(&1, ",")) <> "\n"

  @doc """
  Formats a ratio with its quartiles.
  """
  def ratio({median, low, high}), do: "#{rounded(median)} (#{rounded(low)} to #{rounded(high)})"

  @doc """
  Rounds a ratio to two places, or to four below 0.1, because a target may be a hundredth.
  """
  def rounded(number) when number < 0.1, do: Float.round(number * 1.0, 4)
  def rounded(number), do: Float.round(number * 1.0, 2)

  @doc """
  Formats a time in nanoseconds as microseconds.
  """
  def microseconds(ns) when ns < 10_000, do: "#{Float.round(ns / 1000, 2)}"
  def microseconds(ns), do: "#{Float.round(ns / 1000, 1)}"

  defp line([first | rest], [width | widths]) do
    cells = for {cell, width} <- Enum.zip(rest, widths), do: String.pad_leading(cell, width)
    String.trim_trailing(Enum.join([String.pad_trailing(first, width) | cells], "  ")) <> "\n"
  end

  defp widest(cells), do: cells |> Enum.map(&String.length/1) |> Enum.max()
end
