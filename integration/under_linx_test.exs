defmodule UnderLinxTest do
  @moduledoc """
  Tests what users of Linx notice, according to docs/under-linx.md.
  """

  use ExUnit.Case, async: false

  alias Linx.{Mount, Netlink}
  alias Linx.Mount.Native

  setup do
    script = "read -r pid _ < /proc/self/stat; echo $pid; read -r _"
    args = ~w(--mount --net --fork --kill-child -- sh -c) ++ [script]
    unshare = System.find_executable("unshare")
    port = Port.open({:spawn_executable, unshare}, [:binary, line: 80, args: args])
    assert_receive {^port, {:data, {:eol, pid}}}, 30_000
    ns = "/proc/#{pid}/ns/mnt"
    :ok = Mount.mount("linx", "/mnt", type: "tmpfs", ns: ns)
    {:ok, pid: pid, ns: ns, root: "/proc/#{pid}/root/mnt"}
  end

  test "a NUL byte is refused", %{ns: ns} do
    assert {:error, %Netlink.Socket.Error{stage: :open, code: 22}} =
             Netlink.Socket.open({:path, "/proc/self/ns/net\0x"})

    assert_raise ArgumentError, fn -> Mount.mount("linx", "/mnt\0x", type: "tmpfs", ns: ns) end
  end

  test "a target below a symbolic link is refused with create_target", %{ns: ns, root: root} do
    File.mkdir!(Path.join(root, "data"))
    File.ln_s!("data", Path.join(root, "link"))
    assert Mount.mount("/dev/null", "/mnt/data/a", bind: true, create: true, ns: ns) == :ok

    assert {:error, %Mount.Error{stage: :create, errno: :eloop}} =
             Mount.mount("/dev/null", "/mnt/link/b", bind: true, create: true, ns: ns)
  end

  test "options of a page or more are refused", %{ns: ns} do
    data = "size=1m," <> String.duplicate("x", 8192)

    assert {:error, %Mount.Error{stage: :mount, errno: :unknown, code: 7}} =
             Mount.mount("linx", "/mnt", type: "tmpfs", data: data, ns: ns)
  end

  test "/proc can be mounted after pivot_root", %{pid: pid, ns: ns, root: root} do
    for name <- ~w(old proc), do: File.mkdir!(Path.join(root, name))
    :ok = Native.pivot_root("/mnt", "/mnt/old", ns)
    refute File.exists?("/proc/#{pid}/root/proc/self")

    assert Mount.mount("proc", "/proc", type: "proc", ns: ns, pid_ns: "/proc/#{pid}/ns/pid") == :ok
    assert File.exists?("/proc/#{pid}/root/proc/uptime")
  end

  test "a target / with create_target is :ok", %{ns: ns} do
    assert Mount.mount("linx", "/", type: "tmpfs", create: true, ns: ns) == :ok
  end

  test "the namespace of a process that has ended is :enoent" do
    assert {:error, %Mount.Error{stage: :open_ns, errno: :enoent}} =
             Mount.umount("/mnt", ns: "/proc/1000000000/ns/mnt")
  end

  test "Linx leaks a descriptor with every socket, and one line fixes that", %{pid: pid} do
    # Code that is loaded at the first use needs descriptors too.
    {:ok, socket} = Netlink.Socket.open({:pid, pid})
    :ok = :socket.close(socket)
    before = sockets()

    {:ok, socket} = Netlink.Socket.open({:pid, pid})
    :ok = :socket.close(socket)
    assert sockets() == before + 1

    {:ok, fd} = Netlink.Socket.Native.open_in_netns("/proc/#{pid}/ns/net", 0)
    opened = :socket.open(fd)
    :ok = Netlink.Socket.Native.close_fd(fd)
    {:ok, socket} = opened
    :ok = :socket.close(socket)
    assert sockets() == before + 1
  end

  defp sockets do
    Enum.count(File.ls!("/proc/self/fd"), fn fd ->
      match?({:ok, "socket:" <> _}, File.read_link("/proc/self/fd/#{fd}"))
    end)
  end
end
