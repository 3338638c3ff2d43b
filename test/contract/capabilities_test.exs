defmodule LinxNative.CapabilitiesTest do
  @moduledoc """
  The capabilities of the drop-in modules that `SECURITY.md` lists: these alone are enough, and each of them is needed.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Capabilities

  @private ~w(unshare --mount --propagation=private --)
  @netns "/proc/self/ns/net"
  # To enter the VM's own mount namespace needs as much as to enter another.
  @inside "/proc/self/ns/mnt"

  setup do
    %{folder: Folder.make!()}
  end

  defp start(capabilities), do: Vm.start(wrap: @private ++ capabilities)

  defp open(vm, path), do: Vm.call(vm, NetlinkSocket, :open_in_netns, [path, 0])

  # Mounts and unmounts, and tries to make the root the root, which fails in any case, but only without a capability with EPERM.
  defp mount_calls(vm, folder, ns) do
    for {function, arguments} <- [
          mount: ["", folder, "tmpfs", 0, "", ns, "", 0],
          umount: [folder, 0, ns],
          pivot_root: ["/", "/", ns]
        ],
        do: allowed(Vm.call(vm, Mount, function, arguments))
  end

  defp allowed({:error, {:pivot_root, errno}}) when errno in [:ebusy, :einval], do: :ok
  defp allowed(result), do: result

  @works [:ok, :ok, :ok]

  test "CAP_SYS_ADMIN is enough for the VM's own mount namespace and for a network namespace",
       %{folder: folder} do
    vm = start(Capabilities.only([:sys_admin]))
    assert {:ok, _fd} = open(vm, @netns)
    assert mount_calls(vm, folder, "") == @works
    assert mount_calls(vm, folder, @inside) == List.duplicate({:error, {:setns, :eperm}}, 3)
  end

  test "another mount namespace also needs CAP_SYS_CHROOT, with a PID namespace too",
       %{folder: folder} do
    vm = start(Capabilities.only([:sys_admin, :sys_chroot]))
    assert mount_calls(vm, folder, @inside) == @works

    for type <- ["proc", "tmpfs"] do
      in_pid_namespace = ["", folder, type, 0, "", @inside, "/proc/self/ns/pid", 0]
      assert Vm.call(vm, Mount, :mount, in_pid_namespace) == :ok
      assert Vm.call(vm, Mount, :umount, [folder, 0, @inside]) == :ok
    end
  end

  test "without CAP_SYS_ADMIN all of them fail", %{folder: folder} do
    vm = start(Capabilities.without(:sys_admin))
    assert open(vm, @netns) == {:error, {:setns, 1}}

    assert mount_calls(vm, folder, "") ==
             for(stage <- [:mount, :umount, :pivot_root], do: {:error, {stage, :eperm}})

    assert mount_calls(vm, folder, @inside) == List.duplicate({:error, {:setns, :eperm}}, 3)
  end

  test "CAP_SYS_ADMIN is needed in the user namespace of each namespace", %{folder: folder} do
    user = ~w(unshare --user --map-root-user)
    vm = Vm.start(wrap: user ++ ["--"])
    assert open(vm, @netns) == {:error, {:setns, 1}}
    assert mount_calls(vm, folder, @inside) == List.duplicate({:error, {:setns, :eperm}}, 3)

    vm = Vm.start(wrap: user ++ ~w(--net --mount --propagation=private --))
    assert {:ok, _fd} = open(vm, @netns)
    assert mount_calls(vm, folder, @inside) == @works

    for type <- ["proc", "tmpfs"] do
      in_pid_namespace = ["", folder, type, 0, "", @inside, "/proc/self/ns/pid", 0]
      assert Vm.call(vm, Mount, :mount, in_pid_namespace) == {:error, {:setns_pid, :eperm}}
    end
  end

  test "a namespace of a process with more capabilities needs CAP_SYS_PTRACE", %{folder: folder} do
    container = Container.start([:net, :mount])
    [netns, mount_ns] = for name <- [:net, :mnt], do: Container.ns_path(container, name)
    vm = start(Capabilities.without(:sys_ptrace))
    assert open(vm, netns) == {:error, {:open, 13}}

    assert mount_calls(vm, folder, mount_ns) ==
             List.duplicate({:error, {:open_ns, :eacces}}, 3)

    vm = start(Capabilities.only([:sys_admin, :sys_chroot, :sys_ptrace]))
    assert {:ok, _fd} = open(vm, netns)
    assert mount_calls(vm, folder, mount_ns) == @works
  end
end
