defmodule LinxNative.Bench.Report do
  @moduledoc """
  Writes the results as tables, and the raw figures.
  """

  import LinxNative.Bench.Table, only: [microseconds: 1, ratio: 1, rounded: 1]

  alias LinxNative.Bench.{Load, Pairs, Stats, Table}

  # At most so many times the C reference.
  @targets %{"open_in_netns" => 0.85}
  @target 1.0
  @procfs_targets %{0 => 0.10, 1 => 0.01}
  @floor_targets [
    {"open_in_netns", 1.1},
    {"mount there", 1.1},
    {"umount there", 1.1},
    {"open_in_netns, all CPUs", nil}
  ]

  @doc """
  Writes `results.txt`, `calls.csv`, `procfs.csv` and `load.csv` to a folder, and prints the first.
  """
  def write(results, folder) do
    text =
      [
        heading(),
        calls(results.calls),
        without_beam(results.calls),
        procfs(results.procfs),
        load(results.load),
        late(results.late)
      ]
      |> Enum.join("\n")

    IO.puts(text)
    File.write!(Path.join(folder, "results.txt"), text)
    File.write!(Path.join(folder, "calls.csv"), raw(results.calls))
    File.write!(Path.join(folder, "procfs.csv"), raw_procfs(results.procfs))
    File.write!(Path.join(folder, "load.csv"), raw_load(results.load))
  end

  @doc """
  Returns the operations that both libraries have, in the order in which they were measured.
  """
  def operations(blocks), do: for({operation, :ours, 1, _} <- blocks, do: operation)

  defp heading do
    """
    #{Date.utc_today()}, Linux #{release()}, OTP #{System.otp_release()}, Elixir #{System.version()}, #{cpu()}
    Times in microseconds: median and 99th percentile. Ratios: the median of those of each round, and their quartiles.
    Calls and procfs are measured on one CPU; rows that say "all CPUs", load and lateness on all of them. There most of a
    call that makes a thread is the wake-up of another CPU, and how long that takes changes every few seconds: so these rows
    have no ratio.
    """
  end

  defp calls(blocks) do
    rows =
      for operation <- operations(blocks) do
        target = Map.get(@targets, operation, @target)
        otp = repeatable_ratio(blocks, operation, :ours, :otp)

        [operation | times(blocks, operation)] ++
          judged(repeatable_ratio(blocks, operation, :ours, :c), target) ++
          [if(otp, do: ratio(otp), else: "")]
      end

    Table.text(
      ["operation", "ours", "p99", "C", "p99", "ours / C", "target", "met", "ours / OTP"],
      rows
    )
  end

  defp times(blocks, operation) do
    for contestant <- [:ours, :c],
        {median, high} = Load.summary(Pairs.times(blocks, operation, contestant)),
        time <- [median, high],
        do: microseconds(time)
  end

  # See the heading.
  defp repeatable_ratio(blocks, operation, a, b) do
    if not String.ends_with?(operation, "all CPUs"), do: Pairs.ratio(blocks, operation, a, b)
  end

  defp judged(nil, _target), do: ["", "", ""]
  defp judged(ratio, target), do: [ratio(ratio), "#{target}", met(ratio, target)]

  # The thread's part: linx_core without a BEAM against the same system calls on the cheapest thread there is.
  defp without_beam(blocks) do
    rows =
      for {operation, target} <- @floor_targets do
        median = &microseconds(Stats.median(Pairs.times(blocks, operation, &1)))

        [operation] ++
          Enum.map([:floor_clone, :floor_pthread, :floor_core, :ours], median) ++
          judged(repeatable_ratio(blocks, operation, :floor_core, :floor_clone), target)
      end

    Table.text(
      [
        "without a BEAM",
        "cheapest",
        "pthread",
        "linx_core",
        "with",
        "core / cheapest",
        "target",
        "met"
      ],
      rows
    )
  end

  defp procfs(memories) do
    first = hd(memories).blocks

    rows =
      for %{gib: gib, resident: resident, blocks: blocks} <- memories do
        ratio = Pairs.ratio(blocks, "procfs", :ours, :c)
        target = Map.get(@procfs_targets, gib)
        against_little = median(blocks, :ours) / median(first, :ours)

        ["procfs, #{Float.round(resident / 1_073_741_824, 2)} GiB resident"] ++
          times(blocks, "procfs") ++
          judged(ratio, target) ++ ["#{rounded(against_little)}"]
      end

    Table.text(
      ["in a PID namespace", "ours", "p99", "C", "p99", "ours / C", "target", "met", "to little"],
      rows
    )
  end

  defp median(blocks, contestant), do: Stats.median(Pairs.times(blocks, "procfs", contestant))

  defp load(rates) do
    rows =
      for {{namespaces, callers}, group} <- by(rates, &{&1.namespaces, &1.callers}) do
        rate = fn contestant ->
          Stats.median(for %{contestant: ^contestant, rate: rate} <- group, do: rate)
        end

        {median, _, _} = ratio = Pairs.ratio(load_blocks(group), :load, :ours, :c)
        # Two runs of the same differ by some; what is asked for is "at least as many".
        met = if callers == 64, do: if(median >= 1, do: "yes", else: "no"), else: ""

        ["#{callers}", "#{namespaces}"] ++
          Enum.map([:ours, :c, :otp], &"#{round(rate.(&1))}") ++ [ratio(ratio), met]
      end

    Table.text(["callers", "namespaces", "ours/s", "C/s", "OTP/s", "ours / C", "met"], rows)
  end

  # What a contestant got done in both its turns of a round.
  defp load_blocks(rates) do
    for {{contestant, round}, turns} <- by(rates, &{&1.contestant, &1.round}) do
      {:load, contestant, round, [turns |> Enum.map(& &1.rate) |> Enum.sum()]}
    end
  end

  defp late(late) do
    rows =
      for %{what: what, contestant: contestant, times: times} <- late do
        {median, high} = Load.summary(times)

        [
          what,
          "#{contestant}",
          microseconds(median),
          microseconds(high),
          microseconds(Enum.max(times))
        ]
      end

    Table.text(["a process that ticks, during", "by", "late", "p99", "most"], rows)
  end

  defp raw(blocks) do
    Table.csv(
      "operation,contestant,round,calls,min_ns,median_ns,p99_ns,max_ns",
      Enum.map(blocks, &raw_row/1)
    )
  end

  defp raw_procfs(memories) do
    rows =
      for %{gib: gib, resident: resident, blocks: blocks} <- memories, block <- blocks do
        [gib, resident | raw_row(block)]
      end

    Table.csv(
      "gib,resident_bytes,operation,contestant,round,calls,min_ns,median_ns,p99_ns,max_ns",
      rows
    )
  end

  defp raw_load(rates) do
    rows = for r <- rates, do: [r.namespaces, r.callers, r.contestant, r.round, round(r.rate)]
    Table.csv("namespaces,callers,contestant,round,calls_a_second", rows)
  end

  defp raw_row({operation, contestant, round, times}) do
    {median, high} = Load.summary(times)
    numbers = for ns <- [Enum.min(times), median, high, Enum.max(times)], do: round(ns)
    [inspect(operation), contestant, round, length(times) | numbers]
  end

  defp by(list, key), do: list |> Enum.group_by(key) |> Enum.sort()

  defp met(_, nil), do: ""
  defp met({median, _, _}, target), do: if(rounded(median) <= target, do: "yes", else: "no")

  defp release, do: "/proc/sys/kernel/osrelease" |> File.read!() |> String.trim()

  defp cpu do
    case Regex.run(~r/^model name\s*: (.*)$/m, File.read!("/proc/cpuinfo")) do
      [_, model] -> "#{model}, #{System.schedulers_online()} schedulers"
      nil -> "#{System.schedulers_online()} schedulers"
    end
  end
end
