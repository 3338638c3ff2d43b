defmodule LinxNative.PivotRootTest do
  @moduledoc """
  `Linx.Mount.Native.pivot_root/3`, in a container and in a VM's own mount namespace.
  """

  use LinxNative.Test.Case

  @bind 4096
  @rec 16_384
  @detach 2

  # A file system to become the root, in the namespace `ns`.
  defp new_root!(folder, ns, call \\ &apply(Mount, &1, &2)) do
    :ok = call.(:mount, ["root", folder, "tmpfs", 0, "", ns, "", 0])
    # Anything that shows which root it is, and where the old one goes.
    :ok = call.(:mount, ["/proc/version", folder <> "/this_is_it", "", @bind, "", ns, "", 1])
    folder
  end

  defp root_of(pid), do: File.ls!("/proc/#{pid}/root")

  setup do
    %{folder: Folder.make!()}
  end

  test "makes the new root that of the container's processes", %{folder: folder} do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    new_root!(folder, ns)
    before = File.cwd!()

    # Onto each other: the old root ends on top, to be unmounted.
    assert :ok = Mount.pivot_root(folder, folder, ns)
    assert :ok = Mount.umount("/", @detach, ns)
    assert root_of(container.pid) == ["this_is_it"]
    assert [%{source: "root"}, %{mount_point: "/this_is_it"}] = Container.mountinfo(container)

    assert File.cwd!() == before
    assert "proc" in File.ls!("/")
  end

  test "put_old takes the old root", %{folder: folder} do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    new_root!(folder, ns)
    Container.sh!(container, "mkdir #{folder}/old")
    assert :ok = Mount.pivot_root(folder, folder <> "/old", ns)
    assert Enum.sort(root_of(container.pid)) == ["old", "this_is_it"]
    assert "proc" in File.ls!("/proc/#{container.pid}/root/old")
  end

  test "new_root is entered first, so put_old may be relative to it", %{folder: folder} do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    new_root!(folder, ns)
    assert :ok = Mount.pivot_root(folder, ".", ns)
    assert :ok = Mount.umount("/", @detach, ns)
    assert root_of(container.pid) == ["this_is_it"]
  end

  test "in the VM's own namespace the VM gets the new root and keeps its working directory",
       %{folder: folder} do
    vm = Vm.start(wrap: ["unshare", "--mount", "--propagation=private", "--"])
    call = &Vm.call(vm, Mount, &1, &2)
    # A working directory that is not the old root, which the kernel would move along.
    assert :ok = Vm.call(vm, File, :cd, ["/proc"])
    new_root!(folder, "", call)
    assert :ok = Vm.call(vm, File, :mkdir, [folder <> "/old"])

    assert :ok = call.(:pivot_root, [folder, folder <> "/old", ""])
    assert {:ok, names} = Vm.call(vm, File, :ls, ["/"])
    assert Enum.sort(names) == ["old", "this_is_it"]
    assert File.read_link!("/proc/#{vm.os_pid}/cwd") == "/old/proc"
    # Every thread of it, the schedulers among them.
    for {_, thread} <- threads(vm), do: assert(thread["root"] == folder or thread["root"] == "/")
    assert root_of(vm.os_pid) |> Enum.sort() == ["old", "this_is_it"]
    refute "this_is_it" in File.ls!("/")
  end

  # The VM has no /proc any more, so this VM reads it.
  defp threads(vm) do
    for name <- File.ls!("/proc/#{vm.os_pid}/task"),
        into: %{},
        do: {name, %{"root" => File.read_link!("/proc/#{vm.os_pid}/task/#{name}/root")}}
  end

  test "stage chdir", %{folder: folder} do
    file = folder <> "/file"
    File.write!(file, "")
    assert {:error, {:chdir, :enoent}} = Mount.pivot_root(folder <> "/no", folder, "")
    assert {:error, {:chdir, :enotdir}} = Mount.pivot_root(file, folder, "")
  end

  @tag :machine_root
  test "stage pivot_root: not a mount point, or not below it", %{folder: folder} do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    new_root!(folder, ns)
    Container.sh!(container, "mkdir #{folder}/directory")
    below = folder <> "/directory"
    assert {:error, {:pivot_root, :einval}} = Mount.pivot_root(below, below, ns)
    assert {:error, {:pivot_root, :einval}} = Mount.pivot_root(folder, "/proc", ns)
    assert {:error, {:pivot_root, :enoent}} = Mount.pivot_root(folder, folder <> "/no", ns)
    assert {:error, {:pivot_root, :ebusy}} = Mount.pivot_root("/", "/", ns)
  end

  test "stages open_ns and setns" do
    assert {:error, {:open_ns, :enoent}} = Mount.pivot_root("/no", "/no", "/nonexistent")
    assert {:error, {:setns, :einval}} = Mount.pivot_root("/no", "/no", "/proc/self/stat")
  end

  @tag :machine_root
  test "stage thread, also in the VM's own namespace" do
    vm = Vm.start()
    TaskLimit.set!(vm, 0)
    assert {:error, {:thread, :eagain}} = Vm.call(vm, Mount, :pivot_root, ["/no", "/no", ""])
  end

  test "each refused system call is its own stage" do
    for {rule, reason} <- [
          {"unshare-fs=EPERM", {:unshare, :eperm}},
          {"chdir=EINTR", {:chdir, 4}},
          {"pivot_root=ENOSYS", {:pivot_root, 38}}
        ] do
      vm = Vm.start(wrap: Harness.seccomp(rule))
      result = Vm.call(vm, Mount, :pivot_root, ["/", "/", ""])
      assert {rule, result} == {rule, {:error, reason}}
      Vm.stop(vm)
    end
  end

  @tag :machine_root
  test "is refused without permission" do
    vm = Vm.start(user: :nobody)
    assert {:error, {:pivot_root, :eperm}} = Vm.call(vm, Mount, :pivot_root, ["/", "/", ""])
  end

  test "works with a root that was bound recursively", %{folder: folder} do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    assert :ok = Mount.mount("/", folder, "", @bind + @rec, "", ns, "", 0)
    assert :ok = Mount.pivot_root(folder, ".", ns)
    assert :ok = Mount.umount("/", @detach, ns)
    assert "proc" in root_of(container.pid)
    assert Container.sh!(container, "cat /proc/self/comm") == "cat\n"
  end
end
