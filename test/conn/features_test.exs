defmodule LinxNative.Conn.FeaturesTest do
  @moduledoc """
  The table "Compared with mdlayher/netlink" of `LinxNative.Conn`: what each of its rows promises, under the row's name.
  """

  use LinxNative.Test.Case

  import LinxNative.Conn.Filter

  alias LinxNative.{Conn, Message}
  alias LinxNative.Conn.{Error, Filter, Native}
  alias LinxNative.Test.Links

  @moduletag :conn

  @keep 0xFFFF_FFFF
  @error 2
  @new_link 16
  @delete_link 17
  @new_nsid 88
  @patience 5_000

  defp container, do: Container.start([:net])

  defp open!(protocol, options) do
    {:ok, conn} = Conn.start_link(protocol, options)
    conn
  end

  # In a namespace where nothing happens but what the test does.
  defp route!(options \\ []), do: open!(:route, [netns: {:pid, container().pid}] ++ options)

  defp names(conn) do
    {:ok, links} = Conn.request(conn, Links.dump())
    Enum.map(links, &Links.read(&1).name)
  end

  defp do!(conn, request), do: assert({:ok, []} = Conn.request(conn, request))

  defp event!(conn) do
    {:ok, [message], _origin} = Conn.recv(conn, @patience)
    link = Links.read(message)
    {link.what, link.name}
  end

  # A port that takes what it is sent, and never answers.
  defp silent!, do: open!(:usersock, [])
  defp port_id(conn), do: Conn.info(conn).port_id

  defp await_blocked!(%Task{pid: pid}) do
    # The call is sent before its caller waits for the reply.
    waits? = fn -> Process.info(pid, :status) == {:status, :waiting} end
    assert Await.until(waits?)
  end

  describe "`Dial`, `Config.NetNS`, `Config.Groups`" do
    test "the namespace of the VM, of a process, of a file, of a descriptor" do
      container = container()
      path = Container.ns_path(container, :net)
      there = LinxNative.netns_id({:path, path})
      here = LinxNative.netns_id(:host)
      refute here == there

      assert Conn.netns(open!(:route, [])) == here
      assert Conn.netns(open!(:route, netns: :host)) == here
      assert Conn.netns(open!(:route, netns: {:pid, container.pid})) == there
      assert Conn.netns(open!(:route, netns: {:path, path})) == there

      {:ok, file} = :file.open(path, [:read, :raw])
      fd = descriptor_of(path)
      assert Conn.netns(open!(:route, netns: {:fd, fd})) == there
      # It stays the caller's.
      assert LinxNative.netns_id({:fd, fd}) == there
      :ok = :file.close(file)
    end

    test "it talks to the kernel about the namespace it is in" do
      container = container()
      Container.sh!(container, "ip link add marker type bridge")

      assert "marker" in names(open!(:route, netns: {:pid, container.pid}))
      refute "marker" in names(open!(:route, []))
    end

    test "groups by number, also those beyond 32" do
      conn = route!(groups: [1, 5, 33, 36])
      assert Conn.info(conn).groups == [1, 5, 33, 36]

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

  describe "`Config.Strict`" do
    test "a dump with what nobody reads is refused, and the kernel says why" do
      # struct ifinfomsg with a type, by which nothing is selected
      request = %{Links.dump() | body: <<0, 0, 1::native-16, 0::96>>}
      assert {:ok, [_loopback]} = Conn.request(route!(), request)

      strict = route!(ext_ack: true, strict_check: true)
      assert {:error, %Error{name: :einval, text: text}} = Conn.request(strict, request)
      assert text =~ "Invalid values"
      assert names(strict) == ["lo"]
    end
  end

  describe "`Execute`" do
    test "a reply, and an acknowledgement of what has none" do
      conn = route!()
      do!(conn, Links.create("marker"))
      assert {:ok, [message]} = Conn.request(conn, Links.get(1))
      assert %{what: :new, name: "lo"} = Links.read(message)
      assert names(conn) == ["lo", "marker"]
      do!(conn, Links.delete("marker"))
      assert names(conn) == ["lo"]
    end

    test "a refusal has the errno, its name, and the kernel's words and offset" do
      conn = route!()
      do!(conn, Links.create("marker"))

      for {request, name, errno} <- [
            {Links.create("marker"), :eexist, 17},
            {Links.get(99), :enodev, 19},
            {Links.delete("nobody"), :enodev, 19},
            {%Message{type: 4000, body: <<0::128>>}, :eopnotsupp, 95}
          ] do
        assert {:error, %Error{name: ^name, errno: ^errno}} = Conn.request(conn, request)
      end

      # IFLA_MTU of two bytes. Its offset is the length of all that comes before.
      request = Links.create("other", "bridge", [{4, <<1500::native-16>>}])
      offset = byte_size(Message.encode(Links.create("other")))
      assert {:error, %Error{} = error} = Conn.request(conn, request)
      assert %{name: :erange, errno: 34, offset: ^offset, missing: nil} = error

      assert Exception.message(error) ==
               "erange: #{error.text} (at byte #{offset} of the request)"

      assert error.text =~ "policy"
    end

    test "an answer of many datagrams is whole" do
      container = container()
      links = for n <- 1..60, do: "link#{n}"

      Container.sh!(
        container,
        Enum.map_join(links, "\n", &"ip link add #{&1} type bridge || exit 1")
      )

      conn = open!(:route, netns: {:pid, container.pid})
      assert names(conn) == ["lo" | links]
      assert Conn.info(conn).counters.datagrams > 2
    end

    test "many at a time, each with its own answer" do
      conn = route!()

      ask = fn n -> {n, Conn.request(conn, Links.get(rem(n, 2)))} end
      answers = 1..50 |> Enum.map(&Task.async(fn -> ask.(&1) end)) |> Task.await_many()

      for {n, answer} <- answers do
        if rem(n, 2) == 1,
          do: assert({:ok, [%Message{type: @new_link}]} = answer),
          else: assert({:error, %Error{name: :einval}} = answer)
      end
    end
  end

  describe "`Send`, `SendMessages`" do
    test "the answers of one message come by recv, with its number" do
      conn = route!()

      flags = Message.flags([:request])
      assert {:ok, sent} = Conn.send(conn, %{Links.get(1) | flags: flags})
      assert sent.port_id == port_id(conn)
      refute sent.sequence == 0
      assert {:ok, [answer], origin} = Conn.recv(conn, @patience)
      assert Message.validate(sent, answer) == :ok
      assert Links.read(answer).name == "lo"
      assert origin == %{port_id: 0, group: 0, nsid: nil}
    end

    test "the answers of several messages in one datagram" do
      conn = route!()
      flags = Message.flags([:request, :ack])
      messages = for name <- ["one", "two"], do: Links.create(name)

      messages =
        for message <- messages, do: %{message | flags: Bitwise.bor(message.flags, flags)}

      assert {:ok, [one, two]} = Conn.send_many(conn, messages)
      refute one.sequence == two.sequence
      assert Conn.info(conn).counters.sent == 1

      for sent <- [one, two] do
        assert {:ok, [%Message{type: @error, body: <<0::32, _::binary>>} = answer], _origin} =
                 Conn.recv(conn, @patience)

        assert Message.validate(sent, answer) == :ok
      end

      assert names(conn) == ["lo", "one", "two"]
    end

    test "a number that is given stays" do
      conn = route!()
      message = %{Links.get(1) | flags: 1, sequence: 4711}
      assert {:ok, %Message{sequence: 4711}} = Conn.send(conn, message)
      assert {:ok, [%Message{sequence: 4711}], _origin} = Conn.recv(conn, @patience)
    end

    test "a message to another port" do
      {one, other} = {open!(:usersock, []), open!(:usersock, accept: :any)}
      # What is given of number and port id stays.
      message = %Message{type: 20, sequence: 4711, port_id: 4712, body: "hello, world"}
      assert Conn.send(one, message, to: port_id(other)) == {:ok, message}
      assert {:ok, [^message], origin} = Conn.recv(other, @patience)
      assert origin.port_id == port_id(one)
    end
  end

  describe "`Receive`" do
    test "recv/2 takes what came before and what comes after, in order" do
      conn = route!(groups: [1])
      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:new, "one"}
      assert event!(conn) == {:deleted, "one"}

      waiting = Task.async(fn -> event!(conn) end)
      await_blocked!(waiting)
      do!(conn, Links.create("two"))
      assert Task.await(waiting) == {:new, "two"}
    end

    test "recv/2 without time takes what is there" do
      container = container()
      conn = open!(:route, netns: {:pid, container.pid}, groups: [1])
      assert Conn.recv(conn, 0) == {:error, :timeout}
      Container.sh!(container, "ip link add marker type bridge")
      assert {:ok, [message], %{group: 1}} = Conn.recv(conn, 0)
      assert %{what: :new, name: "marker"} = Links.read(message)
    end

    test "active/2 has them sent to the caller" do
      conn = route!(groups: [1])
      :ok = Conn.active(conn, 2)
      do!(conn, Links.create("one"))
      do!(conn, Links.create("two"))
      assert_receive {:netlink, ^conn, [one], %{port_id: 0, group: 1, nsid: nil}}, @patience
      assert_receive {:netlink, ^conn, [two], _origin}, @patience
      assert_receive {:netlink_passive, ^conn}, @patience
      assert {Links.read(one).name, Links.read(two).name} == {"one", "two"}
    end

    test "the option :active has them sent to the subscriber, without another call" do
      container = container()
      options = [groups: [1], active: true, subscriber: self()]
      conn = open!(:route, [netns: {:pid, container.pid}] ++ options)
      Container.sh!(container, "ip link add marker type bridge")
      assert_receive {:netlink, ^conn, [message], _origin}, @patience
      assert %{what: :new, name: "marker"} = Links.read(message)
    end
  end

  describe "`Validate`" do
    test "an answer is that of its request, and of no other" do
      conn = route!()
      flags = Message.flags([:request])
      {:ok, request} = Conn.send(conn, %{Links.get(1) | flags: flags})
      {:ok, other} = Conn.send(conn, %{Links.get(1) | flags: flags})
      {:ok, [answer], _origin} = Conn.recv(conn, @patience)

      assert Message.validate(request, answer) == :ok
      assert Message.validate(other, answer) == {:error, :sequence}
      assert Message.validate(%{request | port_id: 1}, answer) == {:error, :port_id}
    end

    test "request/3 does it itself" do
      {asking, answering} = {open!(:usersock, []), open!(:usersock, accept: :any)}
      port_id = port_id(answering)

      answer =
        Task.async(fn -> Conn.request(asking, %Message{type: 20}, to: port_id, ack: false) end)

      {:ok, [asked], %{port_id: to}} = Conn.recv(answering, @patience)
      wrong = [%{asked | sequence: asked.sequence + 1}, %{asked | port_id: asked.port_id + 1}]
      for message <- wrong, do: {:ok, _} = Conn.send(answering, message, to: to)
      {:ok, right} = Conn.send(answering, %{asked | body: "right"}, to: to)
      assert Task.await(answer) == {:ok, [right]}
    end
  end

  describe "`JoinGroup`, `LeaveGroup`" do
    test "events come from joining on, and no more after leaving" do
      conn = route!()
      do!(conn, Links.create("before"))
      assert Conn.join_group(conn, 1) == :ok
      assert Conn.info(conn).groups == [1]
      do!(conn, Links.create("joined"))
      assert event!(conn) == {:new, "joined"}

      assert Conn.leave_group(conn, 1) == :ok
      assert Conn.info(conn).groups == []
      do!(conn, Links.create("after"))
      assert Conn.recv(conn, 0) == {:error, :timeout}
    end

    test "a group that the protocol does not have is refused" do
      conn = route!()
      assert Conn.join_group(conn, 999) == {:error, :einval}
      assert Conn.leave_group(conn, 999) == {:error, :einval}
      assert Conn.join_group(conn, 35) == :ok
      assert Conn.leave_group(conn, 35) == :ok
      assert Conn.info(conn).groups == []
    end
  end

  describe "`SetBPF`, `RemoveBPF`" do
    # What is of the kernel's own types (answers) or of one other.
    defp only(type) do
      [
        load(:u16, 4),
        jump_equal(native16(@error), 2, 0),
        jump_equal(native16(type), 1, 0),
        return(0),
        return(@keep)
      ]
    end

    test "what a filter drops is not received until it is taken away" do
      conn = route!(groups: [1])
      assert Conn.attach_filter(conn, only(@delete_link)) == :ok
      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:deleted, "one"}

      assert Conn.detach_filter(conn) == :ok
      do!(conn, Links.create("two"))
      assert event!(conn) == {:new, "two"}
      assert Conn.detach_filter(conn) == {:error, :enoent}
    end

    test "another one takes its place" do
      conn = route!(groups: [1], filter: only(@delete_link))
      do!(conn, Links.create("one"))
      assert Conn.attach_filter(conn, only(@new_link)) == :ok
      do!(conn, Links.delete("one"))
      do!(conn, Links.create("two"))
      assert event!(conn) == {:new, "two"}
      assert Conn.recv(conn, 0) == {:error, :timeout}
    end

    test "a filter goes for answers as well" do
      conn = route!(filter: [return(0)])
      assert Conn.request(conn, Links.get(1), timeout: 0) == {:error, :timeout}
      assert Conn.detach_filter(conn) == :ok
      assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
    end

    test "a wrong one is refused with the place and the reason, and the old one stays" do
      conn = route!(groups: [1], filter: only(@delete_link))

      for {program, reason} <- [
            {[], :empty},
            {[load_length()], {0, :no_return}},
            {[load(:u16, 4), jump_equal(1, 1, 1), return(0)], {1, :bad_jump}},
            {List.duplicate(return(0), 4097), :too_long}
          ] do
        assert Conn.attach_filter(conn, program) == {:error, {:filter, reason}}
      end

      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:deleted, "one"}
    end

    test "what is refused is what the kernel refuses" do
      :rand.seed(:exsss, {2026, 11, 23})
      {:ok, socket} = Native.open(:host, 0, 65_536)
      results = for _ <- 1..5_000, do: agree!(socket, random_program())
      :ok = Native.close(socket)

      # Else the programs were not such as could tell.
      counts = Enum.frequencies(results)
      assert counts[:ok] > 300 and counts[:refused] > 300
    end

    defp agree!(socket, program) do
      bytes = for {code, jt, jf, k} <- program, into: <<>>, do: instruction(code, jt, jf, k)

      case Filter.assemble(program) do
        {:ok, ^bytes} ->
          assert {program, Native.attach_filter(socket, bytes)} == {program, :ok}
          :ok

        {:error, _reason} ->
          assert {program, Native.attach_filter(socket, bytes)} == {program, {:error, 22}}
          :refused
      end
    end

    defp instruction(code, jt, jf, k), do: <<code::native-16, jt, jf, k::native-32>>

    # Mostly of known instructions, with what is in range or just beyond.
    defp random_program do
      for(_ <- 1..:rand.uniform(5), do: random_instruction()) ++ [{6, 0, 0, @keep}]
    end

    defp random_instruction do
      codes = [0x28, 0x20, 0x30, 0x15, 0x25, 0x45, 0x05, 0x02, 0x03, 0x60, 0x61, 0x34, 0x64, 0x06]
      code = if :rand.uniform(10) == 1, do: :rand.uniform(256) - 1, else: Enum.random(codes)
      k = Enum.random([0, 0, 1, 2, 15, 16, 31, 32, 0xFFFF_EFFF, 0xFFFF_F000, 0xFFFF_F040])
      {code, Enum.random(0..3), Enum.random(0..3), k}
    end
  end

  describe "`SetDeadline`, `SetReadDeadline`" do
    test "a request that is not answered in time" do
      {conn, silent} = {open!(:usersock, []), silent!()}
      request = fn timeout -> [to: port_id(silent), timeout: timeout] end
      assert Conn.request(conn, %Message{type: 20}, request.(0)) == {:error, :timeout}
      assert Conn.request(conn, %Message{type: 20}, request.(20)) == {:error, :timeout}
      assert %{pending: 0, counters: %{requests: 2}} = Conn.info(conn)
    end

    test "a recv that gets nothing in time" do
      conn = route!(groups: [1])
      assert Conn.recv(conn, 0) == {:error, :timeout}
      assert Conn.recv(conn, 20) == {:error, :timeout}
      do!(conn, Links.create("marker"))
      assert event!(conn) == {:new, "marker"}
    end
  end

  describe "`SetWriteDeadline`" do
    test "a full port refuses a message at once" do
      {conn, full} = {open!(:usersock, []), open!(:usersock, read_buffer: 4096)}
      message = %Message{type: 20, body: <<0::size(1024)-unit(8)>>}
      to = port_id(full)
      send = fn -> Conn.send(conn, message, to: to) end

      refused = Enum.find_value(1..100, fn _ -> with {:ok, _} <- send.(), do: nil end)
      assert refused == {:error, :eagain}
      assert Conn.request(conn, message, to: to) == {:error, :eagain}
    end

    test "so does a port that nobody has" do
      {conn, gone} = {open!(:usersock, []), silent!()}
      to = port_id(gone)
      :ok = Conn.close(gone)
      assert Conn.send(conn, %Message{type: 20}, to: to) == {:error, :econnrefused}
      assert Conn.request(conn, %Message{type: 20}, to: to) == {:error, :econnrefused}
    end
  end

  describe "`SetOption`" do
    @flags [packet_info: true, ext_ack: true, cap_ack: true, strict_check: false] ++
             [listen_all_nsid: false, no_enobufs: false, broadcast_error: false]

    test "each can be set and read back" do
      conn = route!()

      for {flag, default} <- @flags do
        assert {flag, Conn.get_option(conn, flag)} == {flag, {:ok, default}}

        for on <- [not default, default] do
          assert Conn.set_option(conn, flag, on) == :ok
          assert {flag, Conn.get_option(conn, flag)} == {flag, {:ok, on}}
        end
      end
    end

    test "each can be set at the start, and no other is by that" do
      for {flag, default} <- @flags do
        conn = route!([{flag, not default}])
        expected = Keyword.put(@flags, flag, not default)
        for {other, on} <- expected, do: assert(Conn.get_option(conn, other) == {:ok, on})
      end
    end

    test ":ext_ack brings the kernel's words" do
      conn = route!(ext_ack: false)
      request = Links.create("marker", "bridge", [{4, <<1500::native-16>>}])
      assert {:error, %Error{text: nil, offset: nil}} = Conn.request(conn, request)
      assert Conn.set_option(conn, :ext_ack, true) == :ok
      assert {:error, %Error{text: "" <> _, offset: 60}} = Conn.request(conn, request)
    end

    test ":cap_ack leaves the request out of an error" do
      conn = route!(ext_ack: false)
      message = %{Links.get(99) | flags: 1}

      {:ok, _} = Conn.send(conn, message)
      {:ok, [capped], _origin} = Conn.recv(conn, @patience)
      assert {byte_size(capped.body), Message.flag?(capped, :capped)} == {20, true}

      assert Conn.set_option(conn, :cap_ack, false) == :ok
      {:ok, _} = Conn.send(conn, message)
      {:ok, [whole], _origin} = Conn.recv(conn, @patience)
      assert {byte_size(whole.body), Message.flag?(whole, :capped)} == {36, false}
    end

    test ":packet_info tells the group of an event" do
      conn = route!(groups: [1], packet_info: false)
      do!(conn, Links.create("one"))
      assert {:ok, _messages, %{group: nil}} = Conn.recv(conn, @patience)
      assert Conn.set_option(conn, :packet_info, true) == :ok
      do!(conn, Links.create("two"))
      assert {:ok, _messages, %{group: 1}} = Conn.recv(conn, @patience)
    end

    test ":listen_all_nsid brings the events of other namespaces, and tells which" do
      other = container()
      conn = route!(groups: [1])
      there = open!(:route, netns: {:pid, other.pid})

      # NETNSA_NSID and NETNSA_PID: the other namespace is number 7 here.
      number = <<8::native-16, 1::native-16, 7::native-32>>
      whose = <<8::native-16, 2::native-16, other.pid::native-32>>
      do!(conn, %Message{type: @new_nsid, body: [<<0::32>>, number, whose]})

      do!(there, Links.create("untold"))
      assert Conn.recv(conn, 0) == {:error, :timeout}
      assert Conn.set_option(conn, :listen_all_nsid, true) == :ok
      do!(there, Links.create("theirs"))
      do!(conn, Links.create("ours"))
      assert {:ok, [theirs], %{nsid: 7, group: 1}} = Conn.recv(conn, @patience)
      assert {:ok, [ours], %{nsid: nil, group: 1}} = Conn.recv(conn, @patience)
      assert {Links.read(theirs).name, Links.read(ours).name} == {"theirs", "ours"}
    end

    @tag :machine_root
    test "what takes privileges is :eperm without" do
      user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
      vm = Vm.start(wrap: user)

      answers =
        Vm.eval(
          vm,
          quote do
            {:ok, conn} = LinxNative.Conn.start_link(:route)
            flag = LinxNative.Conn.set_option(conn, :listen_all_nsid, true)
            netns = {LinxNative.Conn.netns(conn), LinxNative.Conn.info(conn).netns}
            start = LinxNative.Conn.start_link(:route, listen_all_nsid: true)
            :ok = LinxNative.Conn.close(conn)
            {flag, netns, start}
          end
        )

      assert answers ==
               {{:error, :eperm}, {{:error, :eperm}, nil}, {:error, {:listen_all_nsid, :eperm}}}
    end
  end

  describe "`SetReadBuffer`, `SetWriteBuffer`" do
    test "the kernel doubles what is set" do
      conn = route!(read_buffer: 50_000, write_buffer: 60_000)
      assert Conn.get_option(conn, :read_buffer) == {:ok, 100_000}
      assert Conn.get_option(conn, :write_buffer) == {:ok, 120_000}
      assert %{read_buffer: 100_000, write_buffer: 120_000} = Conn.info(conn)
    end

    test "beyond the limit of the system where that is allowed" do
      conn = route!()

      for {buffer, limit} <- [read_buffer: "rmem_max", write_buffer: "wmem_max"] do
        bytes = limit(limit) + 4096
        assert Conn.set_option(conn, buffer, bytes) == :ok
        assert Conn.get_option(conn, buffer) == {:ok, 2 * bytes}
      end
    end

    @tag :machine_root
    test "up to the limit where it is not" do
      user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
      limit = limit("rmem_max")

      size =
        Vm.eval(
          Vm.start(wrap: user),
          quote do
            {:ok, conn} = LinxNative.Conn.start_link(:route, read_buffer: var!(bytes))
            size = LinxNative.Conn.get_option(conn, :read_buffer)
            :ok = LinxNative.Conn.close(conn)
            size
          end,
          bytes: limit + 4096
        )

      assert size == {:ok, 2 * limit}
    end

    defp limit(name) do
      "/proc/sys/net/core/#{name}" |> File.read!() |> String.trim() |> String.to_integer()
    end
  end

  describe "`SyscallConn`" do
    test "the descriptor of the socket, for :socket.open/1 and others" do
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

  describe "`PID`" do
    test "the port id that the kernel gave the socket" do
      {one, other} = {open!(:route, []), open!(:route, [])}
      {:ok, fd} = Conn.descriptor(one)
      assert Harness.socket(fd).nl_pid == port_id(one)
      refute port_id(one) == port_id(other)
    end
  end

  describe "`Close`" do
    test "ends what waits in request/3 and recv/2, and closes the descriptor" do
      {conn, silent} = {open!(:usersock, []), silent!()}
      {:ok, fd} = Conn.descriptor(conn)
      to = port_id(silent)

      waiting = [
        Task.async(fn -> Conn.recv(conn) end),
        Task.async(fn -> Conn.request(conn, %Message{type: 20}, to: to, timeout: :infinity) end)
      ]

      Enum.each(waiting, &await_blocked!/1)
      assert Conn.close(conn) == :ok
      refute Map.has_key?(Machine.descriptors(), fd)
      assert Task.await_many(waiting) == [{:error, :closed}, {:error, :closed}]
    end
  end

  describe "the table" do
    setup do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Conn)
      [_, section] = String.split(text, "## Compared with mdlayher/netlink\n")
      [section, _] = String.split(section, "\n## ", parts: 2)
      [_head, _line | rows] = String.split(section, "\n", trim: true)
      %{rows: for(row <- rows, do: String.split(row, " | ") |> Enum.map(&String.trim(&1, "| ")))}
    end

    test "has a test for each row, and a row for each test", %{rows: rows} do
      tested = for test <- __MODULE__.__ex_unit__().tests, uniq: true, do: test.tags.describe

      assert Enum.sort(for [theirs, _ours] <- rows, do: theirs) ==
               Enum.sort(tested -- ["the table"])
    end

    test "names functions that there are", %{rows: rows} do
      for [_theirs, ours] <- rows,
          [_, module, name, arity] <- Regex.scan(~r/`([\w.]*?)\.?([a-z_]+)\/(\d)`/, ours) do
        module = if module == "", do: Conn, else: Module.concat([module])
        {:module, ^module} = Code.ensure_loaded(module)
        assert function_exported?(module, String.to_atom(name), String.to_integer(arity)), ours
      end
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
