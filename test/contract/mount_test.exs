defmodule LinxNative.MountTest do
  @moduledoc """
  `Linx.Mount.Native.mount/8`, here and in other namespaces, each stage reached by making that step fail.
  """

  use LinxNative.Test.Case

  @rdonly 1
  @nosuid 2
  @nodev 4
  @noexec 8
  @bind 4096
  @rec 16_384
  @private 262_144
  @remount 32

  # A tmpfs at a path, in the container or, for nil, here.
  defp tmpfs!(path, container \\ nil)

  defp tmpfs!(path, nil) do
    assert :ok = Mount.mount("linx", path, "tmpfs", 0, "size=1m", "", "", 0)
    on_exit(fn -> :ok = Mount.umount(path, 0, "") end)
  end

  defp tmpfs!(path, container) do
    ns = Container.ns_path(container, :mnt)
    assert :ok = Mount.mount("linx", path, "tmpfs", 0, "size=1m", ns, "", 0)
  end

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

    test "an empty source is none" do
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
      tmpfs!(folder <> "/link")
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
      tmpfs!(folder)
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

    test "stage mount: the errno as an atom, or as a number where it has none" do
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
        vm = Vm.start(wrap: Harness.seccomp("umount2=#{number}"))
        assert {:error, {:umount, ^name}} = Vm.call(vm, Mount, :umount, ["/", 0, ""])
        Vm.stop(vm)
      end
    end

    test "stage mount: not permitted" do
      user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
      vm = Vm.start(wrap: user)
      args = ["", "/", "tmpfs", 0, "", "", "", 0]
      assert {:error, {:mount, :eperm}} = Vm.call(vm, Mount, :mount, args)
    end
  end

  describe "in another mount namespace" do
    setup do
      container = Container.start([:mount])
      %{container: container, ns: Container.ns_path(container, :mnt), folder: Folder.make!()}
    end

    test "mounts there, and nothing here", %{container: container, ns: ns, folder: folder} do
      assert :ok = Mount.mount("name", folder, "tmpfs", @nosuid, "size=64k", ns, "", 0)
      assert %{source: "name", fstype: "tmpfs"} = Container.mount_at(container, folder)
      refute MountInfo.at(folder)
    end

    test "a relative path is looked up from the root there", context do
      %{container: container, ns: ns, folder: folder} = context
      assert :ok = Mount.mount("", Path.relative_to(folder, "/"), "tmpfs", 0, "", ns, "", 0)
      assert Container.mount_at(container, folder)
    end

    test "paths are those of the namespace", %{container: container, ns: ns, folder: folder} do
      tmpfs!(folder, container)
      Container.sh!(container, "mkdir #{folder}/inside")
      refute File.exists?(folder <> "/inside")
      assert :ok = Mount.mount(folder, folder <> "/inside", "", @bind, "", ns, "", 0)
      assert Container.mount_at(container, folder <> "/inside")
    end

    test "a mount namespace without a process in it", context do
      %{container: container, ns: ns, folder: folder} = context
      [held] = HeldOpen.paths([ns])
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

    test "stage mount: as seen there", %{container: container, ns: ns, folder: folder} do
      tmpfs!(folder, container)
      File.mkdir!(folder <> "/here")

      assert {:error, {:mount, :enoent}} =
               Mount.mount("", folder <> "/here", "tmpfs", 0, "", ns, "", 0)
    end

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

    test "stages open_ns and setns: not permitted", %{ns: ns, folder: folder} do
      user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
      vm = Vm.start(wrap: user)
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

  describe "as seen from a PID namespace" do
    setup do
      container = Container.start([:mount, :pid])

      %{
        container: container,
        ns: Container.ns_path(container, :mnt),
        pidns: Container.ns_path(container, :pid),
        folder: Folder.make!()
      }
    end

    test "a procfs shows the processes of that namespace", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context
      assert :ok = Mount.mount("proc", folder, "proc", 0, "", ns, pidns, 0)

      shown = Container.sh!(container, "cd #{folder} && echo [0-9]*") |> String.split()
      # Those that sh! itself puts inside come and go; the VM's own pids are not among them.
      assert "1" in shown
      refute System.pid() in shown
      assert Container.sh!(container, "cat #{folder}/1/comm") =~ "linx_harness"
      refute MountInfo.at(folder)
    end

    test "without a PID namespace a procfs shows the VM's", context do
      %{container: container, ns: ns, folder: folder} = context
      assert :ok = Mount.mount("proc", folder, "proc", 0, "", ns, "", 0)
      assert Container.sh!(container, "cat #{folder}/#{System.pid()}/comm") =~ "beam"
    end

    test "any file system may be mounted", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context
      assert :ok = Mount.mount("name", folder, "tmpfs", @rdonly, "size=64k", ns, pidns, 0)
      assert %{fstype: "tmpfs", source: "name"} = Container.mount_at(container, folder)
      assert :ok = Mount.mount("/dev", folder, "", @bind, "", ns, pidns, 0)
      %{fstype: fstype} = MountInfo.at("/dev")
      assert %{fstype: ^fstype} = Container.mount_at(container, folder)
    end

    test "stage open_pidns: the file cannot be opened", context do
      %{ns: ns, folder: folder} = context

      assert {:error, {:open_pidns, :enoent}} =
               Mount.mount("proc", folder, "proc", 0, "", ns, "/nonexistent", 0)
    end

    test "stage setns_pid: not a PID namespace", context do
      %{ns: ns, folder: folder} = context

      for path <- ["/proc/self/ns/net", "/proc/self/stat"] do
        assert {:error, {:setns_pid, :einval}} =
                 Mount.mount("proc", folder, "proc", 0, "", ns, path, 0)
      end
    end

    test "stage mount: the errors of mount(2)", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      file = folder <> "/file"
      File.write!(file, "")

      for type <- ["proc", "tmpfs"] do
        mount = &Mount.mount("", &1, type, &2, &3, ns, pidns, 0)
        assert {:error, {:mount, :enoent}} = mount.(folder <> "/no", 0, "")
        assert {:error, {:mount, :enotdir}} = mount.(file, 0, "")
        assert {:error, {:mount, :einval}} = mount.(folder, 0, "nosuchoption")
        # What the look-up of the target says comes before what the options say.
        assert {:error, {:mount, :enoent}} = mount.(folder <> "/no", 0, "nosuchoption")
        assert {:error, {:mount, :enoent}} = mount.("", 0, "")
      end
    end

    test "stage fork: no process to be had", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      vm = Vm.start()
      mount = &Vm.call(vm, Mount, :mount, ["", folder, &1, 0, "", ns, pidns, 0])

      TaskLimit.set!(vm, 0)
      assert {:error, {:thread, :eagain}} = mount.("tmpfs")
      TaskLimit.set!(vm, 1)
      assert {:error, {:fork, :eagain}} = mount.("tmpfs")
      TaskLimit.set!(vm, 2)
      assert :ok = mount.("tmpfs")
    end

    test "stage fork: the init of the namespace is gone", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context
      [ns, pidns] = HeldOpen.paths([ns, pidns])
      Container.stop(container)

      for type <- ["proc", "tmpfs"] do
        assert {:error, {:fork, :enomem}} = Mount.mount("", folder, type, 0, "", ns, pidns, 0)
      end
    end

    test "each refused system call is its own stage", context do
      %{ns: ns, pidns: pidns, folder: folder} = context

      for {rule, reason} <- [
            {"setns-pid=EPERM", {:setns_pid, :eperm}},
            {"setns-pid=ENOMEM", {:setns_pid, :enomem}},
            {"mount=EINTR", {:mount, 4}},
            {"mount=524", {:mount, 524}}
          ] do
        vm = Vm.start(wrap: Harness.seccomp(rule))
        before = Vm.call(vm, Machine, :snapshot, [])
        result = Vm.call(vm, Mount, :mount, ["", folder, "tmpfs", 0, "", ns, pidns, 0])
        assert {rule, result} == {rule, {:error, reason}}
        assert Vm.call(vm, Machine, :changes, [before]) == []
        Vm.stop(vm)
      end
    end
  end

  describe "with create_target" do
    test "an empty regular file of mode 0644 is made where there is nothing" do
      folder = Folder.make!()
      tmpfs!(folder)
      node = folder <> "/null"
      assert :ok = Mount.mount("/dev/null", node, "", @bind, "", "", "", 1)
      assert %File.Stat{type: :device, major_device: _} = File.stat!(node)
      assert :ok = File.write(node, "gone")
      assert {:ok, ""} = File.read(node)
      assert :ok = Mount.umount(node, 0, "")

      assert %File.Stat{type: :regular, size: 0, mode: mode} = File.stat!(node)
      assert Bitwise.band(mode, 0o777) == 0o644
    end

    test "it is made in the target namespace only" do
      container = Container.start([:mount])
      folder = Folder.make!()
      tmpfs!(folder, container)
      ns = Container.ns_path(container, :mnt)

      for {pidns, name} <- [{"", "zero"}, {"/proc/self/ns/pid", "full"}] do
        node = "#{folder}/#{name}"
        assert :ok = Mount.mount("/dev/#{name}", node, "", @bind, "", ns, pidns, 1)
        refute File.exists?(node)
        assert Container.sh!(container, "test -c #{node} && echo device") == "device\n"
      end
    end

    test "a file that is there keeps its content" do
      folder = Folder.make!()
      tmpfs!(folder)
      file = folder <> "/file"
      File.write!(file, "content")
      assert :ok = Mount.mount("/dev/null", file, "", @bind, "", "", "", 1)
      assert :ok = Mount.umount(file, 0, "")
      assert File.read!(file) == "content"
    end

    test "a directory that is there is used, for a bind and for any other mount" do
      folder = Folder.make!()
      tmpfs!(folder)
      directory = folder <> "/directory"
      File.mkdir!(directory)

      for {source, type, flags} <- [{"/dev", "", @bind}, {"", "tmpfs", 0}] do
        assert :ok = Mount.mount(source, directory, type, flags, "", "", "", 1)
        assert MountInfo.at(directory)
        assert :ok = Mount.umount(directory, 0, "")
      end
    end

    test "a bind is the same with and without it" do
      folder = Folder.make!()
      tmpfs!(folder)

      for name <- ~w(source source/deep by_name by_descriptor),
          do: File.mkdir!("#{folder}/#{name}")

      tmpfs!(folder <> "/source/deep")

      for flags <- [@bind, @bind + @rec, @bind + @rdonly, @bind + 0xC0ED0000] do
        [by_name, by_descriptor] =
          for {name, create} <- [{"by_name", 0}, {"by_descriptor", 1}] do
            target = "#{folder}/#{name}"
            assert :ok = Mount.mount(folder <> "/source", target, "", flags, "", "", "", create)

            mounts =
              for %{mount_point: point} = mount <- MountInfo.list(),
                  String.starts_with?(point, target) do
                %{mount | id: nil, parent: nil, mount_point: Path.relative_to(point, target)}
              end

            assert :ok = Mount.umount(target, 2, "")
            mounts
          end

        assert by_name == by_descriptor
        assert length(by_name) == if(flags == @bind + @rec, do: 2, else: 1)
      end
    end

    test "a bind fails with the errors of mount(2)" do
      folder = Folder.make!()
      tmpfs!(folder)
      file = folder <> "/file"
      directory = folder <> "/directory"
      File.write!(file, "")
      File.mkdir!(directory)
      File.ln_s!("loop", folder <> "/loop")
      long = String.duplicate("x", 5_000)

      for {source, target, type, flags, errno} <- [
            {"/dev/null", directory, "", @bind, :enotdir},
            {"/dev", file, "", @bind, :enotdir},
            {folder <> "/no", file, "", @bind, :enoent},
            {file <> "/x", file, "", @bind, :enotdir},
            {folder <> "/loop", file, "", @bind, :eloop},
            {"", file, "", @bind, :einval},
            {long, file, "", @bind, :einval},
            {"/dev/null", file, long, @bind, :einval},
            {"/" <> String.duplicate("x", 256), file, "", @bind, :enametoolong},
            {"/proc/self/ns/mnt", file, "", @bind, :einval},
            {"/dev/null", file, "", @bind + 0x80000000, :einval},
            {"", file, "", @bind + @remount, :einval}
          ],
          create <- [0, 1] do
        result = Mount.mount(source, target, type, flags, "", "", "", create)

        assert {source, target, create, result} ==
                 {source, target, create, {:error, {:mount, errno}}}
      end
    end

    test "an unbindable source and a locked-down caller fail as in mount(2)" do
      folder = Folder.make!()
      tmpfs!(folder)
      for name <- ~w(source target), do: File.mkdir!("#{folder}/#{name}")
      tmpfs!(folder <> "/source")
      # MS_UNBINDABLE
      assert :ok = Mount.mount("", folder <> "/source", "", 131_072, "", "", "", 0)

      user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
      vm = Vm.start(wrap: user)

      for create <- [0, 1] do
        args = [folder <> "/source", folder <> "/target", "", @bind, "", "", "", create]
        assert {:error, {:mount, :einval}} = apply(Mount, :mount, args)
        assert {:error, {:mount, :eperm}} = Vm.call(vm, Mount, :mount, args)
      end
    end

    test "stage create: what the creation of a file answers" do
      folder = Folder.make!()
      tmpfs!(folder)
      File.write!(folder <> "/file", "")
      mount = &Mount.mount("/dev/null", &1, "", @bind, "", "", "", 1)
      assert {:error, {:create, :enoent}} = mount.(folder <> "/no/null")
      assert {:error, {:create, :enotdir}} = mount.(folder <> "/file/null")
      name = String.duplicate("x", 256)
      assert {:error, {:create, :enametoolong}} = mount.("#{folder}/#{name}")
      assert {:error, {:create, :enoent}} = mount.("")

      assert :ok = Mount.mount("", folder, "", @remount + @rdonly, "", "", "", 0)
      assert {:error, {:create, :erofs}} = mount.(folder <> "/null")
    end

    test "the file stays if the mount fails" do
      folder = Folder.make!()
      node = folder <> "/node"
      assert {:error, {:mount, :enoent}} = Mount.mount("/no", node, "", @bind, "", "", "", 1)
      assert File.stat!(node).size == 0
    end

    test "stage create comes after setns and before open_pidns" do
      container = Container.start([:mount])
      ns = Container.ns_path(container, :mnt)
      mount = &Mount.mount("", "/no/such/target", "tmpfs", 0, "", &1, &2, 1)
      assert {:error, {:setns, :einval}} = mount.("/proc/self/stat", "")
      assert {:error, {:create, :enoent}} = mount.(ns, "")
      assert {:error, {:create, :enoent}} = mount.(ns, "/nonexistent")
      assert {:error, {:create, :enoent}} = mount.(ns, "/proc/self/stat")
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
