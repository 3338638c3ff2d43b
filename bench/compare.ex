defmodule LinxNative.Bench.Compare do
  @moduledoc """
  Two runs side by side: the ratios that changed.
  """

  alias LinxNative.Bench.Stats

  @ours_and_c {"ours", "c"}
  @all_pairs [@ours_and_c, {"ours", "otp"}, {"floor_core", "floor_clone"}]

  # The files, what their rows are about, what was measured, and the ratios of it that are in the tables.
  @files [
    {"calls.csv", ["operation"], "median_ns", @all_pairs},
    {"procfs.csv", ["operation", "gib"], "median_ns", [@ours_and_c]},
    {"load.csv", ["callers", "namespaces"], "calls_a_second", [@ours_and_c]}
  ]
  @tolerance 0.1

  @doc """
  Prints the ratios in the folder `now` that differ from those in the folder `earlier` by more than a tenth. What only
  one of them has is left out.
  """
  def print(now, earlier) do
    earlier = ratios(earlier)

    lines =
      for {what, ratio} <- Enum.sort(ratios(now)),
          before = earlier[what],
          abs(ratio / before - 1) > @tolerance do
        "#{what}: #{Float.round(before, 4)}, now #{Float.round(ratio, 4)}"
      end

    IO.puts(if lines == [], do: "all within 10 %", else: Enum.join(lines, "\n"))
  end

  # By what they are about: the median over the rounds.
  defp ratios(folder) do
    for {file, keys, value, pairs} <- @files,
        {subject, rows} <- Enum.group_by(rows!(Path.join(folder, file)), &subject(&1, keys)),
        not String.ends_with?(subject, "all CPUs"),
        {a, b} <- pairs,
        ratios = by_round(rows, a, b, value),
        ratios != [],
        into: %{} do
      {"#{subject}, #{a} / #{b}", Stats.median(ratios)}
    end
  end

  defp subject(row, keys), do: Enum.map_join(keys, ", ", &"#{&1} #{row[&1]}")

  defp by_round(rows, a, b, value) do
    {a, b} = {sums(rows, a, value), sums(rows, b, value)}
    for {round, sum} <- a, other = b[round], do: sum / other
  end

  # A round may have several rows of one contestant.
  defp sums(rows, contestant, value) do
    rows
    |> Enum.filter(&(&1["contestant"] == contestant))
    |> Enum.group_by(& &1["round"], &String.to_integer(&1[value]))
    |> Map.new(fn {round, values} -> {round, Enum.sum(values)} end)
  end

  defp rows!(file) do
    [header | rows] = file |> File.stream!() |> Enum.map(&cells/1)
    for row <- rows, do: header |> Enum.zip(row) |> Map.new()
  end

  # A cell in quotes may have commas.
  defp cells(line) do
    for [cell] <- Regex.scan(~r/"[^"]*"|[^,\n]+/, line), do: String.trim(cell, "\"")
  end
end
