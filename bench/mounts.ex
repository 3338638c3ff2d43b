defmodule LinxNative.Bench.Mounts do
  @moduledoc """
  `LinxNative.Mount` against `mount/8`, and against the bare system calls without a BEAM: a tmpfs and a bind of `/proc`,
  mounted in another mount namespace. The unmounts are not counted.
  """

  alias LinxNative.Bench.{Clock, Container, Cpus, Floor, Pairs, Program, Stats, Table}
  alias LinxNative.Mount

  @rounds 17
  @turn_ms 60
  @bind 4096

  @doc """
  Measures on one CPU, prints the table and writes `mounts.txt` to a folder.
  """
  def main(harness, floor, folder) do
    container = Container.make!(harness)

    try do
      blocks = Cpus.on_one(fn -> measure(container, floor) end)
      text = table(blocks)
      IO.puts(text)
      File.write!(Path.join(folder, "mounts.txt"), text)
    after
      Container.remove(container)
    end
  end

  # The floor is started here, as it stays on the CPUs it was started on.
  defp measure(container, floor) do
    floor = Program.start!(floor)

    contestants = [
      ours: &both(&1, container, tmpfs(container), bind(container)),
      mount_8: &both(&1, container, old_tmpfs(container), old_bind(container)),
      bare: fn calls ->
        [tmpfs, bind] = Floor.detached(floor, calls, container.mount, container.folder)
        [{"tmpfs", tmpfs}, {"bind", bind}]
      end
    ]

    blocks = Pairs.run(contestants, @rounds, @turn_ms)
    Program.stop(floor)
    blocks
  end

  defp tmpfs(container),
    do: fn -> Mount.mount("tmpfs", container.folder, in: {:path, container.mount}) end

  defp bind(container),
    do: fn -> Mount.bind("/proc", container.folder, in: {:path, container.mount}) end

  defp old_tmpfs(container) do
    fn ->
      Linx.Mount.Native.mount("x", container.folder, "tmpfs", 0, "", container.mount, "", 0)
    end
  end

  defp old_bind(container) do
    fn ->
      Linx.Mount.Native.mount("/proc", container.folder, "", @bind, "", container.mount, "", 0)
    end
  end

  defp both(calls, container, tmpfs, bind) do
    for {name, mount} <- [{"tmpfs", tmpfs}, {"bind", bind}] do
      times =
        for _ <- 1..calls do
          {:ok, time} = Clock.once(mount)
          :ok = Linx.Mount.Native.umount(container.folder, 0, container.mount)
          time
        end

      {name, times}
    end
  end

  defp table(blocks) do
    rows =
      for operation <- ["tmpfs", "bind"] do
        medians =
          for contestant <- [:ours, :mount_8, :bare],
              do: Table.microseconds(Stats.median(Pairs.times(blocks, operation, contestant)))

        ratios =
          for other <- [:mount_8, :bare],
              do: Table.ratio(Pairs.ratio(blocks, operation, :ours, other))

        [operation | medians] ++ ratios
      end

    header = [
      "in microseconds",
      "LinxNative.Mount",
      "mount/8",
      "bare",
      "ours / mount/8",
      "ours / bare"
    ]

    Table.text(header, rows)
  end
end
