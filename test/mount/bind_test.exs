defmodule LinxNative.Mount.BindTest do
  @moduledoc """
  `LinxNative.Mount.bind/3`: from the host into containers, out of them, and from one container into another.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{MappedContainer, MountCalls, SyscallStepper}

  @moduletag :mount

  # A source with a mount two deep, not shared; and what it is to be mounted on.
  setup do
    folder = Folder.make!()
    Folder.tmpfs!(folder)
    :ok = Mount.set(folder, propagation: :private)
    [source, target] = for name <- ~w(source target), do: "#{folder}/#{name}"
    Enum.each([source, target], &File.mkdir!/1)
    File.write!(source <> "/file", "here")
    on_exit(fn -> Mount.umount(source <> "/one", detach: true) end)
    :ok = Mount.mount("tmpfs", source <> "/one", create: :directory, propagation: :private)
    :ok = Mount.mount("tmpfs", source <> "/one/two", create: :directory, propagation: :private)
    File.write!(source <> "/one/two/deep", "deep")
    %{folder: folder, source: source, target: target}
  end

  defp inside(container), do: {:pid, container.pid}
  defp seen(container, path), do: "/proc/#{container.pid}/root#{path}"

  # Whether a bind with an id map succeeded. Only a kernel that cannot map the ids of a tmpfs may refuse.
  defp mapped?(result) do
    if Harness.can?("id-map-of-a-tmpfs") do
      assert result == :ok
    else
      assert {:error, %Error{stage: :id_map, reason: :einval} = error} = result
      assert Exception.message(error) =~ "tmpfs: 6.3"
      false
    end
  end

  # A container that sees nothing of the mounts of a test, with a target of its own.
  defp container!(folder, start \\ fn -> Container.start([:mount]) end) do
    container = start.()
    :ok = Mount.mount("tmpfs", folder, in: inside(container))
    container
  end

  describe "into a running container" do
    test "the source is looked up here, the target there", context do
      %{folder: folder, source: source} = context
      container = container!(folder)
      target = folder <> "/made"
      assert :ok = Mount.bind(source, target, in: inside(container), create: :directory)
      assert File.read!(seen(container, target <> "/file")) == "here"
      # Not recursive.
      assert File.ls!(seen(container, target <> "/one")) == []
      refute File.exists?(target)
      assert :ok = Mount.umount(target, in: inside(container))
    end

    test "binds a file", %{folder: folder, source: source} do
      container = container!(folder)
      target = folder <> "/made"

      for file <- [source <> "/file", "/dev/null"] do
        assert :ok = Mount.bind(file, target, in: inside(container), create: :file)
        assert File.stat!(seen(container, target)).inode == File.stat!(file).inode
        assert :ok = Mount.umount(target, in: inside(container))
      end
    end

    @tag :machine_root
    test "maps ids by the container's user namespace", %{folder: folder, source: source} do
      container = container!(folder, &MappedContainer.start/0)
      :ok = Mount.mount("tmpfs", "/mnt", in: inside(container), options: [mode: 755])
      stat = fn -> MappedContainer.sh!(container, "stat -c '%u:%g' /mnt/in/file") end
      bind = &Mount.bind(source, "/mnt/in", [in: inside(container), create: :directory] ++ &1)

      assert :ok = bind.([])
      assert stat.() == "65534:65534"
      assert :ok = Mount.umount("/mnt/in", in: inside(container))

      first = MappedContainer.first()

      for id_map <- [
            inside(container),
            {:path, Container.ns_path(container, :user)},
            [{0, first, 10}],
            [uids: [{0, first, 1}, {1, first + 1, 5}], gids: [{0, first, 1}]]
          ],
          mapped?(bind.(id_map: id_map, recursive: true)) do
        assert stat.() == "0:0"
        assert MappedContainer.sh!(container, "stat -c %u /mnt/in/one/two/deep") == "0"

        assert MappedContainer.sh!(container, "echo new > /mnt/in/new && stat -c %u /mnt/in/new") ==
                 "0"

        assert %{uid: 0} = File.stat!(source <> "/new")
        File.rm!(source <> "/new")
        assert :ok = Mount.umount("/mnt/in", in: inside(container), detach: true)
      end
    end

    test "does not propagate later mounts in either direction", context do
      %{folder: folder, source: source} = context
      # As systemd mounts the root of a machine.
      :ok = Mount.set(folder, propagation: :shared)
      container = container!(folder)
      target = folder <> "/made"
      assert :ok = Mount.bind(source, target, in: inside(container), create: :directory)
      File.mkdir!(source <> "/sub")
      :ok = Mount.mount("tmpfs", target <> "/sub", in: inside(container))
      refute MountInfo.at(source <> "/sub")
      :ok = Mount.umount(target <> "/sub", in: inside(container))
      :ok = Mount.umount(target, in: inside(container))

      # Unless it is asked for.
      assert :ok =
               Mount.bind(source, target,
                 in: inside(container),
                 propagation: :slave,
                 create: :directory
               )

      :ok = Mount.mount("tmpfs", source <> "/sub")
      assert Container.mount_at(container, target <> "/sub")
      :ok = Mount.umount(source <> "/sub")
      refute Container.mount_at(container, target <> "/sub")
      :ok = Mount.umount(target, in: inside(container))
      :ok = Mount.set(folder, propagation: :private)
    end
  end

  describe "out of a container" do
    test "to the host, and into another container", %{folder: folder, target: target} do
      [from, to] = for _ <- 1..2, do: container!(folder)
      File.mkdir!(seen(from, folder <> "/inside"))
      File.write!(seen(from, folder <> "/inside/file"), "theirs")

      assert :ok = Mount.bind(folder <> "/inside", target, from: inside(from))
      assert File.read!(target <> "/file") == "theirs"
      assert :ok = Mount.umount(target)

      made = folder <> "/made"

      assert :ok =
               Mount.bind(folder <> "/inside", made,
                 from: inside(from),
                 in: inside(to),
                 create: :directory
               )

      assert File.read!(seen(to, made <> "/file")) == "theirs"
      refute File.exists?(seen(from, made))
    end

    test "within the container", %{folder: folder} do
      container = container!(folder)
      for name <- ~w(a b), do: File.mkdir!(seen(container, "#{folder}/#{name}"))
      File.write!(seen(container, folder <> "/a/file"), "")
      there = [from: inside(container), in: inside(container)]
      assert :ok = Mount.bind(folder <> "/a", folder <> "/b", there)
      assert File.ls!(seen(container, folder <> "/b")) == ["file"]
    end

    test "within the container, whose namespace is looked up once, because its pid may be reused",
         %{folder: folder} do
      hold = SyscallStepper.start()
      MountCalls.load!(hold.vm)
      container = container!(folder)
      there = [from: inside(container), in: inside(container), create: :directory]

      {:ok, calls} =
        hold
        |> SyscallStepper.begin({Mount, :bind, [folder, folder <> "/made", there]})
        |> SyscallStepper.trace()

      assert Enum.count(calls, &(&1 == "setns")) == 1
    end

    test "does not follow the container's links", %{folder: folder, target: target} do
      container = container!(folder)
      File.ln_s!("/etc", seen(container, folder <> "/inside"))

      assert {:error, %Error{stage: :source, reason: :eloop}} =
               Mount.bind(folder <> "/inside", target, from: inside(container))

      refute MountInfo.at(target)
    end
  end

  describe "a tree" do
    test "is read-only recursively", %{source: source, target: target} do
      assert :ok = Mount.bind(source, target, recursive: true, attributes: [:ro, :nosuid])

      for path <- ["", "/one", "/one/two"] do
        assert ["ro", "nosuid"] -- MountInfo.at(target <> path).options == []
        assert File.write(target <> path <> "/new", "") == {:error, :erofs}
        # The source is not read-only.
        refute "ro" in MountInfo.at(source <> "/one").options
      end

      assert File.read!(target <> "/one/two/deep") == "deep"
      assert :ok = Mount.umount(target, detach: true)
    end

    test "with a mount namespace that would contain itself is an error, and nothing is mounted",
         context do
      %{folder: folder, source: source, target: target} = context
      File.write!(source <> "/one/ns", "")
      container = Await.until(fn -> bound_namespace(folder, source <> "/one/ns") end)
      before = Container.mountinfo(container)
      made = folder <> "/made"
      there = [in: inside(container)]

      assert {:error, %Error{stage: :attach, reason: :eloop, path: ^made} = error} =
               Mount.bind(source, made, there ++ [recursive: true, create: :directory])

      assert Exception.message(error) =~ "mount namespace"
      assert Container.mountinfo(container) == before
      refute File.exists?(seen(container, made))
      assert :ok = Mount.umount(source <> "/one/ns")
      assert File.ls!(target) == []
    end

    # A container whose mount namespace is bound to a file here, by its magic link, which the module does not follow. The kernel
    # binds only those with a number greater than ours, and since Linux 6.18 each CPU gives out numbers of its own.
    defp bound_namespace(folder, file) do
      container = container!(folder)
      ns = Container.ns_path(container, :mnt)

      case Linx.Mount.Native.mount(ns, file, "", 4096, "", "", "", 0) do
        :ok ->
          container

        {:error, {:mount, :einval}} ->
          Container.stop(container)
          nil
      end
    end

    test "that cannot be bound is an error", %{source: source, target: target} do
      :ok = Mount.set(source <> "/one", propagation: :unbindable)

      assert {:error, %Error{stage: :clone, reason: :einval}} =
               Mount.bind(source <> "/one", target)
    end
  end

  describe "an error" do
    test "names the path and the stage", %{source: source, target: target} do
      none = source <> "/none"

      assert {:error, %Error{stage: :source, reason: :enoent, path: ^none}} =
               Mount.bind(none, target)

      assert {:error, %Error{stage: :target, reason: :enoent, path: ^none}} =
               Mount.bind(source, none)

      for {one, other} <- [{source, source <> "/file"}, {source <> "/file", target}] do
        assert {:error, %Error{stage: :attach, reason: :enotdir}} = Mount.bind(one, other)
      end
    end

    @tag :machine_root
    test "says why the kernel refuses an id map", %{source: source, target: target} do
      for {map, reason} <- [
            {[{0, 0, 5}, {3, 9, 5}], :einval},
            {[{0, 4_294_967_000, 1_000}], :einval}
          ] do
        assert {:error, %Error{stage: :user_namespace, reason: ^reason}} =
                 Mount.bind(source, target, id_map: map)
      end

      # The VM's own user namespace maps nothing.
      assert {:error, %Error{stage: :id_map, reason: reason}} =
               Mount.bind(source, target, id_map: {:path, "/proc/self/ns/user"})

      assert reason in [:einval, :eperm]

      assert {:error, %Error{stage: {:open, :id_map}, reason: :einval}} =
               Mount.bind(source, target, id_map: {:path, "/proc/self/ns/net"})

      # Whose ids are mapped already.
      if mapped?(Mount.bind(source, target, id_map: [{0, 1000, 10}])) do
        again = target <> "_again"

        assert {:error, %Error{stage: :id_map, reason: :eperm}} =
                 Mount.bind(target, again, id_map: [{0, 1000, 10}], create: :directory)

        refute File.exists?(again)
        assert :ok = Mount.umount(target)
      end
    end
  end
end
