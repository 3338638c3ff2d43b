defmodule LinxNative.HostileProcessesTest do
  @moduledoc """
  A container looks for processes of the VM in its PID namespace, kills and stops them, while the VM mounts there.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Attacker, Rounds, SyscallStepper}

  @bind 4096
  @silent 32_768
  @detach 2

  # The attackers need a few on a machine that is busy. The C code never needs all.
  @attempts 20
  @rounds 25

  # In ms. That of the C code stays as long as the container likes, so this long is enough.
  @time_to_end %{rust: Await.patience(), c: 1_000}

  # The state of a process that is over, or was waited for.
  @over ["Z", nil]

  setup do
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()
    for name <- ~w(source tmpfs bind procfs), do: File.mkdir!("#{folder}/#{name}")
    %{container: container, folder: folder, pidns?: Harness.can?("procfs-of-a-pid-namespace")}
  end

  # Each kind of mount as seen from the container's PID namespace: its calls, and what they answer.
  defp kinds(%{container: container, folder: folder}) do
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    at = &"#{folder}/#{&1}"

    mount = fn source, target, type, flags, create ->
      {Mount, :mount, [source, target, type, flags, "", ns, pidns, create]}
    end

    umount = &{Mount, :umount, [&1, @detach, ns]}

    [
      {:tmpfs, [mount.("", at.("tmpfs"), "tmpfs", 0, 0), umount.(at.("tmpfs"))]},
      {:bind, [mount.(at.("source"), at.("bind"), "", @bind, 0), umount.(at.("bind"))]},
      {:device, [mount.("/dev/null", at.("null"), "", @bind, 1), umount.(at.("null"))]},
      {:procfs, [mount.("", at.("procfs"), "proc", 0, 0), umount.(at.("procfs"))]},
      {:procfs_silent, [mount.("", at.("procfs"), "proc", @silent, 0), umount.(at.("procfs"))]},
      {:procfs_nowhere, [mount.("", at.("missing"), "proc", 0, 0)]}
    ]
  end

  defp undisturbed(:procfs_nowhere), do: [[{:error, {:mount, :enoent}}]]
  defp undisturbed(_), do: [[:ok], [:ok]]

  # Returns the expected value, which depends on the kernel: on newer ones the Rust library needs no process.
  defp expected(kind, pidns?, rust, c) do
    if pidns? or kind in [:tmpfs, :bind, :device], do: expect(:D10, rust: rust, c: c), else: c
  end

  # Runs rounds of calls beside an attacker until that had some success.
  defp attack(calls, start, stop, success?) do
    Enum.reduce_while(1..@attempts, nil, fn _, _ ->
      attacker = start.()
      answers = calls.()
      result = stop.(attacker)
      if success?.(result), do: {:halt, {result, answers}}, else: {:cont, {result, answers}}
    end)
  end

  @tag :machine_root
  test "reads no command line and no network table of the VM", context do
    %{container: container, pidns?: pidns?} = context

    for {kind, calls} <- kinds(context) do
      {spied, answers} = spy(fn -> Attacker.spy(container) end, calls)
      assert {kind, answers} == {kind, undisturbed(kind)}
      nothing = %{processes: :none, cmdlines: :none, tables: :none, memories: :none}
      some = %{processes: :some, cmdlines: :some, tables: :some, memories: :none}
      assert {kind, spied} == {kind, expected(kind, pidns?, nothing, some)}
    end
  end

  defp spy(start, calls) do
    {spied, answers} =
      attack(
        fn -> Rounds.run(calls, @rounds) end,
        start,
        &Attacker.spied/1,
        &(&1.cmdlines > 0 and &1.tables > 0)
      )

    {for({what, count} <- spied, is_integer(count), into: %{}, do: {what, some(count)}), answers}
  end

  defp some(0), do: :none
  defp some(_), do: :some

  test "reads none either if its limit of mount namespaces is 0", %{
    folder: folder,
    pidns?: pidns?
  } do
    container = Container.start([:user, :net, :mount, :pid])
    {_, calls} = List.keyfind(kinds(%{container: container, folder: folder}), :procfs, 0)

    start = fn ->
      Container.limit_mount_namespaces(container, 1_000)
      spy = Attacker.spy(container)
      Container.limit_mount_namespaces(container, 0)
      spy
    end

    {%{cmdlines: cmdlines, tables: tables}, [answers, _]} = spy(start, calls)
    assert {cmdlines, tables} == expected(:procfs, pidns?, {:none, :none}, {:some, :some})
    assert answers == expected(:procfs, pidns?, [{:error, {:mount, 28}}], [:ok])
  end

  test "finds no process to kill, and makes the VM leak no descriptor", context do
    %{container: container, pidns?: pidns?} = context
    vm = Vm.start()

    for {kind, calls} <- kinds(context) do
      Vm.call(vm, Rounds, :run, [calls, 1])
      before = Vm.call(vm, Machine, :snapshot, [])

      {hits, answers} =
        attack(
          fn -> Vm.call(vm, Rounds, :run, [calls, @rounds]) end,
          fn -> Attacker.signal(container, "KILL") end,
          &Attacker.hits/1,
          &(&1 > 0)
        )

      assert {kind, some(hits)} == {kind, expected(kind, pidns?, :none, :some)}
      if hits == 0, do: assert({kind, answers} == {kind, undisturbed(kind)})
      assert {kind, Vm.call(vm, Machine, :changes, [before])} == {kind, []}
      # Killed callers did not unmount.
      for {Mount, :umount, args} <- calls, do: unmount_all(args)
    end
  end

  defp unmount_all(args) do
    if apply(Mount, :umount, args) == :ok, do: unmount_all(args)
  end

  test "cannot keep a child of a killed VM by stopping it", context do
    %{container: container} = context

    for {kind, [mount | _]} <- [by_child(context) | kinds(context)],
        kind in [:by_child, :tmpfs, :device, :procfs] do
      hold = SyscallStepper.start()
      outlives? = hold |> SyscallStepper.begin(mount) |> stop_child(container, hold.vm)
      assert {kind, outlives?} == {kind, expect(:D10, rust: false, c: true)}
      for pid <- inhabitants(container), do: System.cmd("kill", ["-KILL", "#{pid}"])
    end
  end

  # Only mount(2) takes such a long source, so a child mounts on every kernel.
  defp by_child(context) do
    {:procfs, [{module, function, ["" | args]} | _]} = List.keyfind(kinds(context), :procfs, 0)
    {:by_child, [{module, function, [String.duplicate("l", 300) | args]}]}
  end

  # Goes through a call until there is a process in the container that is not its own, stops that and kills the VM. Whether
  # it is still there then.
  defp stop_child(%{answer: _}, _, vm) do
    Vm.stop(vm)
    false
  end

  defp stop_child(held, container, vm) do
    case inhabitants(container) do
      [] ->
        held |> SyscallStepper.continue() |> stop_child(container, vm)

      [child] ->
        # The task that made the call does not survive the VM.
        Process.unlink(held.run.pid)
        signal = Attacker.signal(container, "STOP")
        # A traced one is stopped for the VM ("t"), again and again, and goes on each time.
        assert Await.until(fn -> state(child) in ["T", "t"] end)
        {_, 0} = System.cmd("kill", ["-KILL", vm.os_pid])
        assert Await.until(fn -> not File.exists?("/proc/#{vm.os_pid}") end)
        Attacker.hits(signal)
        !Await.until(@time_to_end[Implementation.current()], fn -> state(child) in @over end)
    end
  end

  defp inhabitants(container) do
    namespace = File.read_link!(Container.ns_path(container, :pid))

    for name <- File.ls!("/proc"),
        name =~ ~r/^\d+$/,
        name != "#{container.pid}",
        File.read_link("/proc/#{name}/ns/pid") == {:ok, namespace},
        state(name) not in @over,
        do: String.to_integer(name)
  end

  defp state(pid) do
    with {:ok, status} <- File.read("/proc/#{pid}/status") do
      [_, state] = Regex.run(~r/^State:\s*(\S)/m, status)
      state
    else
      _ -> nil
    end
  end
end
