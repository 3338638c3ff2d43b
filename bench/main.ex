defmodule LinxNative.Bench do
  @moduledoc """
  The benchmark of `script/bench`: linx_native, the C reference, OTP's own way and a program without a BEAM, side by side.
  """

  alias LinxNative.Bench.{
    Charts,
    Compare,
    Connections,
    Container,
    Cpus,
    Legacy,
    Load,
    Mounts,
    Operations,
    Pairs,
    Program,
    Report,
    Requests
  }

  @full %{
    rounds: 17,
    turn_ms: 60,
    gib: [0, 0.25, 1, 4],
    callers: [1, 4, 16, 64],
    load_ms: 80,
    load_rounds: 21
  }
  @quick %{rounds: 9, turn_ms: 20, gib: [0, 0.25], callers: [1, 64], load_ms: 50, load_rounds: 9}
  @many_namespaces 200

  @doc """
  Runs it. Arguments: `--quick`, and the folders of the programs, of the C libraries and for the results. With `--compare`
  and the folder of earlier results it only compares, with `--requests` and `--connections` it only measures
  `LinxNative.Conn`.
  """
  def main(args) do
    {options, []} =
      OptionParser.parse!(args,
        strict: [
          quick: :boolean,
          requests: :boolean,
          mounts: :boolean,
          connections: :boolean,
          compare: :string,
          programs: :string,
          reference: :string,
          results: :string
        ]
      )

    harness = Path.join(options[:programs], "linx_harness")

    cond do
      options[:compare] -> Compare.print(options[:results], options[:compare])
      options[:requests] -> Requests.main(harness, options[:results])
      options[:connections] -> Connections.main(harness, options[:results])
      options[:mounts] -> Mounts.main(harness, floor_program(options), options[:results])
      true -> measure(harness, options)
    end
  end

  defp floor_program(options), do: Path.join(options[:programs], "linx_floor")

  defp measure(harness, options) do
    scale = if options[:quick], do: @quick, else: @full
    floor = floor_program(options)
    copies = Path.join(options[:results], "copies")
    File.mkdir_p!(copies)
    Legacy.copy!(options[:reference], copies)
    container = Container.make!(harness)

    try do
      # First, while the VM is small.
      forks = Cpus.on_one(fn -> measure_calls(&Operations.forking/2, container, floor, scale) end)
      procfs = Cpus.on_one(fn -> measure_procfs(container, scale) end)
      :erlang.garbage_collect()
      calls = Cpus.on_one(fn -> measure_calls(&Operations.groups/2, container, floor, scale) end)
      calls_on_all = measure_calls(&Operations.on_all_cpus/2, container, floor, scale)
      load = measure_load(container, harness, scale)
      late = measure_lateness(container, scale)
      results = %{calls: calls ++ forks ++ calls_on_all, procfs: procfs, load: load, late: late}
      Report.write(results, options[:results])
      Charts.write(results, options[:results])
    after
      Container.remove(container)
      File.rm_rf!(copies)
    end
  end

  # The floor is started anew for each: it stays on the CPUs it was started on.
  defp measure_calls(groups, container, floor, scale) do
    floor = Program.start!(floor)
    groups = groups.(container, floor)

    blocks =
      for {group, index} <- Enum.with_index(groups, 1) do
        progress("calls on CPU #{Cpus.allowed()}, group #{index} of #{length(groups)}")
        Pairs.run(group, scale.rounds, scale.turn_ms)
      end

    Program.stop(floor)
    Enum.concat(blocks)
  end

  # The memory is resident and not garbage: it is held while the calls are made.
  defp measure_procfs(container, scale) do
    for gib <- scale.gib do
      # What was held before.
      :erlang.garbage_collect()
      progress("procfs in a PID namespace, #{gib} GiB in the VM")
      held = :binary.copy(<<1>>, round(gib * 1024 * 1024 * 1024))
      resident = resident()
      blocks = Pairs.run(Operations.procfs(container, "procfs"), scale.rounds, scale.turn_ms)
      # Else it would be garbage by now.
      _ = byte_size(held)
      %{gib: gib, resident: resident, blocks: blocks}
    end
  end

  defp measure_load(container, harness, scale) do
    {many, kept} = Container.network_namespaces!(harness, @many_namespaces)

    results =
      for paths <- [[container.net], many], callers <- scale.callers do
        progress("#{callers} callers, #{length(paths)} namespaces")
        Load.rates(Load.openers(), callers, paths, scale.load_rounds, scale.load_ms)
      end

    Container.release(kept)
    List.flatten(results)
  end

  # With 16 callers, and as a yardstick with none.
  defp measure_lateness(container, scale) do
    progress("how late a process is meanwhile")
    opens = for {name, open} <- Load.openers(), do: {"open and close", name, open, 16}

    mounts =
      for {name, mount} <- [ours: Linx.Mount.Native, c: Linx.Mount.Legacy] do
        {"procfs in a PID namespace", name, &procfs_once(mount, container, &1), 1}
      end

    idle = {"nothing", :none, fn _ -> :ok end, 0}

    for {what, contestant, fun, callers} <- [idle | opens] ++ mounts do
      times = Load.lateness(fun, callers, [container.net], scale.load_ms * scale.load_rounds)
      %{what: what, contestant: contestant, times: times}
    end
  end

  defp procfs_once(mount, container, _path) do
    :ok = mount.mount("x", container.folder, "proc", 0, "", container.mount, container.pid, 0)
    :ok = mount.umount(container.folder, 0, container.mount)
  end

  defp resident do
    [_, kib] = Regex.run(~r/^VmRSS:\s*(\d+)/m, File.read!("/proc/self/status"))
    String.to_integer(kib) * 1024
  end

  defp progress(what), do: IO.puts(:stderr, "  #{what}")
end
