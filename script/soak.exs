defmodule LinxNative.SoakTest do
  @moduledoc """
  A million calls, and thousands that hang: the VM stays as large as it was. Run by `script/soak`; too long for every day.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Attacker, Fuse, HungCalls, Rounds, Soak}

  @calls 1_000_000
  @callers 8
  @intervals 20

  # From the second quarter to the last. A block of the smallest size (32 bytes) lost by one of the kinds of calls would
  # be more.
  @growth_kib 192

  # So many calls hang at a time: with the C code, no more than there are dirty I/O schedulers.
  @hung %{rust: 60, c: 8}
  @rounds 40
  @kills 1_500
  @bind 4096
  @detach 2

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
    calls_of_a_run = rounds * in_a_round
    assert_flat(vm, container, calls_of_a_run, fn -> run.(rounds) end)
    assert Vm.call(vm, Machine, :changes, [before]) == []
    assert length(Container.mountinfo(container)) == mounts
  end

  test "nor do calls that hang in a file system of a container" do
    container = Container.start([:mount, :pid])
    folder = Folder.make!()
    for name <- ~w(fuse other), do: File.mkdir!("#{folder}/#{name}")
    vm = Vm.start()
    hang(vm, container, folder, 1)
    before = Vm.call(vm, Machine, :snapshot, [])
    mounts = length(Container.mountinfo(container))

    assert_flat(vm, container, @rounds * @hung[Implementation.current()], fn ->
      Enum.each(1..@rounds, &hang(vm, container, folder, &1))
    end)

    assert Vm.call(vm, Machine, :changes, [before]) == []
    assert length(Container.mountinfo(container)) == mounts
  end

  # Of the calls, half of the callers are killed. The others are answered, or see the daemon go.
  defp hang(vm, container, folder, round) do
    [path, other] = for name <- ~w(fuse other), do: "#{folder}/#{name}"
    count = @hung[Implementation.current()]
    fuse = Fuse.mount!(container, path)
    calls = HungCalls.mixed(count, container, path, other)
    callers = Vm.call(vm, HungCalls, :start, [calls])
    # With the C code look-ups wait for each other.
    Fuse.await_waiting!(fuse, %{rust: count, c: 1}[Implementation.current()])

    [:killed] = Vm.call(vm, HungCalls, :kill, [Enum.take_every(callers, 2)])
    if rem(round, 2) == 0, do: Fuse.answer(fuse), else: Fuse.stop(fuse)
    true = Await.until(fn -> Vm.call(vm, HungCalls, :count, [callers]) == 0 end)
    Vm.call(vm, Await, :nifs, [])
    Fuse.stop(fuse)
    for path <- [other, path], do: unmount_all(path, Container.ns_path(container, :mnt))
  end

  test "nor does a container that kills whatever it finds" do
    container = Container.start([:mount, :pid])
    folder = Folder.make!()
    File.mkdir!(folder <> "/target")
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    device = folder <> "/device"
    target = folder <> "/target"

    # Only mount(2) takes the last source, so that one is made by a child.
    calls =
      [
        {Mount, :mount, ["/dev/null", device, "", @bind, "", ns, pidns, 1]},
        {Mount, :umount, [device, @detach, ns]}
      ] ++
        for {source, type} <- [{"", "tmpfs"}, {"", "proc"}, {String.duplicate("l", 300), "proc"}],
            call <- [
              {Mount, :mount, [source, target, type, 0, "", ns, pidns, 0]},
              {Mount, :umount, [target, @detach, ns]}
            ],
            do: call

    vm = Vm.start()
    Vm.call(vm, Rounds, :run, [calls, 1])
    before = Vm.call(vm, Machine, :snapshot, [])
    signal = Attacker.signal(container, "KILL")

    assert_flat(vm, container, @kills * length(calls), fn ->
      Vm.call(vm, Rounds, :run, [calls, @kills])
    end)

    assert Attacker.hits(signal) > 0
    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  defp unmount_all(path, ns) do
    if Mount.umount(path, @detach, ns) == :ok, do: unmount_all(path, ns)
  end

  # Makes a run of so many calls, over and over.
  defp assert_flat(vm, container, calls_of_a_run, run) do
    IO.puts("\n     calls   RSS KiB  descriptors  threads  processes  mounts here  and there")

    sizes =
      for interval <- 0..@intervals do
        if interval > 0, do: run.()
        report(interval * calls_of_a_run, vm, container)
      end

    # Memory comes and goes by some. What is lost raises the lowest value of a quarter as well.
    [_, second, _, last] = sizes |> tl() |> Enum.chunk_every(div(@intervals, 4))
    growth = Enum.min(last) - Enum.min(second)

    IO.puts(
      "From the second quarter to the last it grew by #{growth} KiB; it may by #{@growth_kib}."
    )

    assert growth < @growth_kib
  end

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
