defmodule LinxNative.UmountTest do
  @moduledoc """
  `Linx.Mount.Native.umount/3`, here and in another mount namespace.
  """

  use LinxNative.Test.Case

  @detach 2
  @nofollow 8

  test "unmounts in the VM's own namespace, the topmost mount first" do
    folder = Folder.make!()
    for name <- ~w(lower upper), do: :ok = Mount.mount(name, folder, "tmpfs", 0, "", "", "", 0)
    assert %{source: "upper"} = MountInfo.at(folder)
    assert :ok = Mount.umount(folder, 0, "")
    assert %{source: "lower"} = MountInfo.at(folder)
    assert :ok = Mount.umount(folder, 0, "")
    refute MountInfo.at(folder)
    assert {:error, {:umount, :einval}} = Mount.umount(folder, 0, "")
  end

  test "unmounts in another mount namespace only" do
    container = Container.start([:mount])
    ns = Container.ns_path(container, :mnt)
    folder = Folder.make!()
    :ok = Mount.mount("here", folder, "tmpfs", 0, "", "", "", 0)
    :ok = Mount.mount("there", folder, "tmpfs", 0, "", ns, "", 0)

    assert :ok = Mount.umount(folder, 0, ns)
    refute Container.mount_at(container, folder)
    assert %{source: "here"} = MountInfo.at(folder)
    assert {:error, {:umount, :einval}} = Mount.umount(folder, 0, ns)
    assert :ok = Mount.umount(folder, 0, "")
  end

  test "flags reach the kernel" do
    folder = Folder.make!()
    :ok = Mount.mount("", folder, "tmpfs", 0, "", "", "", 0)
    File.write!(folder <> "/file", "")
    {:ok, file} = :file.open(folder <> "/file", [:read, :raw])
    assert {:error, {:umount, :ebusy}} = Mount.umount(folder, 0, "")
    assert :ok = Mount.umount(folder, @detach, "")
    :ok = :file.close(file)
  end

  test "a link is followed, unless a flag forbids it" do
    folder = Folder.make!()
    File.mkdir!(folder <> "/real")
    File.ln_s!("real", folder <> "/link")
    :ok = Mount.mount("", folder <> "/real", "tmpfs", 0, "", "", "", 0)
    assert {:error, {:umount, :einval}} = Mount.umount(folder <> "/link", @nofollow, "")
    assert :ok = Mount.umount(folder <> "/link", 0, "")
  end

  test "stages open_ns and setns" do
    assert {:error, {:open_ns, :enoent}} = Mount.umount("/", 0, "/nonexistent")
    assert {:error, {:setns, :einval}} = Mount.umount("/", 0, "/proc/self/ns/net")
  end

  @tag :machine_root
  test "stage thread" do
    vm = Vm.start()
    TaskLimit.set!(vm, 0)
    args = ["/nonexistent", 0, "/proc/self/ns/mnt"]
    assert {:error, {:thread, :eagain}} = Vm.call(vm, Mount, :umount, args)
    # None is needed in the VM's own namespace.
    assert {:error, {:umount, :enoent}} = Vm.call(vm, Mount, :umount, ["/nonexistent", 0, ""])
  end

  test "stages unshare and umount: refused system calls" do
    for {rule, reason} <- [
          {"unshare-fs=EPERM", {:unshare, :eperm}},
          {"setns-mnt=EPERM", {:setns, :eperm}},
          {"umount2=EINTR", {:umount, 4}}
        ] do
      vm = Vm.start(wrap: Harness.seccomp(rule))
      result = Vm.call(vm, Mount, :umount, ["/nonexistent", 0, "/proc/self/ns/mnt"])
      assert {rule, result} == {rule, {:error, reason}}
      Vm.stop(vm)
    end
  end

  @tag :machine_root
  test "is refused without permission" do
    vm = Vm.start(user: :nobody)
    assert {:error, {:umount, :eperm}} = Vm.call(vm, Mount, :umount, ["/proc", 0, ""])
  end
end
