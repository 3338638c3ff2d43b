defmodule LinxNative.HostileDaemonsTest do
  @moduledoc """
  FUSE and autofs as seen from a container's PID namespace. On every kernel a child mounts them there. SECURITY.md says what the
  container can read of that child and do to it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Attacker, Daemons, Rounds}

  @moduletag :machine_root

  @link "linx_spied"
  @attempts 20
  @rounds 25
  @eio 5

  setup do
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()
    [target, fifo] = for name <- ~w(target fifo), do: "#{folder}/#{name}"
    File.mkdir!(target)
    {_, 0} = System.cmd("mkfifo", [fifo])

    # Its network has a link of this name.
    add = "ip link add #{@link} type bridge && exec \"$@\""
    vm = Vm.start(wrap: ["unshare", "--net", "--", "sh", "-c", add, "sh"])
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    calls = for type <- ~w(fuse autofs), do: {Daemons, :round, [type, fifo, target, ns, pidns]}
    # Loads what it needs.
    for call <- calls, do: Vm.call(vm, Rounds, :run, [[call], 1])
    %{container: container, vm: vm, calls: calls}
  end

  # Rounds of a call beside an attacker, until that had some success.
  defp attack(vm, call, start, stop, success?) do
    Enum.reduce_while(1..@attempts, nil, fn _, _ ->
      attacker = start.()
      [answers] = Vm.call(vm, Rounds, :run, [[call], @rounds])
      result = stop.(attacker)
      {if(success?.(result), do: :halt, else: :cont), {result, answers}}
    end)
  end

  test "every process of the container can read the command line and the network tables of the VM",
       context do
    %{container: container, vm: vm, calls: calls} = context
    cmdline = File.read!("/proc/#{vm.os_pid}/cmdline")
    seen? = &(&1.cmdlines > 0 and @link in &1.links and &1.cmdline == cmdline)

    for call <- calls do
      spy = fn -> Attacker.spy(container) end
      {spied, answers} = attack(vm, call, spy, &Attacker.spied/1, seen?)
      assert {call, answers} == {call, [{:ok, :ok}]}
      assert {call, seen?.(spied), spied.cmdline} == {call, true, cmdline}
      # An ordinary user cannot read its memory.
      assert spied.memories == 0
    end
  end

  test "a process with all capabilities of the VM can open its memory", context do
    %{container: container, vm: vm, calls: calls} = context

    for call <- calls do
      spy = fn -> Attacker.spy(container, :root) end
      {spied, _} = attack(vm, call, spy, &Attacker.spied/1, &(&1.memories > 0))
      assert {call, spied.memories > 0} == {call, true}
    end
  end

  test "without a PID namespace the container sees nothing of the VM", context do
    %{container: container, vm: vm, calls: calls} = context

    for {module, function, arguments} <- calls do
      call = {module, function, List.replace_at(arguments, 4, "")}
      spy = Attacker.spy(container, :root)
      [answers] = Vm.call(vm, Rounds, :run, [[call], @rounds])
      spied = Attacker.spied(spy)
      assert {call, answers} == {call, [{:ok, :ok}]}
      assert {spied.processes, spied.cmdlines, spied.tables, spied.memories} == {0, 0, 0, 0}
    end
  end

  test "a call whose child is killed fails, and the VM loses no descriptor", context do
    %{container: container, vm: vm, calls: calls} = context
    before = Vm.call(vm, Machine, :snapshot, [])
    killed = {{:error, {:mount, @eio}}, false}

    for call <- calls do
      kill = fn -> Attacker.signal(container, "KILL") end
      {hits, answers} = attack(vm, call, kill, &Attacker.hits/1, &(&1 > 0))
      assert {call, hits > 0} == {call, true}
      assert {call, answers -- [{:ok, :ok}, killed]} == {call, []}
      assert Vm.call(vm, Machine, :changes, [before]) == []
    end
  end
end
