defmodule LinxNative.Mount.PidfdTest do
  @moduledoc """
  Namespaces of `LinxNative.Mount` that are given by the descriptor of a process, in each option that takes one.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{Fuse, MappedContainer}

  @moduletag :mount

  @pidfd 9
  @of_pidfd {:fd, @pidfd}

  # A VM with a pidfd of a container, in which `folder` is a tmpfs of its own.
  defp prepare(container) do
    folder = Folder.make!()
    :ok = Mount.mount("tmpfs", folder, in: {:pid, container.pid}, options: [mode: 755])
    vm = Vm.start(wrap: Harness.pidfd(container.pid, @pidfd))
    call = fn function, arguments -> Vm.call(vm, Mount, function, arguments) end
    %{folder: folder, vm: vm, call: call}
  end

  defp seen(container, path), do: "/proc/#{container.pid}/root#{path}"

  test "every function finds its target there, and bind/3 its source" do
    container = Container.start([:mount])
    %{folder: folder, vm: vm, call: call} = prepare(container)
    [path, moved, bound] = for name <- ~w(path moved bound), do: "#{folder}/#{name}"
    at = &Container.mount_at(container, &1)
    there = [in: @of_pidfd]
    made = there ++ [create: :directory]
    before = Vm.call(vm, Machine, :snapshot, [])

    assert :ok = call.(:mount, ["tmpfs", path, made])
    assert %{fstype: "tmpfs"} = at.(path)
    File.write!(seen(container, path <> "/file"), "theirs")
    assert :ok = call.(:set, [path, there ++ [attributes: [:noexec]]])
    assert "noexec" in at.(path).options
    assert :ok = call.(:move, [path, moved, made])
    assert at.(moved) && !at.(path)

    # The source there, and the target here and there.
    here = Folder.make!()
    assert :ok = call.(:bind, [moved, here, [from: @of_pidfd]])
    assert File.read!(here <> "/file") == "theirs"
    assert :ok = call.(:umount, [here])
    assert :ok = call.(:bind, [moved, bound, made ++ [from: @of_pidfd]])
    assert File.read!(seen(container, bound <> "/file")) == "theirs"

    # So are the layers of an overlay.
    overlay = folder <> "/overlay"
    layers = [options: [lowerdir: [moved, folder]], from: @of_pidfd]
    assert :ok = call.(:mount, ["overlay", overlay, made ++ layers])
    assert File.read!(seen(container, overlay <> "/file")) == "theirs"
    assert :ok = call.(:umount, [overlay, there])

    assert :ok = call.(:umount, [bound, there ++ [detach: true]])
    assert :ok = call.(:pivot_root, [moved, moved <> "/old", made])
    assert Enum.sort(File.ls!(seen(container, "/"))) == ~w(file old)
    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  test "a procfs shows the processes of its PID namespace" do
    container = Container.start([:mount, :pid])
    %{folder: folder, call: call} = prepare(container)
    options = [in: @of_pidfd, pid_namespace: @of_pidfd]
    result = call.(:mount, ["proc", folder, options])

    if Harness.can?("namespace-of-a-pidfd") do
      assert :ok = result
      assert Container.sh!(container, "cat #{folder}/1/comm") == "linx_harness\n"
      # Not by the VM's pid, which may be one of the container too.
      refute Container.sh!(container, "cat #{folder}/[0-9]*/comm") =~ "beam.smp"
    else
      assert {:error, %Error{stage: {:open, :pid_namespace}, reason: :enotty}} = result
    end
  end

  @tag :machine_root
  test "ids are mapped by its user namespace" do
    container = MappedContainer.start()
    %{folder: folder, call: call} = prepare(container)
    bound = folder <> "/bound"
    # The tmpfs is mounted on the host, so it belongs to root.
    source = Folder.make!()
    Folder.tmpfs!(source)
    options = [in: @of_pidfd, create: :directory, id_map: @of_pidfd]
    result = call.(:bind, [source, bound, options])

    cond do
      not Harness.can?("namespace-of-a-pidfd") ->
        assert {:error, %Error{stage: {:open, :id_map}, reason: :enotty}} = result

      not Harness.can?("id-map-of-a-tmpfs") ->
        assert {:error, %Error{stage: :id_map, reason: :einval}} = result

      true ->
        assert :ok = result
        assert MappedContainer.sh!(container, "stat -c %u #{bound}") == "0"
    end
  end

  @tag :machine_root
  test "a file of a container is neither a namespace nor a pidfd, whatever its FUSE returns from ioctl(2)" do
    container = Container.start([:mount])
    folder = Folder.make!()
    container |> Fuse.mount!(folder) |> Fuse.answer()
    vm = Vm.start()
    {:ok, fd} = Vm.call(vm, NetlinkSocket, :open_in_netns, ["/proc/self/ns/net", 0])
    before = Vm.call(vm, Machine, :snapshot, [])

    # The number of a descriptor of the VM, and those of CLONE_NEWPID, CLONE_NEWUSER and CLONE_NEWNET.
    for number <- [fd, 0x2000_0000, 0x1000_0000, 0x4000_0000] do
      file = {:path, seen(container, "#{folder}/file#{number}")}

      for {function, arguments, option} <- [
            {:mount, ["proc", folder, [pid_namespace: file]], :pid_namespace},
            {:bind, [folder, folder, [id_map: file]], :id_map}
          ] do
        assert {:error, %Error{stage: stage, reason: reason}} =
                 Vm.call(vm, Mount, function, arguments)

        assert {number, stage, reason} == {number, {:open, option}, :enotty}
      end

      assert {:error, %{stage: :open, reason: :einval}} =
               Vm.call(vm, LinxNative, :netns_id, [file])
    end

    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  test "a process that has ended is an error" do
    container = Container.start([:mount])
    %{folder: folder, call: call} = prepare(container)
    Container.stop(container)

    for {function, arguments, option} <- [
          {:mount, ["tmpfs", folder, [in: @of_pidfd]], :in},
          {:bind, [folder, folder, [in: @of_pidfd]], :in},
          {:bind, [folder, folder, [from: @of_pidfd]], :from},
          {:set, [folder, [in: @of_pidfd, attributes: [:ro]]], :in},
          {:move, [folder, folder, [in: @of_pidfd]], :in},
          {:umount, [folder, [in: @of_pidfd]], :in},
          {:umount, [folder, [in: @of_pidfd, detach: true]], :in},
          {:pivot_root, [folder, folder, [in: @of_pidfd]], :in}
        ] do
      assert {:error, %Error{stage: stage, reason: :esrch}} = call.(function, arguments)
      assert {function, stage} == {function, {:enter, option}}
    end
  end
end
