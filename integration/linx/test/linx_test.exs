defmodule LinxTest do
  use ExUnit.Case, async: true

  alias Linx.{Mount, Netlink}

  setup do
    script = "read -r pid _ < /proc/self/stat; echo $pid; read -r _"
    args = ~w(--mount --net --fork --kill-child -- sh -c) ++ [script]
    unshare = System.find_executable("unshare")
    port = Port.open({:spawn_executable, unshare}, [:binary, line: 80, args: args])
    assert_receive {^port, {:data, {:eol, pid}}}, 30_000
    # It ends with its standard input, which ends with the port, which ends with the test.
    {:ok, pid: pid, ns: "/proc/#{pid}/ns/mnt"}
  end

  test "a socket sees the links of the namespace it was opened in", %{pid: pid} do
    {:ok, socket} = Netlink.Socket.open({:pid, pid})
    # Below two lines of headings.
    lines = "/proc/#{pid}/net/dev" |> File.read!() |> String.split("\n", trim: true)
    assert Netlink.Socket.count_links(socket) == length(lines) - 2
    :ok = :socket.close(socket)
  end

  test "a missing namespace is an error with its stage and number" do
    assert {:error, %Netlink.Socket.Error{stage: :open, code: 2}} =
             Netlink.Socket.open({:path, "/none"})

    assert {:error, %Netlink.Socket.Error{stage: :setns, code: 22}} =
             Netlink.Socket.open({:path, "/proc/self/ns/mnt"})
  end

  test "a file system is mounted in a namespace, and unmounted", %{pid: pid, ns: ns} do
    mounted? = fn -> File.read!("/proc/#{pid}/mountinfo") =~ " /mnt rw,relatime - tmpfs linx " end
    refute mounted?.()
    assert Mount.mount("linx", "/mnt", type: "tmpfs", data: "size=1m", ns: ns) == :ok
    assert mounted?.()
    assert Mount.umount("/mnt", ns: ns) == :ok
    refute mounted?.()
  end

  test "a target is created to bind a file onto it", %{pid: pid, ns: ns} do
    :ok = Mount.mount("linx", "/mnt", type: "tmpfs", ns: ns)
    assert Mount.mount("/dev/null", "/mnt/null", bind: true, create: true, ns: ns) == :ok
    assert File.stat!("/proc/#{pid}/root/mnt/null").type == :device
  end

  test "an errno with a name has that name", %{ns: ns} do
    assert {:error, %Mount.Error{stage: :umount, errno: :einval}} = Mount.umount("/mnt", ns: ns)

    assert {:error, %Mount.Error{stage: :open_ns, errno: :enoent}} =
             Mount.umount("/mnt", ns: "/none")
  end

  test "the library returns its name" do
    assert Mount.Native.version() == ~c"linx_mount"
  end
end
