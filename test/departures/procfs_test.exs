defmodule LinxNative.ProcfsTest do
  @moduledoc """
  The two ways to mount as seen from a PID namespace, without a process and by a child, give the same results.
  """

  use LinxNative.Test.Case

  @flags %{
    rdonly: 1,
    nosuid: 2,
    nodev: 4,
    noexec: 8,
    synchronous: 16,
    dirsync: 128,
    nosymfollow: 256,
    noatime: 1024,
    nodiratime: 2048,
    silent: 32_768,
    relatime: 0x200000,
    strictatime: 0x1000000,
    lazytime: 0x2000000,
    magic: 0xC0ED0000
  }

  # Only mount(2) takes such a long source, so a child has to mount.
  @long String.duplicate("s", 300)

  setup do
    container = Container.start([:mount, :pid])
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    %{container: container, ns: ns, pidns: pidns, folder: Folder.make!()}
  end

  # A VM in which the mount API is not there, as before Linux 5.2, and one that has all of it.
  defp vms do
    [Vm.start(wrap: Harness.seccomp("fsopen=ENOSYS")), Vm.start()]
  end

  test "flags and options have the same effect", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder} = context
    vms = vms()
    all = Map.values(@flags)
    f = @flags

    flags =
      [0, f.strictatime + f.noatime, f.noatime + f.nodiratime, f.strictatime + f.nodiratime] ++
        [f.rdonly + f.nosuid + f.nodev + f.noexec, Enum.sum(all) - f.strictatime - f.noatime] ++
        all

    requests =
      for(flags <- flags, do: {"proc", flags, ""}) ++
        for data <- [
              "hidepid=2",
              "hidepid=invisible,gid=7",
              "subset=pid",
              ",,hidepid=1,,",
              "=x,subset=pid",
              "ro",
              "rw",
              "sync,dirsync,lazytime",
              "gid=",
              "hidepid=9",
              "hidepid",
              "nosuchoption",
              "source=other",
              "subset=nothing",
              String.duplicate("x", 300),
              "hidepid=" <> String.duplicate("2", 300)
            ],
            do: {"proc", 0, data}

    sources =
      for source <- ["", "name with spaces", String.duplicate("s", 300)], do: {source, 0, ""}

    for {source, flags, data} = request <- requests ++ sources do
      [without, with_process] =
        for vm <- vms do
          args = [source, folder, "proc", flags, data, ns, pidns, 0]
          result = Vm.call(vm, Mount, :mount, args)
          {result, seen(container, folder, result)}
        end

      assert {request, without} == {request, with_process}
    end
  end

  # Returns the mount, after a check that it shows the processes of the container.
  defp seen(container, folder, :ok) do
    mount = Container.mount_at(container, folder)
    shown = Container.sh!(container, "cat #{folder}/1/comm")
    Container.sh!(container, "umount #{folder}")
    {shown, %{mount | id: nil, parent: nil, device: nil}}
  end

  defp seen(container, folder, {:error, _}), do: Container.mount_at(container, folder)

  test "errors are the same", %{ns: ns, pidns: pidns, folder: folder} do
    vms = vms()
    file = folder <> "/file"
    File.write!(file, "")
    File.ln_s!("loop", folder <> "/loop")
    long = String.duplicate("x", 5_000)

    for {source, target, flags, data, reason} <- [
          {"", folder <> "/no", 0, "", {:mount, :enoent}},
          {"", folder <> "/no", 0, "nosuchoption", {:mount, :enoent}},
          {"", "", 0, "", {:mount, :enoent}},
          {"", file, 0, "", {:mount, :enotdir}},
          {"", file, 0, "nosuchoption", {:mount, :einval}},
          {"", file <> "/x", 0, "", {:mount, :enotdir}},
          {"", folder <> "/loop", 0, "", {:mount, :eloop}},
          {long, folder, 0, "", {:mount, :einval}},
          {"", "/" <> String.duplicate("x", 256), 0, "", {:mount, :enametoolong}},
          # MS_NOUSER
          {"", folder, 0x80000000, "", {:mount, :einval}}
        ],
        vm <- vms do
      result = Vm.call(vm, Mount, :mount, [source, target, "proc", flags, data, ns, pidns, 0])
      assert {target, data, result} == {target, data, {:error, reason}}
    end
  end

  # Asks the kernel whether procfs takes a PID namespace as an option.
  defp without_process?, do: Harness.can?("procfs-of-a-pid-namespace")

  test "a child mounts if the kernel cannot mount without a process", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder} = context
    args = ["", folder, "proc", 0, "", ns, pidns, 0]

    for rule <- ~w(fsopen=ENOSYS fsconfig-fd=EINVAL) do
      vm = Vm.start(wrap: Harness.seccomp(rule))
      before = Vm.call(vm, Machine, :snapshot, [])
      assert {rule, Vm.call(vm, Mount, :mount, args)} == {rule, :ok}
      assert Container.mount_at(container, folder)
      Container.sh!(container, "umount #{folder}")
      assert Vm.call(vm, Machine, :changes, [before]) == []
      Vm.stop(vm)
    end
  end

  test "any other error of a mount without a process is returned", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder} = context
    args = ["", folder, "proc", 0, "", ns, pidns, 0]

    for {rule, errno} <- [
          {"fsopen=EPERM", :eperm},
          {"fsopen=EMFILE", :emfile},
          {"fsconfig=EINTR", 4},
          {"fsmount=ENOMEM", :enomem},
          {"fsmount=ENOSPC", 28},
          {"move_mount=EPERM", :eperm},
          {"move_mount=ENOSYS", 38}
        ] do
      vm = Vm.start(wrap: Harness.seccomp(rule))
      before = Vm.call(vm, Machine, :snapshot, [])
      # A kernel without that way does not come to what fails later, and goes on by a child.
      rust = if without_process?(), do: {:error, {:mount, errno}}, else: answer_before_child(rule)
      expected = if rust == :ok, do: :ok, else: expect(:D10, rust: rust, c: :ok)
      assert {rule, Vm.call(vm, Mount, :mount, args)} == {rule, expected}
      if expected == :ok, do: Container.sh!(container, "umount #{folder}")
      refute Container.mount_at(container, folder)
      assert Vm.call(vm, Machine, :changes, [before]) == []
      Vm.stop(vm)
    end
  end

  defp answer_before_child("fsopen=EPERM"), do: {:error, {:mount, :eperm}}
  defp answer_before_child("fsopen=EMFILE"), do: {:error, {:mount, :emfile}}
  defp answer_before_child("fsconfig=EINTR"), do: {:error, {:mount, 4}}
  defp answer_before_child(_), do: :ok

  test "three descriptors are enough", context do
    %{ns: ns, pidns: pidns, folder: folder} = context
    vm = Vm.start(wrap: ["prlimit", "--nofile=256:256", "--"])
    args = ["", folder, "proc", 0, "", ns, pidns, 0]
    assert :ok = Vm.call(vm, Descriptors, :with_only, [3, Mount, :mount, args])
  end

  test "the child is reaped, however the VM handles SIGCHLD", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder} = context
    vm = Vm.start()

    for handling <- [:default, :ignore, :handle] do
      Vm.call(vm, :os, :set_signal, [:sigchld, handling])
      before = Vm.call(vm, Machine, :snapshot, [])

      for _ <- 1..20 do
        args = [@long, folder, "proc", 0, "", ns, pidns, 0]
        assert :ok = Vm.call(vm, Mount, :mount, args)
      end

      assert Vm.call(vm, Machine, :changes, [before]) == []
    end

    Container.sh!(container, "umount --recursive --lazy #{folder}")
  end

  test "a mount that fails leaves no child", %{ns: ns, pidns: pidns, folder: folder} do
    before = Machine.snapshot()
    args = [@long, folder, "proc", 0, "nosuchoption", ns, pidns, 0]
    for _ <- 1..100, do: {:error, {:mount, :einval}} = apply(Mount, :mount, args)
    assert Machine.changes(before) == []
  end

  test "with create_target it goes onto the file that was checked", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder} = context
    mount = &Mount.mount("", &1, "proc", 0, "", ns, pidns, 1)
    assert {:error, {:mount, :enotdir}} = mount.(folder <> "/new")
    assert File.stat!(folder <> "/new").size == 0
    assert :ok = mount.(folder)
    assert %{fstype: "proc"} = Container.mount_at(container, folder)
    # Nothing can be made in a procfs.
    assert {:error, {:create, :enoent}} = mount.(folder <> "/new")
  end
end
