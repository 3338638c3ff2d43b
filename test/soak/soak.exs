defmodule LinxNative.SoakTest do
  @moduledoc """
  A million calls: the VM stays as large as it was. Run by `script/soak`; too long for every day.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Soak

  @calls 1_000_000
  @callers 8
  @intervals 20

  # From the second quarter to the last. A block of the smallest size (32 bytes) lost by one of the kinds of calls would
  # be more.
  @growth_kib 256

  @moduletag timeout: :infinity

  test "at least #{@calls} calls from #{@callers} processes leave the VM as it was" do
    container = Container.start([:net, :mount, :pid])

    files =
      for kind <- [:net, :mnt, :pid], into: %{}, do: {kind, Container.ns_path(container, kind)}

    folder = Folder.make!()
    vm = Vm.start()

    run = fn rounds ->
      Vm.call(vm, Soak, :run, [@callers, rounds, files, folder])
    end

    in_a_round = run.(1)
    rounds = div(@calls, @intervals * in_a_round) + 1
    before = Vm.call(vm, Machine, :snapshot, [])
    mounts = length(Container.mountinfo(container))
    IO.puts("\n     calls   RSS KiB  descriptors  threads  processes  mounts here  and there")

    sizes =
      for interval <- 0..@intervals do
        calls = if interval == 0, do: 0, else: interval * run.(rounds)
        report(calls, vm, container)
      end

    # The VM's memory comes and goes by some, so of each quarter the median.
    [_, second, _, last] = sizes |> tl() |> Enum.chunk_every(div(@intervals, 4))
    growth = median(last) - median(second)

    IO.puts(
      "From the second quarter to the last it grew by #{growth} KiB; it may by #{@growth_kib}."
    )

    assert Vm.call(vm, Machine, :changes, [before]) == []
    assert length(Container.mountinfo(container)) == mounts
    assert growth < @growth_kib
  end

  defp median(sizes), do: sizes |> Enum.sort() |> Enum.at(div(length(sizes), 2))

  defp report(calls, vm, container) do
    now = Vm.call(vm, Machine, :snapshot, [])
    [_, size] = Regex.run(~r/^VmRSS:\s*(\d+)/m, File.read!("/proc/#{vm.os_pid}/status"))

    [
      {calls, 10},
      {size, 10},
      {map_size(now.descriptors), 13},
      {map_size(now.threads), 9},
      {map_size(now.processes), 11},
      {map_size(now.mounts), 13},
      {length(Container.mountinfo(container)), 11}
    ]
    |> Enum.map_join(fn {value, width} -> value |> to_string() |> String.pad_leading(width) end)
    |> IO.puts()

    String.to_integer(size)
  end
end
