defmodule LinxNative.Mount.StagesTest do
  @moduledoc """
  Each documented stage of `LinxNative.Mount` fails, and leaves nothing: as root, and as an ordinary user in a user namespace
  of its own.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.MountCalls

  @moduletag :mount
  @moduletag :machine_root

  @private ~w(unshare --mount --propagation=private --)
  @user ~w(unshare --user --map-root-user --mount --propagation=private --)

  # Calls that the kernel refuses, with the reason. `folder` is a private tmpfs with a mount on `mount`.
  defp refused(folder) do
    at = &"#{folder}/#{&1}"
    no_file = {:path, "/nonexistent"}
    other = {:path, "/proc/self/ns/net"}
    made = [create: :directory]

    [
      {{:open, :in}, :enoent, :mount, ["tmpfs", at.("new"), [in: no_file]]},
      {{:open, :in}, :enoent, :set, [at.("mount"), [in: no_file, attributes: [:ro]]]},
      {{:open, :in}, :ebadf, :move, [at.("mount"), at.("new"), [in: {:fd, 0x7FFFFFFF}]]},
      {{:open, :in}, :enoent, :umount, [at.("mount"), [in: no_file]]},
      {{:open, :in}, :enoent, :pivot_root, [at.("mount"), at.("mount"), [in: no_file]]},
      {{:open, :from}, :enoent, :bind, ["/proc", at.("mount"), [from: no_file]]},
      {{:open, :pid_namespace}, :einval, :mount, ["proc", at.("mount"), [pid_namespace: other]]},
      {{:open, :id_map}, :einval, :bind, ["/proc", at.("mount"), [id_map: other]]},
      {{:enter, :in}, :einval, :mount, ["tmpfs", at.("mount"), [in: other]]},
      {{:enter, :from}, :einval, :bind, ["/proc", at.("mount"), [from: other]]},
      {:source, :enoent, :bind, [at.("none"), at.("new"), made]},
      {:source, :eloop, :move, [at.("link/x"), at.("new"), made]},
      {:target, :enoent, :mount, ["tmpfs", at.("none")]},
      {:target, :eloop, :umount, [at.("link/x")]},
      {:layer, :enoent, :mount, ["overlay", at.("mount"), [options: [lowerdir: at.("none")]]]},
      {:new_root, :enoent, :pivot_root, [at.("none"), at.("none")]},
      {:put_old, :enoent, :pivot_root, [at.("mount"), at.("mount/none")]},
      {:clone, :einval, :bind, [at.("unbindable"), at.("new"), made]},
      {:file_system, :enodev, :mount, ["nosuchfs", at.("new"), made]},
      {{:option, "size"}, :einval, :mount, ["tmpfs", at.("new"), made ++ [options: [size: "x"]]]},
      {:superblock, :einval, :mount, ["overlay", at.("new"), made]},
      {:attributes, :einval, :set, [at.("plain"), [attributes: [:ro]]]},
      {:user_namespace, :einval, :bind,
       ["/proc", at.("mount"), [id_map: [{0, 0, 2}, {1, 2, 1}]]]},
      {:id_map, :einval, :bind, ["/proc", at.("new"), made ++ [id_map: [{0, 0, 1}]]]},
      {:create, :enoent, :mount, ["tmpfs", at.("none/new"), made]},
      {:attach, :enotdir, :bind, [at.("file"), at.("new"), made]},
      {:attach, :einval, :move, [at.("plain"), at.("new"), made]},
      {:umount, :einval, :umount, [at.("plain")]},
      {:umount, :einval, :umount, [at.("plain"), [detach: true]]},
      {:pivot_root, :einval, :pivot_root, [at.("plain"), at.("plain")]}
    ]
  end

  # Calls that only a filter makes fail on every machine. `{:path, nil}` stands for a PID namespace.
  defp filtered(folder) do
    mount = folder <> "/mount"
    procfs = [pid_namespace: {:path, nil}]

    [
      {:unshare, :eperm, "unshare-fs=EPERM", :set, [mount, [attributes: [:ro]]]},
      {:unshare, :eperm, "unshare-fs=EPERM", :bind, ["/proc", mount]},
      {:fork, :eagain, "fsconfig-fd=EINVAL,clone-vm-process=EAGAIN", :mount,
       ["proc", mount, procfs]},
      {{:enter, :pid_namespace}, :eperm, "fsconfig-fd=EINVAL,setns-pid=EPERM", :mount,
       ["proc", mount, procfs]}
    ]
  end

  defp prepare!(vm, folder) do
    call = fn function, arguments -> Vm.call(vm, Mount, function, arguments) end
    :ok = call.(:mount, ["tmpfs", folder, [options: [mode: 755]]])
    :ok = call.(:set, [folder, [propagation: :private]])

    for name <- ~w(mount unbindable) do
      mount = ["tmpfs", "#{folder}/#{name}", [create: :directory, propagation: :private]]
      :ok = call.(:mount, mount)
    end

    :ok = call.(:set, [folder <> "/unbindable", [propagation: :unbindable]])
    :ok = Vm.call(vm, File, :mkdir, [folder <> "/plain"])
    :ok = Vm.call(vm, File, :write, [folder <> "/file", ""])
    :ok = Vm.call(vm, File, :ln_s, ["mount", folder <> "/link"])
    vm
  end

  defp state(vm, folder) do
    mounts = for mount <- MountInfo.list(vm.os_pid), do: {mount.mount_point, mount.options}
    {:ok, files} = Vm.call(vm, File, :ls, [folder])
    {mounts, Enum.sort(files)}
  end

  defp fails(vm, folder, {stage, reason, function, arguments}) do
    state = state(vm, folder)
    assert {:error, %Error{} = error} = Vm.call(vm, Mount, function, arguments)

    assert {function, arguments, error.stage, error.reason} ==
             {function, arguments, stage, reason}

    assert Exception.message(error) =~ "cannot"
    assert {stage, state(vm, folder)} == {stage, state}
    stage
  end

  # `pid_namespace` starts one for a VM, and returns its file.
  defp all_fail(start, pid_namespace) do
    folder = Folder.make!()
    File.chmod!(folder, 0o777)
    vm = prepare!(start.([]), folder)
    before = Vm.call(vm, Machine, :snapshot, [])
    stages = for call <- refused(folder), do: fails(vm, folder, call)
    assert Vm.call(vm, Machine, :changes, [before]) == []

    filtered =
      for {stage, reason, filter, function, arguments} <- filtered(folder) do
        # Prepared from outside: some filters forbid that.
        vm = start.(Harness.seccomp(filter))
        in_vm = {:path, "/proc/#{vm.os_pid}/ns/mnt"}
        :ok = Mount.mount("tmpfs", folder, in: in_vm, options: [mode: 777])
        :ok = Mount.mount("tmpfs", folder <> "/mount", in: in_vm, create: :directory)
        before = Vm.call(vm, Machine, :snapshot, [])
        fails(vm, folder, {stage, reason, function, with_namespace(arguments, vm, pid_namespace)})
        assert Vm.call(vm, Machine, :changes, [before]) == []
        stage
      end

    # By the option that is documented for all of them.
    for stage <- stages ++ filtered, uniq: true do
      if is_tuple(stage) and elem(stage, 0) in [:open, :enter],
        do: put_elem(stage, 1, :in),
        else: stage
    end
  end

  defp with_namespace([type, path, [pid_namespace: {:path, nil}]], vm, pid_namespace),
    do: [type, path, [pid_namespace: {:path, pid_namespace.(vm)}]]

  defp with_namespace(arguments, _vm, _pid_namespace), do: arguments

  test "each stage fails as root" do
    pid_namespace = fn _vm -> Container.ns_path(Container.start([:pid]), :pid) end
    stages = all_fail(fn wrap -> Vm.start(wrap: wrap ++ @private) end, pid_namespace)
    vm = Vm.start(wrap: @private)
    before = Vm.call(vm, Machine, :snapshot, [])
    TaskLimit.set!(vm, 0)

    for {function, arguments} <- [
          mount: ["tmpfs", "/mnt"],
          bind: ["/proc", "/mnt"],
          set: ["/proc", [attributes: [:ro]]],
          move: ["/proc", "/mnt"],
          umount: ["/proc"],
          pivot_root: ["/proc", "/proc"]
        ] do
      mounts = MountInfo.list(vm.os_pid)

      assert {:error, %Error{stage: :thread, reason: :eagain}} =
               Vm.call(vm, Mount, function, arguments)

      assert MountInfo.list(vm.os_pid) == mounts
    end

    assert Vm.call(vm, Machine, :changes, [before]) == []
    assert Enum.sort([:thread | stages]) == Enum.sort(MountCalls.documented_stages())
  end

  test "each stage fails as an ordinary user in a user namespace of its own" do
    start = fn wrap -> Vm.start(wrap: wrap, user: :nobody, as_user: @user) end
    stages = all_fail(start, &pid_namespace_of_user/1)
    assert Enum.sort([:thread | stages]) == Enum.sort(MountCalls.documented_stages())
  end

  # One that belongs to the user namespace of the VM.
  defp pid_namespace_of_user(vm) do
    as_user = ~w(--reuid=65534 --regid=65534 --clear-groups -- nsenter)
    inner = ["--target", vm.os_pid, "--user", "--preserve-credentials", "--", "sh", "-c"]
    script = "echo $$; exec unshare --pid --fork --kill-child sh -c 'echo ready; read end'"
    program = Program.start!("setpriv", as_user ++ inner ++ [script])
    pid = Program.line!(program)
    "ready" = Program.line!(program)
    "/proc/#{pid}/ns/pid_for_children"
  end
end
