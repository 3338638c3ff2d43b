defmodule LinxNative.KilledTest do
  @moduledoc """
  Processes are killed in the middle of a call. The call leaves nothing, and begins no mount.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{KilledCallers, Operations, SyscallStepper}

  @times 5
  @random 3_000
  @seed {2026, 11, 23}

  @tag :machine_root
  test "while the call is held at each of its system calls, #{@times} times each" do
    hold = SyscallStepper.start()
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()
    before = Vm.call(hold.vm, Machine, :snapshot, [])

    kills =
      for name <- Operations.names(:all),
          operation = Operations.get(name, folder, container),
          effect = undisturbed(hold, operation),
          n <- 1..length(operation.steps) do
        for _ <- 1..@times, do: kill(hold, operation, n, effect, before.threads)
        Operations.undo(operation)
        assert {name, n, lost(hold, before)} == {name, n, lost(name)}
      end

    IO.puts("\n#{length(kills) * @times} callers killed in #{length(kills)} places")
  end

  defp undisturbed(hold, operation) do
    Operations.prepare(operation)
    {module, function, args} = operation.mfa
    answer = Vm.call(hold.vm, module, function, args)
    with {:ok, fd} <- answer, do: Vm.call(hold.vm, NetlinkSocket, :close_fd, [fd])
    assert Operations.normal(answer) == operation.answer
    effect = Operations.effect(operation)
    Operations.undo(operation)
    effect
  end

  # If something is mounted, it is complete, to the last option.
  defp kill(hold, operation, n, complete, threads) do
    Operations.prepare(operation)
    before = Operations.effect(operation)
    held = SyscallStepper.begin(hold, operation.mfa, n)
    gone? = Operations.on_own_thread?(operation)

    assert %{answer: :killed} =
             held |> SyscallStepper.kill(gone: gone?) |> SyscallStepper.finish()

    # The thread of the call is on its own.
    over? = fn -> map_size(Vm.call(hold.vm, Machine, :threads, [])) == map_size(threads) end
    assert Await.until(over?)
    expected = Operations.effect_without_caller(operation, n, before, complete)
    assert {operation.name, n, Operations.effect(operation)} == {operation.name, n, expected}
  end

  # The sockets that nobody knows of, and all else that differs. It closes the sockets.
  defp lost(hold, before) do
    open = Vm.call(hold.vm, Machine, :descriptors, [])
    new = for {fd, {"socket:" <> _, _}} <- open, not is_map_key(before.descriptors, fd), do: fd
    for fd <- new, do: Vm.call(hold.vm, NetlinkSocket, :close_fd, [fd])
    {length(new), Vm.call(hold.vm, Machine, :changes, [before])}
  end

  # Not in the list of departures: who could tell, was killed. The C code does not ask whether somebody is there to
  # take the descriptor.
  defp lost(:open), do: {%{rust: 0, c: @times}[Implementation.current()], []}
  defp lost(_), do: {0, []}

  # Without `open_in_netns/2` that succeeds: a socket between its answer and `close_fd/1` is the caller's, and lost with it.
  test "at #{@random} random moments" do
    container = Container.start([:net, :mount, :pid])
    [net, ns, pidns] = for kind <- [:net, :mnt, :pid], do: Container.ns_path(container, kind)
    folder = Folder.make!()
    vm = Vm.start()
    calls = calls(folder, net, ns, pidns)
    # Loads what it needs.
    Vm.call(vm, KilledCallers, :run, [calls, 1, @seed])
    unmount(calls)
    before = Vm.call(vm, Machine, :snapshot, [])
    begun = Vm.call(vm, KilledCallers, :run, [calls, @random, @seed])
    IO.puts("\n#{@random} callers killed in #{begun} calls, seed #{inspect(@seed)}")
    unmount(calls)

    assert Vm.call(vm, Machine, :changes, [before]) == []
    refute Enum.any?(Container.mountinfo(container), &String.starts_with?(&1.mount_point, folder))
  end

  defp calls(folder, net, ns, pidns) do
    [here, there, seen, procfs, device] =
      for name <- ~w(here there seen procfs device), do: "#{folder}/#{name}"

    for path <- [here, there, seen, procfs], do: File.mkdir!(path)

    [
      {Mount, :mount, ["", here, "tmpfs", 0, "", "", "", 0]},
      {Mount, :umount, [here, 2, ""]},
      {Mount, :mount, ["", there, "tmpfs", 0, "", ns, "", 0]},
      {Mount, :umount, [there, 2, ns]},
      {Mount, :mount, ["", seen, "tmpfs", 0, "", ns, pidns, 0]},
      {Mount, :umount, [seen, 2, ns]},
      {Mount, :mount, ["", procfs, "proc", 0, "", ns, pidns, 0]},
      {Mount, :umount, [procfs, 2, ns]},
      {Mount, :mount, ["/dev/null", device, "", 4096, "", ns, "", 1]},
      {Mount, :umount, [device, 2, ns]},
      {Mount, :pivot_root, [folder, folder, ns]},
      {NetlinkSocket, :open_in_netns, [ns, 0]},
      {NetlinkSocket, :open_in_netns, [net, 31]}
    ]
  end

  # Unmounts what callers left that were killed between mount and unmount.
  defp unmount(calls) do
    for {Mount, :umount, args} <- calls, do: unmount_all(args)
  end

  defp unmount_all(args) do
    if apply(Mount, :umount, args) == :ok, do: unmount_all(args)
  end
end
