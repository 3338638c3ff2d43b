defmodule LinxNative.Mount.MountTest do
  @moduledoc """
  `LinxNative.Mount.mount/3`: new file systems, here and in a container.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{MountCalls, SyscallStepper}

  @moduletag :mount

  setup do
    folder = Folder.make!()
    %{folder: folder, container: Container.start([:mount, :pid])}
  end

  defp inside(container), do: {:pid, container.pid}

  defp sub!(folder, name) do
    path = "#{folder}/#{name}"
    File.mkdir!(path)
    path
  end

  # Returns a path as the container's init sees it.
  defp seen(container, path), do: "/proc/#{container.pid}/root#{path}"

  describe "a new file system" do
    test "has the requested source, options and attributes", context do
      %{folder: folder} = context

      assert :ok =
               Mount.mount("tmpfs", folder,
                 source: "name",
                 options: [size: "64k", mode: 700, nr_inodes: "10"],
                 attributes: [:ro, :nosuid, :nodev, :noexec, :noatime, :nodiratime, :nosymfollow]
               )

      assert %{source: "name", fstype: "tmpfs"} = mount = MountInfo.at(folder)
      expected = ~w(ro nosuid nodev noexec noatime nodiratime nosymfollow)
      assert Enum.sort(mount.options) == Enum.sort(expected)
      assert ~w(size=64k mode=700 nr_inodes=10) -- mount.super_options == []
      # Read-only is the mount, not the file system.
      assert "rw" in mount.super_options
      assert :ok = Mount.umount(folder)
      refute MountInfo.at(folder)
    end

    test "is only in the namespace of the target, however that is given", context do
      %{folder: folder, container: container} = context
      path = Container.ns_path(container, :mnt)
      {:ok, file} = :file.open(path, [:read, :raw])
      link = File.read_link!(path)
      {fd, _} = Enum.find(Machine.descriptors(), fn {_, {target, _}} -> target == link end)

      for in_namespace <- [inside(container), {:path, path}, {:fd, fd}] do
        assert :ok = Mount.mount("tmpfs", folder, in: in_namespace)
        assert %{fstype: "tmpfs"} = Container.mount_at(container, folder)
        refute MountInfo.at(folder)
        assert :ok = Mount.umount(folder, in: in_namespace)
        refute Container.mount_at(container, folder)
      end

      :ok = :file.close(file)
    end

    test "has options that are flags, numbers and names, and longer than a page together",
         context do
      %{folder: folder} = context
      many = for n <- 1..600, do: {:size, "#{64 + n}k"}

      assert :ok =
               Mount.mount("tmpfs", folder,
                 options: many ++ [mode: 755, huge: :never, ro: true, noswap: false]
               )

      assert %{super_options: options} = MountInfo.at(folder)
      assert "size=664k" in options and "ro" in options
      assert :ok = Mount.umount(folder)
    end

    test "has an option whose name is a string", %{folder: folder} do
      assert :ok = Mount.mount("tmpfs", folder, options: [{"mode", "711"}])
      assert "mode=711" in MountInfo.at(folder).super_options
      assert :ok = Mount.umount(folder)
    end

    @tag :machine_root
    test "shows mapped ids, or says that the kernel is too old",
         context do
      %{folder: folder} = context
      both = [{0, 5000, 10}]

      for {id_map, uid, gid} <- [
            {both, 5000, 5000},
            {[uids: both, gids: [{0, 6000, 10}]], 5000, 6000},
            {[gids: [{0, 6000, 10}], uids: both], 5000, 6000}
          ] do
        result = Mount.mount("tmpfs", folder, id_map: id_map)

        if Harness.can?("id-map-of-a-tmpfs") do
          assert :ok = result
          assert %{uid: ^uid, gid: ^gid} = File.stat!(folder)
          assert :ok = Mount.umount(folder)
        else
          assert {:error, %Error{stage: :id_map, reason: :einval} = error} = result
          assert Exception.message(error) =~ "tmpfs: 6.3"
          refute MountInfo.at(folder)
        end
      end
    end

    test "has the requested propagation", %{folder: folder} do
      assert :ok = Mount.mount("tmpfs", folder, propagation: :private)
      sub = sub!(folder, "sub")
      assert :ok = Mount.set(folder, propagation: :private)
      assert :ok = Mount.mount("tmpfs", sub, propagation: :unbindable)
      assert ["unbindable"] = MountInfo.at(sub).propagation
      assert :ok = Mount.umount(folder, detach: true)
    end
  end

  describe "the kernel's own message" do
    test "is returned for an unknown option", %{folder: folder} do
      assert {:error, %Error{} = error} = Mount.mount("tmpfs", folder, options: [sise: "1m"])
      assert %{reason: :einval, errno: 22, stage: {:option, "sise"}} = error
      assert error.text =~ "sise"
      assert Exception.message(error) =~ ~s(option "sise")
      refute MountInfo.at(folder)
    end

    test "is returned for a wrong value", %{folder: folder} do
      assert {:error, %Error{stage: {:option, "size"}, text: text}} =
               Mount.mount("tmpfs", folder, options: [mode: "700", size: "much"])

      assert text =~ "Bad value for 'size'"
    end

    @tag :machine_root
    test "is returned for a file system that cannot be made", %{folder: folder} do
      assert {:error, %Error{stage: :superblock, reason: :enoent, text: text}} =
               Mount.mount("ext4", folder, source: "/nonexistent")

      assert text =~ "/nonexistent"
    end

    test "does not exist for an unknown type", %{folder: folder} do
      assert {:error, %Error{stage: :file_system, reason: :enodev, text: nil}} =
               Mount.mount("nosuchfs", folder)
    end
  end

  describe "the target" do
    test "is made with create:", context do
      %{folder: folder, container: container} = context
      :ok = Mount.mount("tmpfs", folder, in: inside(container))
      target = folder <> "/new"

      assert {:error, %Error{stage: :target, reason: :enoent, path: ^target}} =
               Mount.mount("tmpfs", target, in: inside(container))

      assert :ok = Mount.mount("tmpfs", target, in: inside(container), create: :directory)
      assert %{fstype: "tmpfs"} = Container.mount_at(container, target)
      # A target that is there already is not made again.
      assert :ok = Mount.umount(target, in: inside(container))
      assert :ok = Mount.mount("tmpfs", target, in: inside(container), create: :directory)
    end

    test "has a mode less the umask of the VM", context do
      %{folder: folder, container: container} = context
      :ok = Mount.mount("tmpfs", folder, in: inside(container))

      for {umask, file, directory} <- [{"0", 0o644, 0o755}, {"027", 0o640, 0o750}] do
        vm = Vm.start(wrap: ["sh", "-c", "umask #{umask}; exec \"$@\"", "sh"])

        for {create, source, mode} <- [
              {:file, "/dev/null", file},
              {:directory, Folder.make!(), directory}
            ] do
          target = "#{folder}/#{create}_#{umask}"
          made = [in: inside(container), create: create]
          assert :ok = Vm.call(vm, Mount, :bind, [source, target, made])
          assert :ok = Mount.umount(target, in: inside(container))
          %{mode: found} = File.stat!(seen(container, target))
          assert {umask, create, Bitwise.band(found, 0o7777)} == {umask, create, mode}
        end
      end
    end

    test "is not left if the mount fails", context do
      %{folder: folder, container: container} = context
      :ok = Mount.mount("tmpfs", folder, in: inside(container))

      # A directory cannot be mounted on a file.
      assert {:error, %Error{stage: :attach, reason: :enotdir}} =
               Mount.mount("tmpfs", folder <> "/new", in: inside(container), create: :file)

      assert File.ls!(seen(container, folder)) == []
    end

    test "cannot be made if its parent does not exist, is not a directory, or cannot be written",
         context do
      %{folder: folder} = context
      Folder.tmpfs!(folder)
      File.write!(folder <> "/file", "")

      for {path, reason} <- [{"/no/new", :enoent}, {"/file/new", :enotdir}] do
        assert {:error, %Error{stage: stage, reason: ^reason}} =
                 Mount.mount("tmpfs", folder <> path, create: :directory)

        assert stage in [:create, :target]
      end

      :ok = Mount.set(folder, attributes: [:ro])

      assert {:error, %Error{stage: :create, reason: :erofs}} =
               Mount.mount("tmpfs", folder <> "/new", create: :directory)

      :ok = Mount.set(folder, attributes: [:rw])
    end

    test "is not looked up behind a link without follow: true", context do
      %{folder: folder} = context
      real = sub!(folder, "real")
      File.ln_s!("real", folder <> "/link")
      File.ln_s!("/real", folder <> "/from_the_root")

      assert {:error, %Error{stage: :target, reason: :eloop} = error} =
               Mount.mount("tmpfs", folder <> "/link")

      assert Exception.message(error) =~ "follow: true"
      assert :ok = Mount.mount("tmpfs", folder <> "/link", follow: true)
      assert %{fstype: "tmpfs"} = MountInfo.at(real)
      assert :ok = Mount.umount(real)

      assert {:error, %Error{stage: :target, reason: :enoent}} =
               Mount.mount("tmpfs", folder <> "/from_the_root", follow: true)
    end

    test "is not looked up outside of the root, nor behind a magic link of /proc", context do
      %{folder: folder} = context
      up = String.duplicate("/..", 30)

      assert {:error, %Error{stage: :target, reason: :exdev}} =
               Mount.mount("tmpfs", folder <> up <> folder)

      for follow <- [false, true] do
        assert {:error, %Error{stage: :target, reason: :eloop}} =
                 Mount.mount("tmpfs", "/proc/self/cwd", follow: follow)
      end
    end
  end

  describe "a procfs" do
    defp pids(container, path) do
      names = container |> Container.sh!("ls #{path}") |> String.split()
      for name <- names, name =~ ~r/^\d+$/, do: String.to_integer(name)
    end

    # The kernel's older way, too, which a filter has the VM believe in.
    defp vms do
      [Vm.start(), Vm.start(wrap: Harness.seccomp("fsconfig-fd=EINVAL"))]
    end

    test "shows the processes of the requested PID namespace, however it is mounted",
         context do
      %{folder: folder, container: container} = context

      for vm <- vms() do
        options = [
          in: inside(container),
          pid_namespace: inside(container),
          options: [hidepid: "2"],
          attributes: [:nosuid, :noexec, :nodev]
        ]

        assert :ok = Vm.call(vm, Mount, :mount, ["proc", folder, options])

        assert %{fstype: "proc", options: options, super_options: super} =
                 Container.mount_at(container, folder)

        assert ~w(nosuid nodev noexec) -- options == []
        assert Enum.any?(super, &(&1 =~ "hidepid="))
        assert 1 in pids(container, folder)
        # Not by the VM's pid, which may be one of the container too.
        refute Container.sh!(container, "cat #{folder}/[0-9]*/comm") =~ "beam.smp"
        assert :ok = Mount.umount(folder, in: inside(container))
      end
    end

    @tag :machine_root
    test "has the same source, options and attributes, however it is mounted", context do
      %{folder: folder, container: container} = context
      vms = vms()

      for {given, source, attributes} <- [
            {[], "none", ~w(relatime rw)},
            {[source: "name", attributes: [:strictatime]], "name", ~w(rw)},
            {[attributes: [:ro, :nodiratime]], "none", ~w(nodiratime relatime ro)},
            {[attributes: [:noatime, :nodev]], "none", ~w(noatime nodev rw)},
            {[attributes: [:nosuid, :noexec]], "none", ~w(noexec nosuid relatime rw)},
            {[attributes: [:nosymfollow]], "none", ~w(nosymfollow relatime rw)}
          ],
          vm <- vms do
        options = [options: [hidepid: "2", subset: "pid"], propagation: :private] ++ given
        there = [in: inside(container), pid_namespace: inside(container)]
        assert :ok = Vm.call(vm, Mount, :mount, ["proc", folder, there ++ options])
        mount = Container.mount_at(container, folder)
        assert {mount.source, Enum.sort(mount.options)} == {source, attributes}
        assert ~w(hidepid=invisible subset=pid) -- mount.super_options == []
        assert :ok = Mount.umount(folder, in: inside(container))
      end
    end

    test "has no option that is in the value of another one, however it is mounted", context do
      %{folder: folder, container: container} = context
      there = [in: inside(container), pid_namespace: inside(container)]

      for vm <- vms(),
          {key, value} <- [{:hidepid, "2,subset=pid"}, {"hidepid=2,subset", "pid"}] do
        options = there ++ [options: [{key, value}]]

        assert {:error, %Error{stage: {:option, _}, reason: :einval}} =
                 Vm.call(vm, Mount, :mount, ["proc", folder, options])

        refute Container.mount_at(container, folder)
      end
    end

    @tag :machine_root
    test "is an error if it could not have the id map or the propagation", context do
      %{folder: folder, container: container} = context
      [newer, older] = vms()
      there = [in: inside(container), pid_namespace: inside(container)]
      call = &Vm.call(&1, Mount, :mount, ["proc", folder, there ++ &2])

      for vm <- [newer, older] do
        assert {:error, %Error{stage: :id_map, reason: :einval}} =
                 call.(vm, id_map: [{0, 1000, 5}])

        refute Container.mount_at(container, folder)
      end

      for propagation <- [:shared, :unbindable] do
        result = call.(older, propagation: propagation)
        assert {:error, %Error{stage: :attributes, reason: :einval} = error} = result
        assert Exception.message(error) =~ "Linux 6.17"
        refute Container.mount_at(container, folder)
      end
    end

    test "is not mounted if the child that mounts it is killed", context do
      %{folder: folder, container: container} = context
      hold = SyscallStepper.start()
      MountCalls.load!(hold.vm)
      there = [in: inside(container), pid_namespace: inside(container), timeout: :infinity]

      held =
        hold
        |> SyscallStepper.begin({Mount, :mount, ["proc", folder, there]})
        |> SyscallStepper.continue_to("fsconfig")
        |> SyscallStepper.fail("EINVAL")
        |> SyscallStepper.continue_to("mount")

      {_, 0} = System.cmd("kill", ["-KILL", held.tid])
      # Otherwise the system call could be continued before the child ends, and mount.
      assert Await.until(fn -> not File.exists?("/proc/#{held.tid}") end)
      %{answer: answer} = held |> SyscallStepper.continue() |> SyscallStepper.finish()
      assert {:error, %Error{stage: :superblock, reason: :eio}} = answer
      refute Container.mount_at(container, folder)
    end

    test "is mounted by a child only if the kernel has no option for the PID namespace",
         context do
      %{folder: folder, container: container} = context

      for {errno, reason} <- [{"EPERM", :eperm}, {"ENOMEM", :enomem}] do
        vm = Vm.start(wrap: Harness.seccomp("fsconfig-fd=#{errno}"))
        there = [in: inside(container), pid_namespace: inside(container)]

        assert {:error, %Error{stage: {:open, :pid_namespace}, reason: ^reason}} =
                 Vm.call(vm, Mount, :mount, ["proc", folder, there])

        refute Container.mount_at(container, folder)
      end
    end

    test "that a child mounts has options of less than a page", context do
      %{folder: folder, container: container} = context
      vm = Vm.start(wrap: Harness.seccomp("fsconfig-fd=EINVAL"))
      {page, 0} = System.cmd("getconf", ["PAGESIZE"])
      there = [in: inside(container), pid_namespace: inside(container)]
      # Each takes ten bytes, with its comma.
      many = for _ <- 1..(div(String.to_integer(String.trim(page)), 10) - 1), do: {:hidepid, "2"}
      left = String.to_integer(String.trim(page)) - 10 * length(many)

      for {length, result} <- [{left - 1, :ok}, {left, :e2big}] do
        last = {:gid, String.pad_leading("7", length - byte_size("gid="), "0")}
        options = [options: many ++ [last]]

        case Vm.call(vm, Mount, :mount, ["proc", folder, there ++ options]) do
          :ok -> assert result == :ok and Container.mount_at(container, folder)
          {:error, error} -> assert {error.stage, error.reason} == {:superblock, result}
        end
      end
    end

    test "is of a namespace that is given by a descriptor", context do
      %{folder: folder, container: container} = context
      path = Container.ns_path(container, :pid)
      [held] = PinnedNamespaces.paths([path])
      fd = held |> Path.basename() |> String.to_integer()
      assert :ok = Mount.mount("proc", folder, in: inside(container), pid_namespace: {:fd, fd})
      assert 1 in pids(container, folder)
    end

    test "shows the VM's processes without pid_namespace:", %{
      folder: folder,
      container: container
    } do
      assert :ok = Mount.mount("proc", folder, in: inside(container))
      assert String.to_integer(System.pid()) in pids(container, folder)
    end

    test "needs the file of a PID namespace", %{folder: folder, container: container} do
      for {path, reason} <- [
            {Container.ns_path(container, :net), :einval},
            {"/dev/null", :enotty},
            {"/nonexistent", :enoent}
          ] do
        assert {:error, %Error{stage: {:open, :pid_namespace}, reason: found}} =
                 Mount.mount("proc", folder, pid_namespace: {:path, path})

        assert {path, found} == {path, reason}
      end
    end
  end

  describe "an overlay" do
    defp layers(folder) do
      Folder.tmpfs!(folder)

      [one, two, upper, work, target] =
        for name <- ~w(one two upper work target), do: sub!(folder, name)

      File.write!(one <> "/which", "one")
      File.write!(two <> "/which", "two")
      File.write!(two <> "/only", "two")
      options = [lowerdir: [one, two], upperdir: upper, workdir: work]
      {target, options}
    end

    test "has its layers, the first on top, with or without a descriptor for each", context do
      %{folder: folder, container: container} = context
      {target, options} = layers(folder)
      :ok = Mount.mount("tmpfs", "/mnt", in: inside(container))

      for wrap <- [
            [],
            Harness.seccomp("fsconfig-fd=EINVAL"),
            Harness.seccomp("fsconfig-fd=EBADF"),
            Harness.seccomp("fsconfig-fd=EOPNOTSUPP")
          ] do
        vm = Vm.start(wrap: wrap)
        assert :ok = Vm.call(vm, Mount, :mount, ["overlay", target, [options: options]])
        assert File.read!(target <> "/which") == "one"
        assert File.read!(target <> "/only") == "two"
        File.write!(target <> "/which", "changed")
        assert File.read!(options[:upperdir] <> "/which") == "changed"
        assert :ok = Mount.umount(target)
        File.rm!(options[:upperdir] <> "/which")

        # From here into the container.
        assert :ok =
                 Vm.call(vm, Mount, :mount, [
                   "overlay",
                   "/mnt",
                   [in: inside(container), options: options]
                 ])

        assert File.read!(seen(container, "/mnt/which")) == "one"
        assert :ok = Mount.umount("/mnt", in: inside(container))
      end
    end

    test "may have a single layer", %{folder: folder} do
      {target, options} = layers(folder)
      [one, two] = options[:lowerdir]

      assert :ok =
               Mount.mount("overlay", target,
                 options: [
                   lowerdir: one,
                   upperdir: options[:upperdir],
                   workdir: options[:workdir]
                 ]
               )

      assert File.ls!(target) == ["which"]
      assert :ok = Mount.umount(target)
      assert :ok = Mount.mount("overlay", target, options: [lowerdir: [one, two]])
      assert File.read!(target <> "/only") == "two"
      assert :ok = Mount.umount(target)
    end

    test "that is refused because of a layer names it, and has the kernel's message", context do
      %{folder: folder, container: container} = context
      Folder.tmpfs!(folder)
      :ok = Mount.mount("tmpfs", "/mnt", in: inside(container))
      # A container chooses such names: for a terminal, not in UTF-8, and long.
      long = String.duplicate("/" <> String.duplicate("x", 200), 10)

      for {directory, shown} <- [{"/mnt/a", "/mnt/a"}, {"/mnt/\e[31m\xff", ~S"/mnt/\x1B[31m\xFF"}] do
        file = directory <> long <> "/file"
        File.mkdir_p!(seen(container, directory <> long))
        File.write!(seen(container, file), "")
        options = [from: inside(container), options: [lowerdir: [file, directory]]]

        assert {:error, %Error{reason: :einval} = error} = Mount.mount("overlay", folder, options)
        assert String.printable?(Exception.message(error))

        # Older kernels take no descriptors of layers, and so no names.
        if Harness.can?("descriptor-of-a-layer") do
          assert {error.stage, error.path} == {:layer, file}
          assert error.text == "overlay: #{shown <> long}/file is not a directory"
        else
          assert {error.stage, error.path} == {{:option, "lowerdir"}, nil}
        end
      end
    end

    test "has each of its layers by any name without following links", %{folder: folder} do
      {target, options} = layers(folder)
      path = folder <> "/link"
      File.ln_s!("one", path)

      for option <- ["lowerdir+", "datadir+"] do
        assert {:error, %Error{stage: :layer, reason: :eloop, path: ^path}} =
                 Mount.mount("overlay", target, options: [{option, path} | options])
      end
    end

    test "does not look up a layer behind a link without follow: true", %{folder: folder} do
      {target, options} = layers(folder)

      for {layer, n} <- Enum.with_index([:lowerdir, :upperdir, :workdir]) do
        path = folder <> "/link#{n}"
        File.ln_s!(options[layer] |> List.wrap() |> hd() |> Path.basename(), path)
        options = Keyword.put(options, layer, path)

        assert {:error, %Error{stage: :layer, reason: :eloop, path: ^path}} =
                 Mount.mount("overlay", target, options: options)

        assert :ok = Mount.mount("overlay", target, options: options, follow: true)
        assert :ok = Mount.umount(target)
      end
    end
  end

  describe "a namespace" do
    test "that does not exist, or is of another kind, is an error", %{
      folder: folder,
      container: container
    } do
      for {in_namespace, stage, reason} <- [
            {{:path, "/nonexistent"}, {:open, :in}, :enoent},
            {{:path, Container.ns_path(container, :pid)}, {:enter, :in}, :einval},
            {{:path, "/dev/null"}, {:enter, :in}, :einval},
            {{:fd, 0x7FFFFFFF}, {:open, :in}, :ebadf},
            {{:pid, 0x7FFFFFFF}, {:open, :in}, :enoent}
          ] do
        result = Mount.mount("tmpfs", folder, in: in_namespace)
        assert {:error, %Error{stage: found, reason: why}} = result
        assert {in_namespace, found, why} == {in_namespace, stage, reason}
      end
    end

    test "that is given by a wrong descriptor is an error of its option", %{folder: folder} do
      for {function, arguments, options} <- [
            {:mount, ["proc", folder], [:in, :from, :pid_namespace, :id_map]},
            {:bind, [folder, folder], [:in, :from, :id_map]},
            {:set, [folder, [attributes: [:ro]]], [:in]},
            {:move, [folder, folder], [:in]},
            {:umount, [folder], [:in]},
            {:pivot_root, [folder, folder], [:in]}
          ],
          option <- options do
        {paths, given} = Enum.split_with(arguments, &is_binary/1)
        wrong = List.flatten([{option, {:fd, 0x7FFFFFFF}}, given])
        assert {:error, %Error{} = error} = apply(Mount, function, paths ++ [wrong])
        assert {function, error.stage, error.reason} == {function, {:open, option}, :ebadf}
      end
    end

    test "of the source and of the target have errors of their own", %{folder: folder} do
      assert {:error, %Error{stage: {:open, :from}, reason: :enoent}} =
               Mount.bind(folder, folder, from: {:path, "/nonexistent"})
    end
  end
end
