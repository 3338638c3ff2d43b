defmodule LinxNative.Conn.Parity.MessagesTest do
  @moduledoc """
  Tests rows of the table "Compared with mdlayher/netlink", under the rows' names: sending and receiving.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Message}
  alias LinxNative.Error
  alias LinxNative.Test.Links

  @moduletag :conn

  @error 2
  @new_link 16
  @patience Await.patience()

  describe "`Execute`" do
    test "a request returns its reply, or only its acknowledgement" do
      conn = route!()
      do!(conn, Links.create("marker"))
      assert {:ok, [message]} = Conn.request(conn, Links.get(1))
      assert %{what: :new, name: "lo"} = Links.read(message)
      assert names(conn) == ["lo", "marker"]
      do!(conn, Links.delete("marker"))
      assert names(conn) == ["lo"]
    end

    test "an error has the errno, its name, and the kernel's message and offset" do
      conn = route!()
      do!(conn, Links.create("marker"))

      for {request, name, errno} <- [
            {Links.create("marker"), :eexist, 17},
            {Links.get(99), :enodev, 19},
            {Links.delete("nobody"), :enodev, 19},
            {%Message{type: 4000, body: <<0::128>>}, :eopnotsupp, 95}
          ] do
        assert {:error, %Error{reason: ^name, errno: ^errno}} = Conn.request(conn, request)
      end

      # IFLA_MTU of two bytes. Its offset is the length of all that comes before.
      request = Links.create("other", "bridge", [{4, <<1500::native-16>>}])
      offset = byte_size(Message.encode(Links.create("other", "bridge")))
      assert {:error, %Error{} = error} = Conn.request(conn, request)
      assert %{reason: :erange, errno: 34, offset: ^offset, missing: nil} = error
      assert error.text =~ "policy"
    end

    test "an answer of many datagrams is complete" do
      container = Container.start([:net])
      links = for n <- 1..60, do: "link#{n}"

      Container.sh!(
        container,
        Enum.map_join(links, "\n", &"ip link add #{&1} type bridge || exit 1")
      )

      conn = open!(:route, netns: {:pid, container.pid})
      assert names(conn) == ["lo" | links]
      assert Conn.info!(conn).counters.datagrams > 2
    end

    test "many requests at a time get their own answers" do
      conn = route!()

      ask = fn n -> {n, Conn.request(conn, Links.get(rem(n, 2)))} end
      answers = 1..50 |> Enum.map(&Task.async(fn -> ask.(&1) end)) |> Task.await_many(:infinity)

      for {n, answer} <- answers do
        if rem(n, 2) == 1,
          do: assert({:ok, [%Message{type: @new_link}]} = answer),
          else: assert({:error, %Error{reason: :einval}} = answer)
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
      assert Conn.info!(conn).counters.sent == 1

      for sent <- [one, two] do
        assert {:ok, [%Message{type: @error, body: <<0::32, _::binary>>} = answer], _origin} =
                 Conn.recv(conn, @patience)

        assert Message.validate(sent, answer) == :ok
      end

      assert names(conn) == ["lo", "one", "two"]
    end

    test "a given sequence number is kept" do
      conn = route!()
      message = %{Links.get(1) | flags: 1, sequence: 4711}
      assert {:ok, %Message{sequence: 4711}} = Conn.send(conn, message)
      assert {:ok, [%Message{sequence: 4711}], _origin} = Conn.recv(conn, @patience)
    end

    test "a message can be sent to another port" do
      {one, other} = {open!(:usersock), open!(:usersock, accept: :any)}
      # A given sequence number and port id are kept.
      message = %Message{type: 20, sequence: 4711, port_id: 4712, body: "hello, world"}
      assert Conn.send(one, message, to: port_id(other)) == {:ok, message}
      assert {:ok, [^message], origin} = Conn.recv(other, @patience)
      assert origin.port_id == port_id(one)
    end
  end

  describe "`Receive`" do
    test "recv/2 returns earlier and later events, in order" do
      conn = route!(groups: [1])
      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:new, "one"}
      assert event!(conn) == {:deleted, "one"}

      waiting = Task.async(fn -> event!(conn) end)
      await_blocked!(waiting)
      do!(conn, Links.create("two"))
      assert Task.await(waiting, :infinity) == {:new, "two"}
    end

    test "recv/2 with a timeout of 0 returns what is queued" do
      container = Container.start([:net])
      conn = open!(:route, netns: {:pid, container.pid}, groups: [1])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      Container.sh!(container, "ip link add marker type bridge")
      assert {:ok, [message], %{group: 1}} = Conn.recv(conn, 0)
      assert %{what: :new, name: "marker"} = Links.read(message)
    end

    test "active/2 sends events to the caller" do
      conn = route!(groups: [1])
      :ok = Conn.active(conn, 2)
      do!(conn, Links.create("one"))
      do!(conn, Links.create("two"))
      assert_receive {:netlink, ^conn, [one], %{port_id: 0, group: 1, nsid: nil}}, @patience
      assert_receive {:netlink, ^conn, [two], _origin}, @patience
      assert_receive {:netlink_passive, ^conn}, @patience
      assert {Links.read(one).name, Links.read(two).name} == {"one", "two"}
    end

    test "the option :active sends events to the subscriber from the start" do
      container = Container.start([:net])
      options = [groups: [1], active: true, subscriber: self()]
      conn = open!(:route, [netns: {:pid, container.pid}] ++ options)
      Container.sh!(container, "ip link add marker type bridge")
      assert_receive {:netlink, ^conn, [message], _origin}, @patience
      assert %{what: :new, name: "marker"} = Links.read(message)
    end
  end

  describe "`Validate`" do
    test "an answer is valid for its own request only" do
      conn = route!()
      flags = Message.flags([:request])
      {:ok, request} = Conn.send(conn, %{Links.get(1) | flags: flags})
      {:ok, other} = Conn.send(conn, %{Links.get(1) | flags: flags})
      {:ok, [answer], _origin} = Conn.recv(conn, @patience)

      assert Message.validate(request, answer) == :ok
      assert {:error, %Error{reason: :sequence}} = Message.validate(other, answer)

      assert {:error, %Error{reason: :port_id}} =
               Message.validate(%{request | port_id: request.port_id + 1}, answer)
    end

    test "request/3 validates answers" do
      [asking, answering] = for _ <- 1..2, do: open!(:usersock, accept: :any)
      port_id = port_id(answering)

      answer =
        Task.async(fn -> Conn.request(asking, %Message{type: 20}, to: port_id, ack: false) end)

      {:ok, [asked], %{port_id: to}} = Conn.recv(answering, @patience)
      wrong = [%{asked | sequence: asked.sequence + 1}, %{asked | port_id: asked.port_id + 1}]
      for message <- wrong, do: {:ok, _} = Conn.send(answering, message, to: to)
      {:ok, right} = Conn.send(answering, %{asked | body: "right"}, to: to)
      assert Task.await(answer, :infinity) == {:ok, [right]}
    end
  end

  describe "`SetDeadline`, `SetReadDeadline`" do
    test "a request without an answer in time is a timeout" do
      [conn, silent] = for _ <- 1..2, do: open!(:usersock, accept: :any)
      request = fn timeout -> [to: port_id(silent), timeout: timeout] end

      assert {:error, %Error{reason: :timeout}} =
               Conn.request(conn, %Message{type: 20}, request.(0))

      assert {:error, %Error{reason: :timeout}} =
               Conn.request(conn, %Message{type: 20}, request.(20))

      assert %{pending: 0, counters: %{requests: 2}} = Conn.info!(conn)
    end

    test "a recv without an event in time is a timeout" do
      conn = route!(groups: [1])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 20)
      do!(conn, Links.create("marker"))
      assert event!(conn) == {:new, "marker"}
    end
  end

  describe "`SetWriteDeadline`" do
    test "a full port refuses a message at once" do
      conn = open!(:usersock, accept: :any)
      full = open!(:usersock, accept: :any, read_buffer: 4096)
      message = %Message{type: 20, body: <<0::size(1024)-unit(8)>>}
      to = port_id(full)
      send = fn -> Conn.send(conn, message, to: to) end

      refused = Enum.find_value(1..100, fn _ -> with {:ok, _} <- send.(), do: nil end)
      assert {:error, %Error{reason: :eagain}} = refused
      assert {:error, %Error{reason: :eagain}} = Conn.request(conn, message, to: to)
    end

    test "a port that does not exist refuses a message at once" do
      [conn, gone] = for _ <- 1..2, do: open!(:usersock, accept: :any)
      to = port_id(gone)
      :ok = Conn.close(gone)
      assert {:error, %Error{reason: :econnrefused}} = Conn.send(conn, %Message{type: 20}, to: to)

      assert {:error, %Error{reason: :econnrefused}} =
               Conn.request(conn, %Message{type: 20}, to: to)
    end
  end
end
