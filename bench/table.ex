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

  defp line([first | rest], [width | widths]) do
    cells = for {cell, width} <- Enum.zip(rest, widths), do: String.pad_leading(cell, width)
    String.trim_trailing(Enum.join([String.pad_trailing(first, width) | cells], "  ")) <> "\n"
  end

  defp widest(cells), do: cells |> Enum.map(&String.length/1) |> Enum.max()
end
