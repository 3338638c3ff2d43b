defmodule LinxNative.Test.SupportTest do
  use LinxNative.Test.Case

  @briefly 50

  describe "Machine" do
    test "notices a descriptor that is opened or closed" do
      before = Machine.snapshot()
      {:ok, file} = :file.open("/dev/null", [:raw])
      assert [line] = Machine.changes(before, @briefly)
      assert line =~ ~r"^descriptors \d+: new: .*/dev/null"
      :ok = :file.close(file)
      assert Machine.changes(before) == []
    end

    test "notices a thread that was moved" do
      vm = Vm.start(load: false)
      container = Container.start([:net])
      before = call_machine(vm, :snapshot, [])
      # OTP forgets to move the scheduler back when there is no such protocol.
      path = Container.ns_path(container, :net)
      assert {:error, _} = Vm.call(vm, :socket, :open, [16, :raw, 999, %{netns: path}])
      lines = call_machine(vm, :changes, [before, @briefly])
      assert Enum.any?(lines, &(&1 =~ ~r/^threads \d+: net: "net:.*" -> "net:/))
    end

    test "notices a mount, a name of a namespace and a process" do
      vm = Vm.start(wrap: ["unshare", "--mount", "--"], load: false)
      before = call_machine(vm, :snapshot, [])
      assert {_, 0} = Vm.call(vm, System, :cmd, ["mount", ["-t", "tmpfs", "left", "/run/netns"]])
      assert :ok = Vm.call(vm, File, :write, ["/run/netns/linx_native_left", ""])

      Vm.eval(
        vm,
        quote do
          spawn(fn ->
            Port.open({:spawn, "cat"}, [])
            Process.sleep(:infinity)
          end)
        end
      )

      # Until it has become that program, it has the name of the VM's program that starts others.
      assert Await.until(fn -> "cat" in Map.values(call_machine(vm, :processes, [])) end)
      lines = call_machine(vm, :changes, [before, @briefly])
      assert Enum.any?(lines, &(&1 =~ ~r/^mounts \d+: new: .*tmpfs left/))
      assert "netns linx_native_left: new: :present" in lines
      assert Enum.any?(lines, &(&1 =~ ~r/^processes \d+: new: "cat"/))
    end

    test "fails a test that leaves something behind" do
      before = Machine.snapshot()
      {:ok, file} = :file.open("/dev/null", [:raw])

      assert_raise ExUnit.AssertionError, ~r/left behind:\s+descriptors /, fn ->
        Machine.assert_unchanged!(before, @briefly)
      end

      :ok = :file.close(file)
    end
  end

  describe "Surroundings" do
    test "notices a file that a test makes outside of its folder, wherever that is" do
      vm = Vm.start(wrap: ["unshare", "--mount", "--"], load: false)

      for folder <- ["/dev/shm", "/dev", "/tmp", "/run"], File.dir?(folder) do
        args = ["-t", "tmpfs", "linx_native", folder]
        assert {_, 0} = Vm.call(vm, System, :cmd, ["mount", args])
        before = Vm.call(vm, Surroundings, :snapshot, [])
        :ok = Vm.call(vm, File, :write, [folder <> "/left", ""])

        assert Vm.call(vm, Surroundings, :changes, [before, @briefly]) ==
                 ["files #{folder}/left: new: regular"]

        :ok = Vm.call(vm, File, :rm, [folder <> "/left"])
        assert Vm.call(vm, Surroundings, :changes, [before]) == []
      end
    end

    test "notices files that are left in the temporary folder, however deep" do
      before = Surroundings.snapshot()
      folder = Path.join(System.tmp_dir!(), "left")
      File.mkdir_p!(folder <> "/deep")
      File.ln_s!("nowhere", folder <> "/deep/link")
      lines = Surroundings.changes(before, @briefly)
      File.rm_rf!(folder)
      types = for line <- lines, do: line |> String.split() |> Enum.drop(2)
      assert types == [["new:", "directory"], ["new:", "directory"], ["new:", "symlink"]]
      assert Surroundings.changes(before) == []
    end
  end

  describe "Folder" do
    test "is removed without the content of mounts in it" do
      vm = Vm.start(wrap: ["unshare", "--mount", "--propagation=private", "--"])
      [folder, source] = for _ <- 1..2, do: Folder.make!()
      File.write!(source <> "/kept", "")
      :ok = Vm.call(vm, Mount, :mount, [source, folder, "", 4096, "", "", "", 0])

      assert_raise RuntimeError, "left mounted: #{folder}", fn ->
        Vm.call(vm, Folder, :remove!, [folder])
      end

      assert File.exists?(source <> "/kept")
      :ok = Vm.call(vm, Folder, :remove!, [folder])
      refute File.exists?(folder)
    end
  end

  describe "Container" do
    test "has exactly the requested namespaces" do
      container = Container.start([:net, :pid])

      for {file, own?} <- [net: true, pid: true, mnt: false, user: false] do
        different? = File.read_link!("/proc/self/ns/#{file}") != link(container, file)
        assert {file, different?} == {file, own?}
      end
    end

    test "is the init of its PID namespace and ends with everything in it" do
      container = Container.start([:mount, :pid])
      Container.sh!(container, "mount -t proc proc /proc")
      assert Container.sh!(container, "cat /proc/1/comm") == "linx_harness\n"
      assert %{fstype: "proc", propagation: []} = Container.mount_at(container, "/proc")
      Container.sh!(container, "sleep 60 >/dev/null 2>&1 &")
      Container.stop(container)
      refute File.exists?("/proc/#{container.pid}")
    end

    test "with a user namespace has a root of its own" do
      container = Container.start([:user, :mount, :net, :pid])
      assert Container.sh!(container, "id -u; ip -o link | wc -l") == "0\n1\n"
      Container.sh!(container, "mount -t tmpfs 'a b' /mnt")
      assert %{source: "a b", fstype: "tmpfs"} = Container.mount_at(container, "/mnt")
      assert MountInfo.at("/mnt") == nil
    end
  end

  describe "Harness" do
    test "returns the namespace of a socket" do
      container = Container.start([:net])
      {:ok, inside} = :socket.open(16, :raw, 0, %{netns: Container.ns_path(container, :net)})
      {:ok, fd} = :socket.getopt(inside, :otp, :fd)
      socket = Harness.socket(fd)
      :socket.close(inside)

      %{inode: inode} = File.stat!(Container.ns_path(container, :net))
      assert %{netns_ino: ^inode, domain: 16, type: 3, protocol: 0, nl_groups: 0} = socket
    end

    test "swaps two names" do
      folder = Folder.make!()
      [a, b] = for name <- ["a", "b"], do: Path.join(folder, name)
      Enum.each([a, b], &File.write!(&1, &1))
      race = Harness.race(a, b)
      assert Await.until(fn -> File.read!(a) == b end)
      assert Harness.swaps(race) > 0
      assert File.read!(a) == a
    end

    test "reports an unknown subcommand" do
      assert {"linx_harness: " <> _, 125} = Harness.run("container", ["--what"])
      assert {"linx_harness: " <> _, 125} = Harness.run("socket", [System.pid(), "999999"])
    end
  end

  describe "Vm" do
    test "has the libraries of this one" do
      vm = Vm.start()
      assert Vm.call(vm, Mount, :version, []) == ~c"linx_mount"
    end

    test "runs under a filter of system calls" do
      wrap = Harness.seccomp("fsopen=ENOSYS,socket-netlink=EPERM,setns=EAGAIN")
      vm = Vm.start(wrap: wrap, load: false)
      assert {:error, :eperm} = Vm.call(vm, :socket, :open, [16, :raw, 0])
      assert {:ok, _} = Vm.call(vm, :socket, :open, [:inet, :dgram])
    end

    @tag :machine_root
    test "runs without privileges and with few descriptors" do
      vm = Vm.start(wrap: ~w(prlimit --nofile=64 --), user: :nobody, load: false)
      assert "65534\n" = to_string(Vm.call(vm, :os, :cmd, [~c"id -u"]))
    end

    test "evaluates code" do
      vm = Vm.start(load: false)
      assert Vm.eval(vm, quote(do: var!(n) + 1), n: 1) == 2
      assert_raise ArgumentError, fn -> Vm.call(vm, :erlang, :hd, [[]]) end
    end

    @tag :machine_root
    test "can be kept from starting threads" do
      vm = Vm.start()
      open = fn -> Vm.call(vm, NetlinkSocket, :open_in_netns, ["/proc/self/ns/net", 0]) end
      TaskLimit.set!(vm, 0)
      assert {:error, {:thread, 11}} = open.()
      TaskLimit.set!(vm, 1)
      assert {:ok, _} = open.()
    end
  end

  describe "Netlink" do
    test "lists the interfaces that a socket sees" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      {:ok, fd} = NetlinkSocket.open_in_netns(path, 0)
      assert Netlink.links(fd) == [{1, "lo"}]
    end
  end

  describe "Departures" do
    test "accepts only listed departures, and only differences" do
      assert_raise RuntimeError, fn -> expect(:D0, rust: 1, c: 2) end
      [%{id: id} | _] = Departures.listed()
      assert_raise RuntimeError, fn -> expect(id, rust: 1, c: 1) end
    end

    test "are those of the guide" do
      guide = File.read!("docs/departures.md")
      rows = for [_, id] <- Regex.scan(~r/^\| (D\d+) \|/m, guide), do: String.to_atom(id)
      assert rows == for(%{id: id} <- Departures.listed(), do: id)
    end
  end

  defp link(container, file), do: File.read_link!(Container.ns_path(container, file))

  defp call_machine(vm, function, args), do: Vm.call(vm, Machine, function, args)
end
