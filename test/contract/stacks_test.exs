defmodule LinxNative.StacksTest do
  @moduledoc """
  No call ends a VM with the smallest possible stacks.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Operations

  # In kilowords: those of normal, of dirty I/O and of dirty CPU schedulers, and of threads for asynchronous work.
  @smallest "+sss 20 +sssdio 20 +sssdcpu 20 +a 16"

  setup do
    container = Container.start([:net, :mount, :pid])
    vm = Vm.start(env: %{"ERL_FLAGS" => @smallest})
    %{vm: vm, container: container, folder: Folder.make!()}
  end

  # The root of a user namespace is locked, which is another answer of one of them.
  @tag :machine_root
  test "each kind of call works", %{vm: vm, container: container, folder: folder} do
    for name <- Operations.names(:all) do
      operation = Operations.get(name, folder, container)
      Operations.prepare(operation)
      {module, function, args} = operation.mfa
      answer = Vm.call(vm, module, function, args)
      with {:ok, fd} <- answer, do: Vm.call(vm, NetlinkSocket, :close_fd, [fd])
      Operations.undo(operation)
      assert {name, Operations.normal(answer)} == {name, operation.answer}
    end
  end

  test "the longest paths work, with and without a namespace", %{vm: vm, container: container} do
    [net, ns, pidns] = for kind <- [:net, :mnt, :pid], do: Container.ns_path(container, kind)
    # One byte less than is refused, and of names that may be.
    long = "/" <> String.duplicate("x/", 2_046) <> "xx"
    assert byte_size(long) == 4_095

    assert Vm.call(vm, NetlinkSocket, :open_in_netns, [long, 0]) == {:error, {:open, 2}}

    assert {:ok, _} =
             Vm.call(vm, NetlinkSocket, :open_in_netns, [String.duplicate("/", 4_000) <> net, 0])

    for {ns, pidns} <- [{"", ""}, {ns, ""}, {ns, pidns}], create <- [0, 1] do
      args = [long, long, "proc", 0, String.duplicate(",", 4_095), ns, pidns, create]
      assert {:error, {stage, :enoent}} = Vm.call(vm, Mount, :mount, args)
      assert stage == if(create == 1, do: :create, else: :mount)
    end

    for ns <- ["", ns] do
      assert Vm.call(vm, Mount, :umount, [long, 0, ns]) == {:error, {:umount, :enoent}}
      assert Vm.call(vm, Mount, :pivot_root, [long, long, ns]) == {:error, {:chdir, :enoent}}
    end
  end

  @tag :conn
  test "a connection works", %{vm: vm, container: container} do
    for netns <- [:host, pid: container.pid, path: Container.ns_path(container, :net)] do
      assert Vm.call(vm, LinxNative.Test.ConnScenario, :life, [netns]) == :ok
      assert Vm.call(vm, LinxNative.Test.ConnScenario, :identity, [netns]) == :ok
    end
  end
end
