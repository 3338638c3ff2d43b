defmodule LinxNative.HostileHungTest do
  @moduledoc """
  Calls that look a name up in a container's file system that does not answer.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Fuse, HungCalls}

  @files 30

  # In ms. The C code reads none for as long as the container likes, so this long is enough.
  @time_to_read %{rust: Await.patience(), c: 2_000}

  @moduletag :machine_root
  @moduletag timeout: 600_000

  setup do
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()
    [fuse, other] = for name <- ~w(fuse other), do: "#{folder}/#{name}"
    Enum.each([fuse, other], &File.mkdir!/1)

    files =
      for n <- 1..@files do
        path = "#{folder}/#{n}"
        File.write!(path, "read")
        path
      end

    vm = Vm.start()
    # Loads what it needs, which would take file I/O later.
    Vm.call(vm, HungCalls, :kill, [[]])
    Vm.call(vm, HungCalls, :read, [files])
    Vm.call(vm, Await, :nifs, [])

    %{
      container: container,
      fuse: fuse,
      other: other,
      files: files,
      vm: vm,
      before: Vm.call(vm, Machine, :snapshot, [])
    }
  end

  # So many calls are on their way if so many are made.
  defp under_way(vm, count) do
    schedulers = Vm.call(vm, :erlang, :system_info, [:dirty_io_schedulers])
    if count > schedulers, do: expect(:D9, rust: count, c: schedulers), else: count
  end

  # A thread each.
  defp start!(%{vm: vm, before: before}, fuse, calls) do
    callers = Vm.call(vm, HungCalls, :start, [calls])
    threads = map_size(before.threads) + under_way(vm, length(calls))
    assert Await.until(fn -> length(File.ls!("/proc/#{vm.os_pid}/task")) == threads end)
    Fuse.await_waiting!(fuse, look_ups(fuse, length(calls)))
    callers
  end

  # So many look-ups get as far as the daemon. The C code creates a target by a look-up that keeps others out of the folder.
  defp look_ups(%{start: :parallel}, count), do: %{rust: count, c: 1}[Implementation.current()]
  defp look_ups(_, _), do: 1

  for {count, start, take?, how} <- [
        {100, :parallel, false, "for a daemon that takes no requests"},
        {1_000, :parallel, false, "for a daemon that takes no requests"},
        {100, :parallel, true, "for a daemon that takes requests and does not answer"},
        {100, :serial, false, "for each other"},
        {100, :never, false, "for a daemon that does not even start"}
      ] do
    test "with #{count} calls that wait #{how}, the VM reads files", context do
      %{vm: vm, container: container, files: files} = context
      fuse = Fuse.mount!(container, context.fuse, unquote(start))
      if unquote(take?), do: Fuse.read(fuse)
      calls = HungCalls.mixed(unquote(count), container, context.fuse, context.other)
      callers = start!(context, fuse, calls)

      read = Task.async(fn -> Vm.call(vm, HungCalls, :read, [files]) end)
      answer = Await.until(@time_to_read[Implementation.current()], fn -> Task.yield(read, 0) end)
      assert Vm.call(vm, HungCalls, :count, [callers]) == unquote(count)
      outcome = if answer, do: :read, else: :stuck
      assert outcome == expect(:D9, rust: :read, c: :stuck)

      with {:ok, times} <- answer do
        median = times |> Enum.sort() |> Enum.at(div(@files, 2)) |> Float.round(1)
        IO.puts("\n#{unquote(count)} calls wait #{unquote(how)}: a file is read in #{median} ms")
      end

      Fuse.stop(fuse)
      assert Await.until(fn -> Vm.call(vm, HungCalls, :count, [callers]) == 0 end)
      if !answer, do: Task.await(read, :infinity)
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
    end
  end

  test "every caller can be killed, and its resources are released when the daemon ends",
       context do
    %{vm: vm, container: container} = context
    fuse = Fuse.mount!(container, context.fuse)
    calls = HungCalls.mixed(100, container, context.fuse, context.other)
    callers = start!(context, fuse, calls)
    waiting = Fuse.waiting(fuse)

    assert Vm.call(vm, HungCalls, :kill, [callers]) == [:killed]
    assert Fuse.waiting(fuse) == waiting
    Fuse.stop(fuse)
    assert Vm.call(vm, Machine, :changes, [context.before]) == []
  end

  test "a call whose caller was killed begins no mount", context do
    %{vm: vm, container: container} = context
    fuse = Fuse.mount!(container, context.fuse)
    calls = HungCalls.with_target(8, container, context.fuse)
    callers = start!(context, fuse, calls)

    assert Vm.call(vm, HungCalls, :kill, [callers]) == [:killed]

    # A turn that was being taken meanwhile is over, and the call is told. The C code has no turns.
    if Implementation.current() == :rust, do: Vm.call(vm, Await, :nifs, [])
    Fuse.answer(fuse)
    assert Await.until(fn -> Fuse.waiting(fuse) == 0 end)
    Vm.call(vm, Await, :nifs, [])
    assert Vm.call(vm, Machine, :changes, [context.before]) == []

    mounts = for mount <- mounts_below(container, context.fuse), do: Path.basename(mount)
    all = for {_, _, [_, target | _]} <- calls, do: Path.basename(target)
    assert Enum.sort(mounts) == expect(:D9, rust: [], c: Enum.sort(all))
  end

  # The others mount as ever, once they are answered.
  test "a call whose caller still waits mounts when the file system answers", context do
    %{vm: vm, container: container} = context
    fuse = Fuse.mount!(container, context.fuse)
    calls = HungCalls.with_target(8, container, context.fuse)
    callers = start!(context, fuse, calls)

    Fuse.answer(fuse)
    assert Await.until(fn -> Vm.call(vm, HungCalls, :count, [callers]) == 0 end)
    assert length(mounts_below(container, context.fuse)) == length(calls)
    assert Vm.call(vm, Machine, :changes, [context.before]) == []
  end

  describe "a module that is loaded again under calls that hang" do
    @describetag :rust

    setup %{vm: vm, container: container, fuse: path} = context do
      fuse = Fuse.mount!(container, path)
      callers = start!(context, fuse, HungCalls.with_target(20, container, path))
      {Mount, binary, file} = :code.get_object_code(Mount)
      assert {:module, Mount} = Vm.call(vm, :code, :load_binary, [Mount, file, binary])
      assert Vm.call(vm, Mount, :version, []) == ~c"linx_mount"
      refute Vm.call(vm, :code, :soft_purge, [Mount])
      %{daemon: fuse, callers: callers}
    end

    test "lets them continue to their end", %{vm: vm, callers: callers} = context do
      assert Vm.call(vm, HungCalls, :count, [callers]) == 20
      Fuse.answer(context.daemon)
      assert Await.until(fn -> Vm.call(vm, HungCalls, :count, [callers]) == 0 end)
      assert length(mounts_below(context.container, context.fuse)) == 20
      assert Vm.call(vm, :code, :soft_purge, [Mount])
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
    end

    test "and if the old code is purged, they mount nothing", context do
      %{vm: vm, callers: callers} = context
      assert Vm.call(vm, :code, :purge, [Mount])
      assert Vm.call(vm, HungCalls, :count, [callers]) == 0
      Vm.call(vm, Await, :nifs, [])
      Fuse.answer(context.daemon)
      assert Await.until(fn -> Fuse.waiting(context.daemon) == 0 end)
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
      assert mounts_below(context.container, context.fuse) == []
      assert Vm.call(vm, Mount, :version, []) == ~c"linx_mount"
    end
  end

  test "a VM with calls that hang can be ended", context do
    %{vm: vm, container: container} = context
    fuse = Fuse.mount!(container, context.fuse, :serial)
    calls = HungCalls.mixed(30, container, context.fuse, context.other)
    start!(context, fuse, Enum.reject(calls, &as_seen?/1))
    Vm.stop(vm)
    assert Await.until(fn -> Fuse.waiting(fuse) == 0 end)
  end

  # No program can prevent this, see SECURITY.md.
  test "but only after a daemon that has taken their requests", context do
    %{vm: vm, container: container} = context
    fuse = Fuse.mount!(container, context.fuse)
    Fuse.read(fuse)
    calls = HungCalls.mixed(6, container, context.fuse, context.other)
    start!(context, fuse, Enum.reject(calls, &as_seen?/1))
    assert Await.until(fn -> Fuse.taken(fuse) > 0 end)
    {_, 0} = System.cmd("kill", ["-KILL", vm.os_pid])
    assert Await.until(fn -> File.read!("/proc/#{vm.os_pid}/status") =~ ~r/^State:\s*Z/m end)
    assert [_ | _] = File.ls!("/proc/#{vm.os_pid}/task") -- [vm.os_pid]

    Fuse.stop(fuse)
    assert Await.until(fn -> not File.exists?("/proc/#{vm.os_pid}") end)
  end

  # The child that the C code makes for these does not end with the VM, see D10.
  defp as_seen?({_, :mount, args}), do: Enum.at(args, 6) != ""
  defp as_seen?(_), do: false

  defp mounts_below(container, folder) do
    for %{mount_point: path} <- Container.mountinfo(container),
        String.starts_with?(path, folder <> "/"),
        do: path
  end
end
