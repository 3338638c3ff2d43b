defmodule LinxNative.MountCreateTargetTest do
  @moduledoc """
  `Linx.Mount.Native.mount/8` with `create_target`: the file that is made, and the same effect of a bind as by `mount(2)`.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Hang

  @rdonly 1
  @bind 4096
  @rec 16_384
  @remount 32

  describe "with create_target" do
    @tag :machine_root
    test "an empty regular file of mode 0644 is made if the target does not exist" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      node = folder <> "/null"
      assert :ok = Mount.mount("/dev/null", node, "", @bind, "", "", "", 1)
      assert %File.Stat{type: :device, major_device: _} = File.stat!(node)
      assert :ok = File.write(node, "gone")
      assert {:ok, ""} = File.read(node)
      assert :ok = Mount.umount(node, 0, "")

      assert %File.Stat{type: :regular, size: 0, mode: mode} = File.stat!(node)
      [_, umask] = Regex.run(~r/^Umask:\s*(\d+)$/m, File.read!("/proc/self/status"))
      cleared = Bitwise.bnot(String.to_integer(umask, 8))
      assert Bitwise.band(mode, 0o777) == Bitwise.band(0o644, cleared)
    end

    test "the mode is 0644 less the umask of the VM, here and in another namespace" do
      container = Container.start([:mount])
      folder = Folder.make!()

      for {umask, mode} <- [{"0", 0o644}, {"027", 0o640}, {"077", 0o600}],
          ns <- ["", Container.ns_path(container, :mnt)] do
        vm = Vm.start(wrap: ["sh", "-c", "umask #{umask}; exec \"$@\"", "sh"])
        file = "#{folder}/#{umask}#{if ns == "", do: "here"}"
        # Nothing can be mounted so, but the target is there by then.
        args = ["/nonexistent", file, "", @bind, "", ns, "", 1]
        assert {:error, {:mount, :enoent}} = Vm.call(vm, Mount, :mount, args)
        assert {umask, Bitwise.band(File.stat!(file).mode, 0o7777)} == {umask, mode}
        Vm.stop(vm)
      end
    end

    test "it is made in the target namespace only" do
      container = Container.start([:mount])
      folder = Folder.make!()
      Folder.tmpfs!(folder, container)
      ns = Container.ns_path(container, :mnt)

      for {pidns, name} <- [{"", "zero"}, {"/proc/self/ns/pid", "full"}] do
        node = "#{folder}/#{name}"
        assert :ok = Mount.mount("/dev/#{name}", node, "", @bind, "", ns, pidns, 1)
        refute File.exists?(node)
        assert Container.sh!(container, "test -c #{node} && echo device") == "device\n"
      end
    end

    test "a path of 4096 bytes or more is refused, however many of them are slashes" do
      container = Container.start([:mount])
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      path = folder <> "/a_rather_long_name"

      bind =
        &Mount.mount("/dev/null", String.pad_leading(path, &1, "/"), "", @bind, "", &2, "", 1)

      for length <- [4096, 4097, 4098, 4100, 5000],
          ns <- ["", Container.ns_path(container, :mnt)] do
        assert {length, {:error, {:create, :enametoolong}}} == {length, bind.(length, ns)}
        assert File.ls!(folder) == []
      end

      assert :ok = bind.(4095, "")
      assert File.ls!(folder) == ["a_rather_long_name"]
      assert :ok = Mount.umount(path, 0, "")
    end

    test "an existing file keeps its content" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      file = folder <> "/file"
      File.write!(file, "content")
      assert :ok = Mount.mount("/dev/null", file, "", @bind, "", "", "", 1)
      assert :ok = Mount.umount(file, 0, "")
      assert File.read!(file) == "content"
    end

    @tag :machine_root
    test "an existing directory is used, for a bind and for any other mount" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      directory = folder <> "/directory"
      File.mkdir!(directory)

      for {source, type, flags} <- [{"/dev", "", @bind}, {"", "tmpfs", 0}] do
        assert :ok = Mount.mount(source, directory, type, flags, "", "", "", 1)
        assert MountInfo.at(directory)
        assert :ok = Mount.umount(directory, 0, "")
      end
    end

    test "a bind has the same effect with and without it" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)

      for name <- ~w(source source/deep by_name by_descriptor),
          do: File.mkdir!("#{folder}/#{name}")

      Folder.tmpfs!(folder <> "/source/deep")

      # The kernel clears the magic number, and with it all that is above it.
      magic = [@bind + 0xC0ED0000, @bind + 0xF000C0ED0000]

      for flags <- [@bind, @bind + @rec, @bind + @rdonly | magic] do
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

    @tag :machine_root
    test "a bind fails with the errors of mount(2)" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
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
            # In the kernel MS_NOUSER is a sign-extended integer, so each of these has a part of it.
            {"/dev/null", file, "", @bind + 0x80000000, :einval},
            {"/dev/null", file, "", @bind + 0x100000000, :einval},
            {"/dev/null", file, "", @bind + 0x8000000000000000, :einval},
            {"", file, "", @bind + @remount, :einval}
          ],
          create <- [0, 1] do
        result = Mount.mount(source, target, type, flags, "", "", "", create)

        assert {source, target, create, result} ==
                 {source, target, create, {:error, {:mount, errno}}}
      end
    end

    # By descriptor it would, if anything asked the file system for its type.
    @tag :machine_root
    test "a bind does not need an answer of a file system that hangs or has ended" do
      vm = Vm.start(wrap: ["unshare", "--mount", "--"])
      folder = Folder.make!()
      for name <- ~w(fuse target), do: File.mkdir!("#{folder}/#{name}")
      source = folder <> "/fuse"
      target = folder <> "/target"
      hang = Hang.mount!(vm, source)

      bind = fn ->
        for create <- [0, 1] do
          args = [source, target, "", @bind, "", "", "", create]
          assert {create, :ok} == {create, Vm.call(vm, Mount, :mount, args)}
          assert :ok = Vm.call(vm, Mount, :umount, [target, 2, ""])
        end
      end

      bind.()
      Hang.release(hang)
      bind.()
    end

    @tag :machine_root
    test "an unbindable source and a locked-down caller fail as in mount(2)" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
      for name <- ~w(source target), do: File.mkdir!("#{folder}/#{name}")
      Folder.tmpfs!(folder <> "/source")
      # MS_UNBINDABLE
      assert :ok = Mount.mount("", folder <> "/source", "", 131_072, "", "", "", 0)

      vm = Vm.start(user: :nobody)

      for create <- [0, 1] do
        args = [folder <> "/source", folder <> "/target", "", @bind, "", "", "", create]
        assert {:error, {:mount, :einval}} = apply(Mount, :mount, args)
        assert {:error, {:mount, :eperm}} = Vm.call(vm, Mount, :mount, args)
      end
    end

    test "stage create: the errno of the file's creation" do
      folder = Folder.make!()
      Folder.tmpfs!(folder)
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
end
