defmodule LinxNative.Mount.ChangeTest do
  @moduledoc """
  `LinxNative.Mount.set/2`, `move/3`, `umount/2` and `pivot_root/3`, here and in a container.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error

  @moduletag :mount

  setup do
    folder = Folder.make!()
    container = Container.start([:mount])
    inside = {:pid, container.pid}
    :ok = Mount.mount("tmpfs", folder, in: inside)
    %{folder: folder, container: container, in: inside}
  end

  defp seen(container, path), do: "/proc/#{container.pid}/root#{path}"

  defp tmpfs!(context, name) do
    path = context.folder <> name
    :ok = Mount.mount("tmpfs", path, in: context.in, create: :directory)
    path
  end

  defp options(context, path), do: Container.mount_at(context.container, path).options

  describe "set" do
    test "sets and clears attributes, and leaves the others", context do
      path = tmpfs!(context, "/a")
      assert :ok = Mount.set(path, in: context.in, attributes: [:ro, :nosuid, :noatime])
      assert Enum.sort(options(context, path)) == ~w(noatime nosuid ro)
      assert :ok = Mount.set(path, in: context.in, attributes: [:rw, :noexec])
      assert Enum.sort(options(context, path)) == ~w(noatime noexec nosuid rw)
      assert :ok = Mount.set(path, in: context.in, attributes: [:suid, :exec, :relatime])
      assert Enum.sort(options(context, path)) == ~w(relatime rw)
      refute MountInfo.at(path)
    end

    test "changes a tree, or one mount of it", context do
      path = tmpfs!(context, "/a")
      deep = tmpfs!(context, "/a/b")
      assert :ok = Mount.set(path, in: context.in, attributes: [:nodev])
      refute "nodev" in options(context, deep)
      assert :ok = Mount.set(path, in: context.in, attributes: [:nodev], recursive: true)
      assert "nodev" in options(context, deep)
    end

    test "changes the propagation", context do
      path = tmpfs!(context, "/a")
      tree = [in: context.in, recursive: true]

      for {name, expected} <- [
            shared: ~r/^shared:\d+$/,
            slave: ~r/^$/,
            unbindable: ~r/^unbindable$/,
            private: ~r/^$/
          ] do
        assert :ok = Mount.set(path, tree ++ [propagation: name])
        found = Enum.join(Container.mount_at(context.container, path).propagation, " ")
        assert {name, found =~ expected} == {name, true}
      end
    end

    test "changes all of a tree or nothing", context do
      path = tmpfs!(context, "/a")
      busy = tmpfs!(context, "/a/b")
      # Open for writing, so it cannot become read-only.
      {:ok, file} = File.open(seen(context.container, busy <> "/file"), [:write])

      assert {:error, %Error{stage: :attributes, reason: :ebusy}} =
               Mount.set(path, in: context.in, attributes: [:ro], recursive: true)

      assert "rw" in options(context, path)
      :ok = File.close(file)
      assert :ok = Mount.set(path, in: context.in, attributes: [:ro], recursive: true)
    end

    test "sets and clears each attribute", context do
      path = tmpfs!(context, "/a")
      set = &Mount.set(path, in: context.in, attributes: [&1])

      for {on, off} <- [
            ro: :rw,
            nosuid: :suid,
            nodev: :dev,
            noexec: :exec,
            nodiratime: :diratime,
            nosymfollow: :symfollow,
            noatime: :relatime
          ] do
        before = options(context, path)
        assert :ok = set.(on)
        assert to_string(on) in options(context, path)
        assert :ok = set.(off)
        assert {off, options(context, path)} == {off, before}
      end

      assert :ok = set.(:strictatime)
      assert options(context, path) == ["rw"]
    end

    test "needs a path that is a mount point", context do
      path = context.folder <> "/none"

      assert {:error, %Error{stage: :target, reason: :enoent, path: ^path}} =
               Mount.set(path, in: context.in, attributes: [:ro])

      File.mkdir!(seen(context.container, path))

      assert {:error, %Error{stage: :attributes, reason: :einval} = error} =
               Mount.set(path, in: context.in, attributes: [:ro])

      assert Exception.message(error) =~ "nothing is mounted at that very path"
    end
  end

  describe "move" do
    test "moves the mounts below it too", context do
      path = tmpfs!(context, "/a")
      tmpfs!(context, "/a/b")
      target = context.folder <> "/moved"
      assert :ok = Mount.move(path, target, in: context.in, create: :directory)
      refute Container.mount_at(context.container, path)
      assert Container.mount_at(context.container, target <> "/b")
    end

    test "is refused if nothing is mounted there, or the parent mount is shared", context do
      plain = context.folder <> "/plain"
      File.mkdir!(seen(context.container, plain))
      move = &Mount.move(&1, context.folder <> "/moved", in: context.in, create: :directory)
      assert {:error, %Error{stage: :attach, reason: :einval}} = move.(plain)
      path = tmpfs!(context, "/a")
      :ok = Mount.set(context.folder, in: context.in, propagation: :shared)
      assert {:error, %Error{stage: :attach, reason: :einval}} = move.(path)
      # The target that was made is removed again.
      refute File.exists?(seen(context.container, context.folder <> "/moved"))
      :ok = Mount.set(context.folder, in: context.in, propagation: :private)
      assert :ok = move.(path)
    end

    test "names the path that it does not find", context do
      none = context.folder <> "/none"
      there = [in: context.in]

      assert {:error, %Error{stage: :source, reason: :enoent, path: ^none}} =
               Mount.move(none, "/mnt", there)

      path = tmpfs!(context, "/a")

      assert {:error, %Error{stage: :target, reason: :enoent, path: ^none}} =
               Mount.move(path, none, there)
    end
  end

  test "set, move and pivot_root follow links only with follow: true", context do
    path = tmpfs!(context, "/a")
    link = context.folder <> "/link"
    File.ln_s!("a", seen(context.container, link))
    moved = context.folder <> "/moved"
    made = [in: context.in, create: :directory]

    for {call, stage} <- [
          {&Mount.set(link, [in: context.in, attributes: [:nodev]] ++ &1), :target},
          {&Mount.move(link, moved, made ++ &1), :source},
          {&Mount.pivot_root(link, path <> "/old", made ++ &1), :new_root}
        ] do
      assert {:error, %Error{stage: ^stage, reason: :eloop, path: ^link}} = call.([])
      assert {stage, call.(follow: true)} == {stage, :ok}
      if stage == :source, do: :ok = Mount.move(moved, path, in: context.in)
    end

    assert File.ls!(seen(context.container, "/")) == ["old"]
  end

  describe "umount" do
    test "removes the topmost mount of a directory, or of a file", context do
      path = tmpfs!(context, "/a")
      tmpfs!(context, "/a")
      assert :ok = Mount.umount(path, in: context.in)
      assert :ok = Mount.umount(path <> "/", in: context.in)

      assert {:error, %Error{stage: :umount, reason: :einval, path: ^path}} =
               Mount.umount(path, in: context.in)

      file = context.folder <> "/null"

      for options <- [[], [detach: true]] do
        assert :ok = Mount.bind("/dev/null", file, in: context.in, create: :file)
        assert :ok = Mount.umount(file, [in: context.in] ++ options)
        refute Container.mount_at(context.container, file)
      end
    end

    test "does not remove a mount that is in use without detach: true", context do
      path = tmpfs!(context, "/a")
      tmpfs!(context, "/a/b")

      assert {:error, %Error{stage: :umount, reason: :ebusy} = error} =
               Mount.umount(path, in: context.in)

      assert Exception.message(error) =~ "detach: true"
      {:ok, file} = File.open(seen(context.container, path <> "/file"), [:write])
      assert :ok = Mount.umount(path, in: context.in, detach: true)
      refute Container.mount_at(context.container, path)
      refute Container.mount_at(context.container, path <> "/b")
      :ok = File.close(file)
    end

    test "does not follow a link as the last name, and others only with follow: true",
         context do
      path = tmpfs!(context, "/a")
      deep = tmpfs!(context, "/a/b")
      File.ln_s!("a", seen(context.container, context.folder <> "/link"))
      link = context.folder <> "/link"

      assert {:error, %Error{stage: :target, reason: :eloop}} =
               Mount.umount(link <> "/b", in: context.in)

      for options <- [[], [follow: true]] do
        assert {:error, %Error{stage: :umount, reason: :einval}} =
                 Mount.umount(link, [in: context.in] ++ options)
      end

      assert {:error, %Error{stage: :target, reason: :eloop}} =
               Mount.umount(link, in: context.in, detach: true)

      assert :ok = Mount.umount(link <> "/b", in: context.in, follow: true)
      refute Container.mount_at(context.container, deep)
      assert Container.mount_at(context.container, path)
    end

    test "of a path without a last name needs detach: true", context do
      for path <- ["/", context.folder <> "/..", context.folder <> "/."] do
        assert {:error, %Error{stage: :umount, reason: :einval, path: ^path}} =
                 Mount.umount(path, in: context.in)
      end
    end

    @tag :machine_root
    test "with force: true removes a file system that does not answer", %{folder: folder} do
      vm = Vm.start(wrap: ["unshare", "--mount", "--propagation=private", "--"])
      _hang = LinxNative.Test.Hang.mount!(vm, folder)
      inside = {:path, "/proc/#{vm.os_pid}/ns/mnt"}
      assert :ok = Mount.umount(folder, in: inside, force: true, detach: true)
      refute MountInfo.at(vm.os_pid, folder)
    end

    @tag :machine_root
    test "with force: true ends a call that waits in it", %{folder: folder} do
      for options <- [[], [detach: true]] do
        vm = Vm.start(wrap: ["unshare", "--mount", "--propagation=private", "--"])
        hang = LinxNative.Test.Hang.mount!(vm, folder)
        inside = {:path, "/proc/#{vm.os_pid}/ns/mnt"}
        waiting = [in: inside, attributes: [:ro], timeout: :infinity]
        call = Task.async(fn -> Mount.set(folder <> "/waits", waiting) end)
        LinxNative.Test.Hang.await_calls!(hang, 1)
        # It is in use until that call has ended, which the first attempt causes.
        unmount = fn -> Mount.umount(folder, [in: inside, force: true] ++ options) end
        assert Await.until(fn -> unmount.() == :ok end)
        assert {:error, %Error{stage: :target}} = Task.await(call, patience())
        refute MountInfo.at(vm.os_pid, folder)
        Vm.stop(vm)
      end
    end
  end

  describe "pivot_root" do
    test "makes a mount the root of the namespace, and mounts the old root below it", context do
      new = tmpfs!(context, "/root")
      File.write!(seen(context.container, new <> "/new"), "")

      assert :ok = Mount.pivot_root(new, new <> "/old", in: context.in, create: :directory)
      assert Enum.sort(File.ls!(seen(context.container, "/"))) == ~w(new old)
      assert "proc" in File.ls!(seen(context.container, "/old"))
      assert :ok = Mount.umount("/old", in: context.in, detach: true)
      assert File.ls!(seen(context.container, "/old")) == []
      # Not ours.
      assert File.exists?("/proc/self")
    end

    test "can mount the old root on the new one, where it can be detached", context do
      new = tmpfs!(context, "/root")
      File.write!(seen(context.container, new <> "/new"), "")
      assert :ok = Mount.pivot_root(new, new, in: context.in)
      assert :ok = Mount.umount("/", in: context.in, detach: true)
      assert File.ls!(seen(context.container, "/")) == ["new"]
      assert [%{mount_point: "/"}] = Container.mountinfo(context.container)
    end

    test "needs a mount point, and a path below it", context do
      new = tmpfs!(context, "/root")
      plain = context.folder <> "/plain"
      File.mkdir!(seen(context.container, plain))
      there = [in: context.in, create: :directory]

      for {root, old} <- [{plain, plain <> "/old"}, {new, plain}] do
        assert {:error, %Error{stage: :pivot_root, reason: :einval, path: ^root}} =
                 Mount.pivot_root(root, old, there)
      end

      # The target that was made is removed again.
      assert File.ls!(seen(context.container, plain)) == []
      none = context.folder <> "/none"

      assert {:error, %Error{stage: :new_root, reason: :enoent, path: ^none}} =
               Mount.pivot_root(none, none, there)

      old = new <> "/none"

      assert {:error, %Error{stage: :put_old, reason: :enoent, path: ^old}} =
               Mount.pivot_root(new, old, in: context.in)
    end
  end
end
