defmodule LinxNative.MountPidNamespaceTest do
  @moduledoc """
  `Linx.Mount.Native.mount/8` as seen from a PID namespace, each stage reached by making that step fail.
  """

  use LinxNative.Test.Case

  @rdonly 1
  @bind 4096

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
      # Only processes of sh! come and go. The VM is not among them.
      assert "1" in shown
      refute Container.sh!(container, "cat #{folder}/[0-9]*/comm 2>/dev/null; true") =~ "beam"
      assert Container.sh!(container, "cat #{folder}/1/comm") =~ "linx_harness"
      refute MountInfo.at(folder)
    end

    test "without a PID namespace a procfs shows the VM's", context do
      %{container: container, ns: ns, folder: folder} = context
      assert :ok = Mount.mount("proc", folder, "proc", 0, "", ns, "", 0)
      assert Container.sh!(container, "cat #{folder}/#{System.pid()}/comm") =~ "beam"
    end

    @tag :machine_root
    test "any file system can be mounted", context do
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
        # An error of the target has priority over an error of the options.
        assert {:error, {:mount, :enoent}} = mount.(folder <> "/no", 0, "nosuchoption")
        assert {:error, {:mount, :enoent}} = mount.("", 0, "")
      end
    end

    test "stage mount: a source that is too long is refused, whatever the target is", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      file = folder <> "/file"
      File.write!(file, "")

      for target <- [folder, file], length <- [4_096, 5_000], create <- [0, 1] do
        source = String.duplicate("s", length)
        result = Mount.mount(source, target, "proc", 0, "", ns, pidns, create)

        assert {target, length, create, result} ==
                 {target, length, create, {:error, {:mount, :einval}}}
      end
    end

    @tag :machine_root
    test "stage fork: no process can be made", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      vm = Vm.start()
      mount = &Vm.call(vm, Mount, :mount, ["", folder, &1, 0, "", ns, pidns, 0])

      TaskLimit.set!(vm, 0)
      assert {:error, {:thread, :eagain}} = mount.("tmpfs")
      TaskLimit.set!(vm, 1)

      # Depends on the PID namespace of the process that mounts it: a child, whatever the kernel and the implementation.
      assert {:error, {:fork, :eagain}} = mount.("autofs")
      TaskLimit.set!(vm, 2)
      assert :ok = mount.("tmpfs")
    end

    test "stage fork: the init of the namespace has ended", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context
      [ns, pidns] = PinnedNamespaces.paths([ns, pidns])
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
end
