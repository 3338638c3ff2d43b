defmodule LinxNative.Mount.UserTest do
  @moduledoc """
  `LinxNative.Mount` for an ordinary user: without privileges, and as the root of a user namespace of its own.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error

  @moduletag :mount
  @moduletag :machine_root

  defp call(vm, function, arguments), do: Vm.call(vm, Mount, function, arguments)

  test "without privileges the errors name the needed capabilities" do
    vm = Vm.start(user: :nobody)
    container = Container.start([:mount])

    for {function, arguments, stage} <- [
          {:mount, ["tmpfs", "/mnt"], :file_system},
          {:bind, ["/etc", "/mnt"], :clone},
          {:set, ["/", [attributes: [:ro]]], :attributes},
          {:umount, ["/proc"], :umount},
          {:move, ["/proc", "/mnt"], :attach},
          {:pivot_root, ["/proc", "/proc"], :pivot_root}
        ] do
      assert {:error, %Error{stage: found, reason: :eperm} = error} =
               call(vm, function, arguments)

      assert {function, found} == {function, stage}
      assert Exception.message(error) =~ "CAP_SYS_ADMIN"
    end

    assert {:error, %Error{stage: {:open, :in}, reason: :eacces} = error} =
             call(vm, :mount, ["tmpfs", "/mnt", [in: {:pid, container.pid}]])

    assert Exception.message(error) =~ "CAP_SYS_PTRACE"
  end

  test "as the root of a user namespace every function works" do
    folder = Folder.make!()
    File.chmod!(folder, 0o777)

    namespaces = [
      "unshare",
      "--user",
      "--map-root-user",
      "--mount",
      "--propagation=private",
      "--"
    ]

    vm = Vm.start(user: :nobody, as_user: namespaces)
    [mount, bound, moved] = for name <- ~w(mount bound moved), do: "#{folder}/#{name}"
    at = &MountInfo.at(vm.os_pid, &1)

    assert :ok =
             call(vm, :mount, ["tmpfs", folder, [options: [size: "1m"], attributes: [:nosuid]]])

    assert %{fstype: "tmpfs"} = at.(folder)
    assert :ok = call(vm, :mount, ["tmpfs", mount, [create: :directory]])
    mapped? = Harness.can?("id-map-of-a-tmpfs")
    bind = [create: :directory, attributes: [:ro]]
    id_map = if mapped?, do: [id_map: [{0, 0, 1}]], else: []
    assert :ok = call(vm, :bind, [mount, bound, bind ++ id_map])
    assert "ro" in at.(bound).options
    assert "idmapped" in at.(bound).options == mapped?
    assert :ok = call(vm, :set, [bound, [attributes: [:rw, :noexec]]])
    assert "noexec" in at.(bound).options
    assert :ok = call(vm, :move, [bound, moved, [create: :directory]])
    assert at.(moved) && !at.(bound)
    assert :ok = call(vm, :umount, [moved])
    assert :ok = call(vm, :umount, [mount, [detach: true]])
    refute at.(mount)

    # Mounts of the parent user namespace cannot be changed.
    assert {:error, %Error{stage: :umount, reason: :einval}} = call(vm, :umount, ["/proc"])

    # A container of this user.
    inner = ["--target", vm.os_pid, "--user", "--mount", "--preserve-credentials", "--"]
    namespaces = ~w(unshare --mount --propagation=private --pid --fork --kill-child -- sh -c)
    hold = ["sh", "-c", "echo $$; exec \"$@\"", "sh"] ++ namespaces ++ ["echo ready; read end"]
    as_user = ~w(--reuid=65534 --regid=65534 --clear-groups -- nsenter)
    program = Program.start!("setpriv", as_user ++ inner ++ hold)
    pid = program |> Program.line!() |> String.to_integer()
    "ready" = Program.line!(program)
    inside = {:pid, pid}
    assert :ok = call(vm, :mount, ["tmpfs", mount, [in: inside]])
    assert %{fstype: "tmpfs"} = MountInfo.at(pid, mount)
    refute at.(mount)

    # A procfs of its PID namespace, its files here, and an overlay of them there.
    [procfs, overlay] = for name <- ~w(procfs overlay), do: "#{mount}/#{name}"
    made = [in: inside, create: :directory]
    shown = [pid_namespace: {:path, "/proc/#{pid}/ns/pid_for_children"}]
    assert :ok = call(vm, :mount, ["proc", procfs, made ++ shown])
    assert %{fstype: "proc"} = MountInfo.at(pid, procfs)
    assert :ok = call(vm, :umount, [procfs, [in: inside]])
    # Only ids of the user namespace can write there.
    assert :ok = Vm.call(vm, File, :write, ["/proc/#{pid}/root#{mount}/file", "theirs"])
    assert :ok = call(vm, :bind, [mount, bound, [from: inside, create: :directory]])
    assert File.read!("/proc/#{vm.os_pid}/root#{bound}/file") == "theirs"
    assert :ok = call(vm, :umount, [bound])
    layers = [options: [lowerdir: [mount, "/etc"]], from: inside]
    assert :ok = call(vm, :mount, ["overlay", overlay, made ++ layers])
    assert File.read!("/proc/#{pid}/root#{overlay}/file") == "theirs"
    assert :ok = call(vm, :umount, [overlay, [in: inside]])

    for path <- [procfs, overlay, mount <> "/file"],
        do: Vm.call(vm, File, :rm_rf!, ["/proc/#{pid}/root#{path}"])

    assert :ok = call(vm, :pivot_root, [mount, mount <> "/old", [in: inside, create: :directory]])
    assert File.ls!("/proc/#{pid}/root") == ["old"]
  end
end
