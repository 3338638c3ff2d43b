defmodule LinxNative.Conn.NetnsIdTest do
  @moduledoc """
  `LinxNative.netns_id/1`, for everything that has a network namespace, and for each way to name one.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  @own "/proc/self/ns/net"

  defp stat(path) do
    %{major_device: device, inode: inode} = File.stat!(path)
    {:ok, {device, inode}}
  end

  defp socket!(path) do
    {:ok, fd} = NetlinkSocket.open_in_netns(path, 0)
    {:ok, socket} = Netlink.adopt(fd)
    on_exit(fn -> :socket.close(socket) end)
    socket
  end

  defp conn!(options) do
    {:ok, conn} = Conn.start_link(:route, options)
    conn
  end

  # A descriptor of the file, which the VM keeps open while `fun` runs.
  defp with_file(path, fun) do
    before = Machine.descriptors()
    {:ok, file} = :file.open(path, [:read, :raw])

    try do
      [fd] = Map.keys(Machine.descriptors()) -- Map.keys(before)
      fun.(fd)
    after
      :file.close(file)
    end
  end

  describe "the namespace of the VM" do
    test "by name, by process, by file" do
      own = stat(@own)
      {pid, ""} = Integer.parse(System.pid())
      assert LinxNative.netns_id(:host) == own
      assert LinxNative.netns_id({:pid, pid}) == own
      assert LinxNative.netns_id({:path, @own}) == own
      assert stat("/proc/#{pid}/ns/net") == own
      with_file(@own, &assert(LinxNative.netns_id({:fd, &1}) == own))
    end

    test "of sockets of any family, and of their descriptors" do
      for {domain, type} <- [inet: :stream, inet6: :dgram, local: :stream] do
        {:ok, socket} = :socket.open(domain, type)
        {:ok, fd} = :socket.getopt(socket, :otp, :fd)
        assert LinxNative.netns_id(socket) == stat(@own)
        assert LinxNative.netns_id(fd) == stat(@own)
        :ok = :socket.close(socket)
      end

      assert LinxNative.netns_id(socket!(@own)) == stat(@own)
      assert LinxNative.netns_id(conn!([])) == stat(@own)
    end

    test "of a port of gen_udp, by its descriptor" do
      {:ok, port} = :gen_udp.open(0)
      {:ok, fd} = :inet.getfd(port)
      assert LinxNative.netns_id(fd) == stat(@own)
      :ok = :gen_udp.close(port)
    end
  end

  describe "another namespace" do
    setup do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      %{container: container, path: path, id: stat(path)}
    end

    test "by process, by file, by descriptor", %{container: container, path: path, id: id} do
      refute id == stat(@own)
      assert LinxNative.netns_id({:pid, container.pid}) == id
      assert LinxNative.netns_id({:path, path}) == id
      with_file(path, &assert(LinxNative.netns_id({:fd, &1}) == id))
    end

    test "of a connection, a socket, their descriptors", %{path: path, id: id} do
      conn = conn!(netns: {:path, path})
      {:ok, of_conn} = Conn.descriptor(conn)
      socket = socket!(path)
      {:ok, of_socket} = :socket.getopt(socket, :otp, :fd)

      for one <- [conn, of_conn, socket, of_socket], do: assert(LinxNative.netns_id(one) == id)
      assert Conn.netns(conn) == id
      assert {:ok, Conn.info!(conn).netns} == id
    end

    test "by the name that ip-netns(8) gave it" do
      name = "linx_native_#{System.pid()}"
      {_, 0} = System.cmd("ip", ["netns", "add", name])

      try do
        path = "/run/netns/#{name}"
        conn = conn!(netns: {:path, path})
        assert LinxNative.netns_id(conn) == stat(path)
        assert LinxNative.netns_id({:path, path}) == stat(path)
        :ok = Conn.close(conn)
      after
        {_, 0} = System.cmd("ip", ["netns", "delete", name])
      end
    end

    test "if no process is left in it", %{container: container, path: path, id: id} do
      conn = conn!(netns: {:pid, container.pid})
      socket = socket!(path)
      Container.stop(container)
      assert {:error, %Error{reason: :enoent}} = LinxNative.netns_id({:path, path})
      assert {:error, %Error{reason: :enoent}} = LinxNative.netns_id({:pid, container.pid})

      {:ok, fd} = Conn.descriptor(conn)
      for one <- [conn, fd, socket], do: assert(LinxNative.netns_id(one) == id)

      # The namespace still works.
      assert {:ok, []} = Conn.request(conn, Links.create("marker"))
      assert {:ok, [%Message{}, %Message{}]} = Conn.request(conn, Links.dump())
    end

    test "has an id of its own, however many there are", %{container: container, id: id} do
      containers = [container | for(_ <- 1..9, do: Container.start([:net]))]
      ids = for %{pid: pid} <- containers, do: LinxNative.netns_id(conn!(netns: {:pid, pid}))
      assert hd(ids) == id
      assert length(Enum.uniq([stat(@own) | ids])) == 11
      assert ids == for(%{pid: pid} <- containers, do: LinxNative.netns_id({:pid, pid}))
    end
  end

  describe "errors:" do
    test "a descriptor that is not open, or not a socket" do
      for fd <- [-1, 0x7FFF_FFFF],
          do: assert({:error, %Error{reason: :ebadf}} = LinxNative.netns_id(fd))

      for path <- [@own, "/etc/passwd", "/dev/null"], do: with_file(path, &no_socket!/1)
    end

    # The number of the ioctl(2) means something else to other files.
    defp no_socket!(fd), do: assert({:error, %Error{reason: :enotsock}} = LinxNative.netns_id(fd))

    test "a file that does not exist" do
      for name <- [path: "/nowhere", path: "", pid: 0x7FFF_FFFF] do
        assert {^name, {:error, %Error{reason: :enoent}}} = {name, LinxNative.netns_id(name)}
      end
    end

    test "a file or descriptor that does not belong to a network namespace" do
      for path <- [__ENV__.file, "/proc/self/ns/mnt", "/dev/null", "/", @own <> "\0"] do
        assert {^path, {:error, %Error{reason: :einval}}} =
                 {path, LinxNative.netns_id({:path, path})}
      end

      for path <- [__ENV__.file, "/proc/self/ns/mnt", "/dev/null"] do
        with_file(
          path,
          &assert({:error, %Error{reason: :einval}} = LinxNative.netns_id({:fd, &1}))
        )
      end

      {:ok, of_conn} = Conn.descriptor(conn!([]))
      assert {:error, %Error{reason: :einval}} = LinxNative.netns_id({:fd, of_conn})

      for fd <- [-1, 0x7FFF_FFFF],
          do: assert({:error, %Error{reason: :ebadf}} = LinxNative.netns_id({:fd, fd}))
    end

    test "a connection or a socket that is closed" do
      conn = conn!([])
      :ok = Conn.close(conn)
      assert {:error, %Error{reason: :closed}} = LinxNative.netns_id(conn)
      assert {:noproc, _call} = catch_exit(LinxNative.netns_id(:nobody_has_this_name))

      {:ok, socket} = :socket.open(:inet, :dgram)
      :ok = :socket.close(socket)
      assert {:error, %Error{reason: :closed}} = LinxNative.netns_id(socket)
    end

    @tag :machine_root
    test "a socket without permission" do
      answers =
        Vm.eval(
          Vm.start(user: :nobody),
          quote do
            {:ok, socket} = :socket.open(:inet, :dgram)
            {LinxNative.netns_id(socket), LinxNative.netns_id(:host), :socket.close(socket)}
          end
        )

      # To look at its file is permitted.
      assert {{:error, %Error{reason: :eperm}}, own, :ok} = answers
      assert own == stat(@own)
    end

    test "a term without a namespace raises" do
      odd =
        [1.0, "path", [], {}, {:path}, 0x8000_0000, -0x8000_0001] ++
          [path: nil, path: :host, path: ~c"/", path: <<1::1>>, pid: 0, pid: -1, pid: "1"] ++
          [pid: nil, fd: "1", fd: nil, fd: 0x8000_0000]

      for odd <- odd do
        assert catch_error(LinxNative.netns_id(odd)) in [:badarg, :function_clause]
      end
    end
  end
end
