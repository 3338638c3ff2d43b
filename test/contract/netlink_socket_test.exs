defmodule LinxNative.NetlinkSocketTest do
  @moduledoc """
  `Linx.Netlink.Socket.Native` on real network namespaces, each stage reached by making that step fail.
  """

  use LinxNative.Test.Case

  @netlink_route 0
  @own "/proc/self/ns/net"

  defp open!(path, protocol \\ @netlink_route) do
    {:ok, fd} = NetlinkSocket.open_in_netns(path, protocol)
    on_exit(fn -> NetlinkSocket.close_fd(fd) end)
    fd
  end

  # In the VM `vm`, which may be unable to do much else.
  defp open_in(vm, path, protocol \\ @netlink_route),
    do: Vm.call(vm, NetlinkSocket, :open_in_netns, [path, protocol])

  defp identity(path) do
    {:ok, %{inode: inode}} = File.stat(path)
    inode
  end

  describe "open_in_netns/2" do
    test "opens a close-on-exec raw netlink socket of the protocol" do
      for protocol <- [0, 15, 16] do
        fd = open!(@own, protocol)

        assert %{domain: 16, type: 3, protocol: ^protocol, nl_pid: 0, nl_groups: 0} =
                 Harness.socket(fd)

        assert {"socket:" <> _, :close_on_exec} = Machine.descriptors()[fd]
      end
    end

    test "the socket is in the namespace of the path" do
      container = Container.start([:net])
      there = Container.ns_path(container, :net)
      refute identity(there) == identity(@own)

      assert %{netns_ino: inode} = seen = Harness.socket(open!(there))
      assert inode == identity(there)
      assert %{netns_ino: own} = own_seen = Harness.socket(open!(@own))
      assert own == identity(@own)
      # Asks the kernel whether a socket tells the cookie of its namespace.
      assert is_map_key(seen, :cookie) == is_map_key(own_seen, :cookie)
      if is_map_key(seen, :cookie), do: refute(seen.cookie == own_seen.cookie)
    end

    test "the socket sees the links of that namespace" do
      container = Container.start([:net])
      Container.sh!(container, "ip link add marker type bridge")

      {:ok, fd} = NetlinkSocket.open_in_netns(Container.ns_path(container, :net), @netlink_route)
      assert [{1, "lo"}, {_, "marker"}] = Netlink.links(fd)

      {:ok, fd} = NetlinkSocket.open_in_netns(@own, @netlink_route)
      refute "marker" in Enum.map(Netlink.links(fd), &elem(&1, 1))
    end

    test "a namespace named by ip-netns(8)" do
      name = "linx_native_#{System.pid()}"
      {_, 0} = System.cmd("ip", ["netns", "add", name])

      try do
        {:ok, fd} = NetlinkSocket.open_in_netns("/run/netns/#{name}", @netlink_route)
        assert [{1, "lo"}] = Netlink.links(fd)
      after
        {_, 0} = System.cmd("ip", ["netns", "delete", name])
      end
    end

    test "the socket keeps its namespace alive after the last process and the last name" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      Container.sh!(container, "ip link add marker type bridge")
      inode = identity(path)
      {:ok, fd} = NetlinkSocket.open_in_netns(path, @netlink_route)
      Container.stop(container)
      refute File.exists?(path)

      assert %{netns_ino: ^inode} = Harness.socket(fd)
      assert [{1, "lo"}, {_, "marker"}] = Netlink.links(fd)
    end

    test "a relative path is looked up from the VM's working directory" do
      relative = Path.relative_to(@own, "/")
      here = File.cwd!()
      File.cd!("/")

      try do
        assert {:ok, fd} = NetlinkSocket.open_in_netns(relative, @netlink_route)
        assert :ok = NetlinkSocket.close_fd(fd)
      after
        File.cd!(here)
      end

      assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns(relative, @netlink_route)
    end

    test "stage open: the file cannot be opened" do
      assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns("/proc/self/ns/nothing", 0)
      assert {:error, {:open, 20}} = NetlinkSocket.open_in_netns("/proc/self/stat/x", 0)
      name = String.duplicate("x", 256)
      assert {:error, {:open, 36}} = NetlinkSocket.open_in_netns("/#{name}", 0)
    end

    test "stage setns: not a network namespace" do
      for path <- ["/proc/self/ns/mnt", "/proc/self/stat", "/"] do
        assert {:error, {:setns, 22}} = NetlinkSocket.open_in_netns(path, 0)
      end
    end

    test "stage socket: no such protocol" do
      assert {:error, {:socket, 93}} = NetlinkSocket.open_in_netns(@own, 31)
    end

    @tag :machine_root
    test "stage thread: no thread can be made" do
      vm = Vm.start()
      TaskLimit.set!(vm, 0)
      assert {:error, {:thread, 11}} = open_in(vm, @own)
      # The thread comes first: the path is not looked at.
      assert {:error, {:thread, 11}} = open_in(vm, "/nonexistent")
      TaskLimit.set!(vm, 1)
      assert {:ok, _} = open_in(vm, @own)
    end

    test "stages open and socket: no descriptor left" do
      vm = Vm.start(wrap: ["prlimit", "--nofile=256:256", "--"])

      leave = fn count ->
        args = [count, NetlinkSocket, :open_in_netns, [@own, @netlink_route]]
        Vm.call(vm, Descriptors, :with_only, args)
      end

      assert {:error, {:open, 24}} = leave.(0)
      assert {:error, {:socket, 24}} = leave.(1)
      assert {:ok, _} = leave.(2)
    end

    @tag :machine_root
    test "stages open and setns: not permitted" do
      vm = Vm.start(user: :nobody)
      assert {:error, {:setns, 1}} = open_in(vm, @own)
      assert {:error, {:open, 13}} = open_in(vm, "/proc/1/ns/net")
    end

    test "each refused system call is its own stage" do
      for {rule, result} <- [
            {"setns-net=EPERM", {:error, {:setns, 1}}},
            {"setns-net=ENOSYS", {:error, {:setns, 38}}},
            {"setns-net=EINTR", {:error, {:setns, 4}}},
            {"socket-netlink=ENOMEM", {:error, {:socket, 12}}},
            {"socket-netlink=524", {:error, {:socket, 524}}}
          ] do
        vm = Vm.start(wrap: Harness.seccomp(rule))
        before = Vm.call(vm, Machine, :snapshot, [])
        assert {rule, open_in(vm, @own)} == {rule, result}
        assert Vm.call(vm, Machine, :changes, [before]) == []
        Vm.stop(vm)
      end
    end
  end

  describe "close_fd/1" do
    test "closes the descriptor" do
      {:ok, fd} = NetlinkSocket.open_in_netns(@own, 0)
      assert Map.has_key?(Machine.descriptors(), fd)
      assert :ok = NetlinkSocket.close_fd(fd)
      refute Map.has_key?(Machine.descriptors(), fd)
    end

    test "is :ok for a descriptor that is not open" do
      assert :ok = NetlinkSocket.close_fd(-1)
      assert :ok = NetlinkSocket.close_fd(1_000_000)
    end
  end

  describe "bind_netlink/2" do
    test "binds to an address of the kernel's choice and to the groups" do
      fd = open!(@own)
      assert :ok = NetlinkSocket.bind_netlink(fd, 0x11)
      assert %{nl_pid: port, nl_groups: 0x11} = Harness.socket(fd)
      assert port != 0
    end

    test "gives EINVAL the second time" do
      fd = open!(@own)
      assert :ok = NetlinkSocket.bind_netlink(fd, 1)
      assert {:error, 22} = NetlinkSocket.bind_netlink(fd, 2)
      assert %{nl_groups: 1} = Harness.socket(fd)
    end

    test "receives events of a group in the socket's namespace" do
      container = Container.start([:net])
      {:ok, fd} = NetlinkSocket.open_in_netns(Container.ns_path(container, :net), 0)
      assert :ok = NetlinkSocket.bind_netlink(fd, 1)
      {:ok, socket} = Netlink.adopt(fd)

      Container.sh!(container, "ip link add marker type bridge")
      assert {:ok, message} = :socket.recv(socket, 0, patience())
      assert message =~ "marker"
      :ok = :socket.close(socket)
    end

    test "returns the errno of bind(2), without a stage" do
      {:ok, socket} = :socket.open(:inet, :dgram)
      {:ok, other} = :socket.getopt(socket, :otp, :fd)
      assert {:error, 9} = NetlinkSocket.bind_netlink(1_000_000, 0)
      assert {:error, 22} = NetlinkSocket.bind_netlink(other, 0)
      :ok = :socket.close(socket)
    end

    test "gives ENOTSOCK for a descriptor that is not a socket" do
      {:ok, file} = :file.open("/dev/null", [:read, :raw])
      {fd, _} = Enum.find(Machine.descriptors(), fn {_, {path, _}} -> path == "/dev/null" end)
      assert {:error, 88} = NetlinkSocket.bind_netlink(fd, 0)
      :ok = :file.close(file)
    end
  end
end
