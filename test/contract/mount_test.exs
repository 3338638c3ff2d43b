defmodule LinxNative.MountTest do
  @moduledoc """
  `Linx.Mount.Native.mount/8` in the VM's own and in another mount namespace, each stage reached by making that step fail.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.SyscallStepper

  @rdonly 1
  @nosuid 2
  @nodev 4
  @noexec 8
  @bind 4096
  @private 262_144
  @remount 32

  describe "version/0" do
    test "is the charlist linx_mount" do
      assert Mount.version() == ~c"linx_mount"
    end
  end

  describe "in the VM's own mount namespace" do
    test "mounts with source, type, flags and options" do
      folder = Folder.make!()
      flags = @rdonly + @nosuid + @nodev + @noexec
      assert :ok = Mount.mount("name", folder, "tmpfs", flags, "size=64k,mode=700", "", "", 0)

      assert %{source: "name", fstype: "tmpfs", options: options, super_options: super_options} =
               MountInfo.at(folder)

      assert ["ro", "nosuid", "nodev", "noexec", "relatime"] -- options == []
      assert ["ro", "size=64k", "mode=700"] -- super_options == []
      assert :ok = Mount.umount(folder, 0, "")
      refute MountInfo.at(folder)
    end

    test "an empty source is NULL" do
      folder = Folder.make!()
      assert :ok = Mount.mount("", folder, "tmpfs", 0, "", "", "", 0)
      assert %{source: "none"} = MountInfo.at(folder)
      assert :ok = Mount.umount(folder, 0, "")
    end

    test "a PID namespace without a mount namespace is ignored" do
      folder = Folder.make!()
      assert :ok = Mount.mount("", folder, "tmpfs", 0, "", "", "/nonexistent", 0)
      assert :ok = Mount.umount(folder, 0, "")
    end

    test "links in the path are followed without create_target" do
      folder = Folder.make!()
      File.mkdir!(folder <> "/real")
      File.ln_s!("real", folder <> "/link")
      Folder.tmpfs!(folder <> "/link")
      assert MountInfo.at(folder <> "/real")
    end

    test "a relative path is looked up from the VM's working directory" do
      folder = Folder.make!()
      File.mkdir!(folder <> "/x")
      here = File.cwd!()
      File.cd!(folder)

      try do
        assert :ok = Mount.mount("", "x", "tmpfs", 0, "", "", "", 0)
        assert MountInfo.at(folder <> "/x")
        assert :ok = Mount.umount("x", 0, "")
      after
        File.cd!(here)
      end
    end

    test "binds, remounts and changes propagation" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      assert :ok = Mount.mount("", folder, "", @private, "", "", "", 0)
      assert %{propagation: []} = MountInfo.at(folder)

      File.mkdir!(folder <> "/a")
      File.mkdir!(folder <> "/b")
      assert :ok = Mount.mount(folder <> "/a", folder <> "/b", "", @bind, "", "", "", 0)
      assert %{root: "/a"} = MountInfo.at(folder <> "/b")

      flags = @bind + @remount + @rdonly
      assert :ok = Mount.mount("", folder <> "/b", "", flags, "", "", "", 0)
      assert "ro" in MountInfo.at(folder <> "/b").options
      assert {:error, :erofs} = File.write(folder <> "/b/x", "")
      assert :ok = Mount.umount(folder <> "/b", 0, "")
    end

    @tag :machine_root
    test "stage mount: the errno is an atom, or a number if it has none" do
      folder = Folder.make!()
      File.write!(folder <> "/file", "")

      mount = fn source, target, type, flags, data ->
        Mount.mount(source, target, type, flags, data, "", "", 0)
      end

      assert {:error, {:mount, :enoent}} = mount.("", folder <> "/no", "tmpfs", 0, "")
      assert {:error, {:mount, :enotdir}} = mount.("", folder <> "/file", "tmpfs", 0, "")
      assert {:error, {:mount, :enodev}} = mount.("", folder, "nosuchfs", 0, "")
      assert {:error, {:mount, :einval}} = mount.("", folder, "tmpfs", 0, "nosuchoption")
      assert {:error, {:mount, :einval}} = mount.("", folder, "", 0, "")
      assert {:error, {:mount, :enotblk}} = mount.("/dev/null", folder, "ext4", 0, "")
      File.ln_s!("loop", folder <> "/loop")
      assert {:error, {:mount, :eloop}} = mount.("", folder <> "/loop", "tmpfs", 0, "")

      name = String.duplicate("x", 256)
      assert {:error, {:mount, :enametoolong}} = mount.("", folder <> "/#{name}", "tmpfs", 0, "")
    end

    test "an errno without an atom is its number" do
      vm = Vm.start(wrap: Harness.seccomp("mount=524"))
      args = ["", "/", "tmpfs", 0, "", "", "", 0]
      assert {:error, {:mount, 524}} = Vm.call(vm, Mount, :mount, args)
    end

    test "every errno that has an atom" do
      hold = SyscallStepper.start()
      call = {Mount, :umount, ["/", 0, ""]}

      for {name, number} <- [
            eacces: 13,
            eagain: 11,
            ebadf: 9,
            ebusy: 16,
            efault: 14,
            einval: 22,
            eloop: 40,
            emfile: 24,
            enametoolong: 36,
            enodev: 19,
            enoent: 2,
            enomem: 12,
            enotblk: 15,
            enotdir: 20,
            enxio: 6,
            eopnotsupp: 95,
            eperm: 1,
            erofs: 30,
            esrch: 3
          ] do
        held = SyscallStepper.begin_at(hold, call, "umount2")
        assert %{answer: {:error, {:umount, ^name}}} = SyscallStepper.fail(held, number)
      end
    end

    @tag :machine_root
    test "stage mount: not permitted" do
      vm = Vm.start(user: :nobody)
      args = ["", "/", "tmpfs", 0, "", "", "", 0]
      assert {:error, {:mount, :eperm}} = Vm.call(vm, Mount, :mount, args)
    end
  end

  describe "in another mount namespace" do
    setup do
      container = Container.start([:mount])
      %{container: container, ns: Container.ns_path(container, :mnt), folder: Folder.make!()}
    end

    test "mounts in that namespace only", %{container: container, ns: ns, folder: folder} do
      assert :ok = Mount.mount("name", folder, "tmpfs", @nosuid, "size=64k", ns, "", 0)
      assert %{source: "name", fstype: "tmpfs"} = Container.mount_at(container, folder)
      refute MountInfo.at(folder)
    end

    test "a relative path is looked up from the root there", context do
      %{container: container, ns: ns, folder: folder} = context
      assert :ok = Mount.mount("", Path.relative_to(folder, "/"), "tmpfs", 0, "", ns, "", 0)
      assert Container.mount_at(container, folder)
    end

    test "paths are looked up in that namespace", %{container: container, ns: ns, folder: folder} do
      Folder.tmpfs!(folder, container)
      Container.sh!(container, "mkdir #{folder}/inside")
      refute File.exists?(folder <> "/inside")
      assert :ok = Mount.mount(folder, folder <> "/inside", "", @bind, "", ns, "", 0)
      assert Container.mount_at(container, folder <> "/inside")
    end

    test "a mount namespace without a process in it", context do
      %{container: container, ns: ns, folder: folder} = context
      [held] = PinnedNamespaces.paths([ns])
      Container.stop(container)
      assert :ok = Mount.mount("", folder, "tmpfs", 0, "", held, "", 0)
      assert :ok = Mount.umount(folder, 0, held)
      assert {:error, {:umount, :einval}} = Mount.umount(folder, 0, held)
    end

    test "stage open_ns: the file cannot be opened", %{folder: folder} do
      mount = &Mount.mount("", folder, "tmpfs", 0, "", &1, "", 0)
      assert {:error, {:open_ns, :enoent}} = mount.("/proc/self/ns/nothing")
      assert {:error, {:open_ns, :enotdir}} = mount.("/proc/self/stat/x")
    end

    test "stage setns: not a mount namespace", %{folder: folder} do
      for path <- ["/proc/self/ns/net", "/proc/self/stat", "/"] do
        assert {:error, {:setns, :einval}} = Mount.mount("", folder, "tmpfs", 0, "", path, "", 0)
      end
    end

    test "stage mount: errors depend on that namespace", %{
      container: container,
      ns: ns,
      folder: folder
    } do
      Folder.tmpfs!(folder, container)
      File.mkdir!(folder <> "/here")

      assert {:error, {:mount, :enoent}} =
               Mount.mount("", folder <> "/here", "tmpfs", 0, "", ns, "", 0)
    end

    @tag :machine_root
    test "stages thread and open_ns: no thread, no descriptor", %{ns: ns} do
      vm = Vm.start(wrap: ["prlimit", "--nofile=256:256", "--"])
      args = ["", "/nonexistent", "tmpfs", 0, "", ns, "", 0]
      TaskLimit.set!(vm, 0)
      assert {:error, {:thread, :eagain}} = Vm.call(vm, Mount, :mount, args)
      TaskLimit.set!(vm, 1)
      assert {:error, {:mount, :enoent}} = Vm.call(vm, Mount, :mount, args)

      call = [0, Mount, :mount, args]
      assert {:error, {:open_ns, :emfile}} = Vm.call(vm, Descriptors, :with_only, call)
    end

    @tag :machine_root
    test "stages open_ns and setns: not permitted", %{ns: ns, folder: folder} do
      vm = Vm.start(user: :nobody)
      mount = &Vm.call(vm, Mount, :mount, ["", folder, "tmpfs", 0, "", &1, "", 0])
      assert {:error, {:open_ns, :eacces}} = mount.(ns)
      assert {:error, {:setns, :eperm}} = mount.("/proc/self/ns/mnt")
    end

    test "each refused system call is its own stage", %{ns: ns, folder: folder} do
      for {rule, reason} <- [
            {"unshare-fs=EPERM", {:unshare, :eperm}},
            {"unshare-fs=ENOSYS", {:unshare, 38}},
            {"setns-mnt=EINTR", {:setns, 4}},
            {"setns-mnt=ENOMEM", {:setns, :enomem}},
            {"mount=EINTR", {:mount, 4}},
            {"mount=ENOMEM", {:mount, :enomem}}
          ] do
        vm = Vm.start(wrap: Harness.seccomp(rule))
        before = Vm.call(vm, Machine, :snapshot, [])
        result = Vm.call(vm, Mount, :mount, ["", folder, "tmpfs", 0, "", ns, "", 0])
        assert {rule, result} == {rule, {:error, reason}}
        assert Vm.call(vm, Machine, :changes, [before]) == []
        Vm.stop(vm)
      end
    end
  end

  describe "the order of the stages" do
    test "with both namespace paths bad it is open_ns" do
      assert {:error, {:open_ns, :enoent}} =
               Mount.mount("", "/nonexistent", "proc", 0, "", "/nonexistent", "/nonexistent", 1)
    end

    test "with a bad mount namespace and no PID-namespace file it is setns" do
      assert {:error, {:setns, :einval}} =
               Mount.mount(
                 "",
                 "/nonexistent",
                 "proc",
                 0,
                 "",
                 "/proc/self/stat",
                 "/nonexistent",
                 1
               )
    end
  end
end
