defmodule LinxNative.Conn.Parity.ConnectionTest do
  @moduledoc """
  Tests rows of the table "Compared with mdlayher/netlink", under the rows' names: the connection itself.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  describe "`Dial`, `Config.NetNS`, `Config.Groups`" do
    test "the namespace of the VM, of a process, of a file, of a descriptor" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      there = LinxNative.netns_id({:path, path})
      here = LinxNative.netns_id(:host)
      refute here == there

      assert Conn.netns(open!(:route)) == here
      assert Conn.netns(open!(:route, netns: :host)) == here
      assert Conn.netns(open!(:route, netns: {:pid, container.pid})) == there
      assert Conn.netns(open!(:route, netns: {:path, path})) == there

      {:ok, file} = :file.open(path, [:read, :raw])
      fd = descriptor_of(path)
      assert Conn.netns(open!(:route, netns: {:fd, fd})) == there
      # The descriptor stays the caller's.
      assert LinxNative.netns_id({:fd, fd}) == there
      :ok = :file.close(file)
    end

    test "requests apply to the connection's namespace" do
      container = Container.start([:net])
      Container.sh!(container, "ip link add marker type bridge")

      assert "marker" in names(open!(:route, netns: {:pid, container.pid}))
      refute "marker" in names(open!(:route))
    end

    test "groups by number, also those beyond 32" do
      conn = route!(groups: [1, 5, 33, 36])
      assert Conn.info!(conn).groups == [1, 5, 33, 36]

      do!(conn, Links.create("marker"))
      assert event!(conn) == {:new, "marker"}
    end

    test "any protocol, by name or number" do
      for {name, number} <- [route: 0, usersock: 2, generic: 16], protocol <- [name, number] do
        {:ok, fd} = protocol |> open!([]) |> Conn.descriptor()
        assert %{protocol: ^number, domain: 16} = Harness.socket(fd)
      end
    end
  end

  describe "`JoinGroup`, `LeaveGroup`" do
    test "events come after joining, and stop after leaving" do
      conn = route!()
      do!(conn, Links.create("before"))
      assert Conn.join_group(conn, 1) == :ok
      assert Conn.info!(conn).groups == [1]
      do!(conn, Links.create("joined"))
      assert event!(conn) == {:new, "joined"}

      assert Conn.leave_group(conn, 1) == :ok
      assert Conn.info!(conn).groups == []
      do!(conn, Links.create("after"))
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "an unknown group is refused" do
      conn = route!()
      assert {:error, %Error{reason: :einval}} = Conn.join_group(conn, 999)
      assert {:error, %Error{reason: :einval}} = Conn.leave_group(conn, 999)
      assert Conn.join_group(conn, 35) == :ok
      assert Conn.leave_group(conn, 35) == :ok
      assert Conn.info!(conn).groups == []
    end
  end

  describe "`SyscallConn`" do
    test "the descriptor of the socket can be used, for example by :socket.open/1" do
      conn = route!()
      {:ok, fd} = Conn.descriptor(conn)
      assert {"socket:" <> _, :close_on_exec} = Machine.descriptors()[fd]

      {:ok, socket} = :socket.open(fd)
      assert LinxNative.netns_id(socket) == Conn.netns(conn)
      assert LinxNative.netns_id(fd) == Conn.netns(conn)
      :ok = :socket.close(socket)
      assert names(conn) == ["lo"]
    end
  end

  describe "`Config.PID`" do
    test "the port that the kernel chooses is free, also if that of the VM's process id is taken" do
      ports = for _ <- 1..20, do: port_id(open!(:route))
      assert ports == Enum.uniq(ports)
      refute 0 in ports
    end
  end

  describe "`Config.MessageBufferSize`" do
    test "a datagram as long as the option is received, and a longer one is an error with its length" do
      {:ok, [link]} = Conn.request(route!(), Links.get("lo"))
      length = byte_size(Message.encode(link))
      assert {:ok, [^link]} = read_lo(route!(datagram: length), link)
      assert {:error, error} = read_lo(route!(datagram: length - 1), link)
      assert %Error{reason: :truncated, detail: ^length} = error
    end

    # The numbers in its header are those of the connection, and its counters those of the namespace.
    defp read_lo(conn, link) do
      with {:ok, [answer]} <- Conn.request(conn, Links.get("lo")) do
        assert byte_size(answer.body) == byte_size(link.body)
        {:ok, [link]}
      end
    end
  end

  describe "`ReceiveIter`" do
    test "a dump is received as it is consumed, and an error comes after what came before it" do
      container = Container.start([:net])
      for n <- 1..40, do: Container.sh!(container, "ip link add link#{n} type bridge")
      conn = open!(:route, netns: {:pid, container.pid})
      stream = Conn.stream(conn, Links.dump())
      assert Enum.map(stream, &Links.read(&1).name) == names(conn)

      {:ok, seen} = Agent.start_link(fn -> 0 end)

      assert_raise Error, "the connection is closed", fn ->
        for _link <- stream do
          Agent.update(seen, &(&1 + 1))
          Conn.close(conn)
        end
      end

      assert Agent.get(seen, & &1) in 1..40
    end
  end

  describe "`PID`" do
    test "the port id that the kernel gave the socket" do
      {one, other} = {open!(:route), open!(:route)}
      {:ok, fd} = Conn.descriptor(one)
      assert Harness.socket(fd).nl_pid == port_id(one)
      refute port_id(one) == port_id(other)
    end
  end

  describe "`Close`" do
    test "ends calls that wait in request/3 and recv/2, and closes the descriptor" do
      {conn, silent} = {open!(:usersock, accept: :any), open!(:usersock, accept: :any)}
      {:ok, fd} = Conn.descriptor(conn)
      to = port_id(silent)

      waiting = [
        Task.async(fn -> Conn.recv(conn) end),
        Task.async(fn -> Conn.request(conn, %Message{type: 20}, to: to, timeout: :infinity) end)
      ]

      Enum.each(waiting, &await_blocked!/1)
      assert Conn.close(conn) == :ok
      refute Map.has_key?(Machine.descriptors(), fd)
      closed = {:error, %Error{reason: :closed}}
      assert Task.await_many(waiting, :infinity) == [closed, closed]
    end
  end

  # The raw files of the VM do not tell theirs.
  defp descriptor_of(path) do
    {:ok, %{inode: inode}} = File.stat(path)
    target = "net:[#{inode}]"
    [fd] = for {fd, {^target, _}} <- Machine.descriptors(), do: fd
    fd
  end
end
