defmodule LinxNative.Bench.Charts do
  @moduledoc """
  Draws the results as SVG, by gnuplot(1). The charts have a white background, so that they can be read on any page.
  """

  alias LinxNative.Bench.{Pairs, Report, Stats}

  @ours "#3b6fb6"
  @c "#c2571a"
  @otp "#6b7280"

  @doc """
  Writes `ratios.svg`, `procfs.svg` and `load.svg` to a folder.
  """
  def write(results, folder) do
    draw(folder, "ratios", ratios(results.calls))
    draw(folder, "procfs", procfs(results.procfs))
    draw(folder, "load", load(results.load))
  end

  defp ratios(blocks) do
    rows =
      for {operation, row} <- blocks |> Report.operations() |> Enum.reverse() |> Enum.with_index() do
        {median, low, high} = Pairs.ratio(blocks, operation, :ours, :c)
        "#{median} #{row} #{low} #{high} \"#{operation}\""
      end

    """
    set terminal svg noenhanced size 860,#{120 + 24 * length(rows)} font "sans-serif,13" background "white"
    set title "Time of a call against the C reference (median and quartiles over the rounds)"
    set xlabel "ratio, less is faster"
    set xrange [0:1.5]
    set yrange [-0.7:#{length(rows)}]
    set grid xtics lc rgb "#d0d0d0"
    set arrow from 1,-0.7 to 1,#{length(rows)} nohead lw 1.5 lc rgb "#{@c}"
    set label "C reference" at 1.01,#{length(rows) - 0.4} tc rgb "#{@c}"
    unset key
    $rows << EOD
    #{Enum.join(rows, "\n")}
    EOD
    plot $rows using 1:2:3:4:ytic(5) with xerrorbars pt 7 ps 0.8 lw 2 lc rgb "#{@ours}"
    """
  end

  defp procfs(memories) do
    rows = fn contestant ->
      for %{resident: resident, blocks: blocks} <- memories do
        median = Stats.median(Pairs.times(blocks, "procfs", contestant))
        "#{resident / 1_073_741_824} #{median / 1_000_000}"
      end
    end

    """
    set terminal svg noenhanced size 720,400 font "sans-serif,13" background "white"
    set title "One mount of a procfs in a PID namespace"
    set xlabel "resident memory of the VM, GiB"
    set ylabel "median time, ms"
    set logscale xy
    set grid lc rgb "#d0d0d0"
    set key left top
    set format y "%g"
    set format x "%g"
    #{data("ours", rows.(:ours))}
    #{data("c", rows.(:c))}
    plot $c with linespoints pt 5 lw 2 lc rgb "#{@c}" title "C reference (fork)", \\
      $ours with linespoints pt 7 lw 2 lc rgb "#{@ours}" title "linx_native"
    """
  end

  defp load(rates) do
    lines =
      for {contestant, title, colour} <- [
            {:ours, "linx_native", @ours},
            {:c, "C reference", @c},
            {:otp, "OTP's :socket", @otp}
          ],
          {namespaces, dash} <- [{1, 1}, {200, 2}] do
        name = "#{contestant}#{namespaces}"
        rows = rates_of(rates, contestant, namespaces)

        {data(name, rows),
         "$#{name} with linespoints pt 7 ps 0.6 lw 2 dt #{dash} lc rgb \"#{colour}\" " <>
           "title \"#{title}, #{namespaces} #{if namespaces == 1, do: "namespace", else: "namespaces"}\""}
      end

    """
    set terminal svg noenhanced size 900,400 font "sans-serif,13" background "white"
    set title "Sockets opened and closed in other network namespaces"
    set xlabel "processes that call at the same time"
    set ylabel "calls a second"
    set logscale x 2
    set yrange [0:*]
    set grid lc rgb "#d0d0d0"
    set key outside right center
    #{Enum.map_join(lines, "\n", &elem(&1, 0))}
    plot #{Enum.map_join(lines, ", \\\n  ", &elem(&1, 1))}
    """
  end

  defp rates_of(rates, contestant, namespaces) do
    rates
    |> Enum.filter(&(&1.contestant == contestant and &1.namespaces == namespaces))
    |> Enum.group_by(& &1.callers, & &1.rate)
    |> Enum.sort()
    |> Enum.map(fn {callers, rates} -> "#{callers} #{Stats.median(rates)}" end)
  end

  defp data(name, rows), do: "$#{name} << EOD\n#{Enum.join(rows, "\n")}\nEOD"

  defp draw(folder, name, script) do
    plot = Path.join(folder, name <> ".gnuplot")
    File.write!(plot, "set output \"#{name}.svg\"\n" <> String.replace(script, "set output", ""))
    {_, 0} = System.cmd("gnuplot", [Path.basename(plot)], cd: folder, stderr_to_stdout: true)
    File.rm!(plot)
  end
end
