defmodule LinxNative.Conn.ForeignTest do
  @moduledoc """
  Messages that other programs send to the port or to a group of a `LinxNative.Conn`: forged, malformed or too long.

  Any process may send to a port of `:usersock`, and root to a port of `:route`. So the sequence number and the port id of an answer
  prove nothing.
  """

  use LinxNative.Test.Case

  import ExUnit.CaptureIO
  import LinxNative.Conn.Filter
  import LinxNative.Test.Conns, only: [open!: 1, open!: 2, port_id: 1]

  alias LinxNative.{Attributes, Conn, Error, Message}
  alias LinxNative.Native
  alias LinxNative.Test.Links

  @moduletag :conn

  @usersock 2
  @error 2
  @done 3
  @type_of_request 20
  @econnrefused 111
  @all 0xFFFF_FFFF
  @patience Await.patience()

  # Datagrams that are not made of messages.
  @broken [
    {<<1>>, {:short_header, 0}},
    {<<8::native-32, 0::96>>, {:bad_length, 0}},
    {<<17::native-32, 0::96>>, {:truncated, 0}},
    {<<16::native-32, 0::96, 1>>, {:short_header, 16}},
    {<<16::native-32, 0::96, 0::128>>, {:bad_length, 16}}
  ]

  # AF_NETLINK, SOCK_RAW of linux/socket.h
  @netlink 16
  @raw 3

  defp malformed(what), do: %Error{reason: :malformed, detail: what, offset: 0}
  defp truncated(length), do: %Error{reason: :truncated, detail: length}

  defp counter(conn, name), do: Conn.info!(conn).counters[name]

  # A port that anything can be sent from.
  defp forger!(protocol \\ @usersock) do
    {:ok, socket} = Native.open(:host, protocol, 65_536)
    on_exit(fn -> Native.close(socket) end)
    socket
  end

  defp forge!(socket, to, message) do
    bytes = if is_binary(message), do: message, else: Message.encode(message)
    assert Native.exchange(socket, [{to, bytes}], @all) == [:drained, :sent, :drained]
  end

  defp refused!(socket, to, message) do
    refused = [:drained, {:refused, @econnrefused}, :drained]
    assert Native.exchange(socket, [{to, Message.encode(message)}], @all) == refused
  end

  # To a group of `:usersock`, given by its number: the kernel has a bit for each. It goes to port 0 as well, where
  # nobody is.
  defp broadcast!(group, bytes) do
    {:ok, socket} = :socket.open(@netlink, @raw, @usersock)
    address = <<0::16, 0::32, 2 ** (group - 1)::native-32>>
    refused = {:error, :econnrefused}
    assert :socket.sendto(socket, bytes, %{family: @netlink, addr: address}) == refused
    :ok = :socket.close(socket)
  end

  # A request of `conn` to the port of another connection, which got it.
  defp ask!(conn, asked, options \\ []) do
    options = [to: port_id(asked), timeout: :infinity] ++ options
    answer = Task.async(fn -> Conn.request(conn, %Message{type: @type_of_request}, options) end)
    {:ok, [request], _origin} = Conn.recv(asked, @patience)
    {answer, request}
  end

  # All by which an answer is known: its number, its port id, an end.
  defp answers(request) do
    [
      %{request | type: @error, flags: 0, body: <<0::32>>},
      %{request | type: @done, flags: Message.flags([:multi]), body: <<0::32>>},
      %{request | type: 16, flags: 0, body: "forged"}
    ]
  end

  describe "with accept: :kernel" do
    test "a message of another port is refused, and not received" do
      for {protocol, number} <- [usersock: @usersock, route: 0] do
        conn = open!(protocol, active: true, subscriber: self())
        request = %Message{type: @type_of_request, sequence: 1, port_id: port_id(conn)}
        forger = forger!(number)
        for message <- answers(request), do: refused!(forger, port_id(conn), message)
        assert %{datagrams: 0, foreign: 0} = Conn.info!(conn).counters
      end

      refute_received {:netlink, _conn, _messages, _origin}
    end

    test "a message of another port to a group is counted, and dropped" do
      conn = open!(:usersock, groups: [1], active: true, subscriber: self())
      broken = for {bytes, _reason} <- @broken, do: bytes
      for bytes <- [Message.encode(%Message{type: 20}) | broken], do: broadcast!(1, bytes)
      assert Await.until(fn -> counter(conn, :foreign) == 6 end)
      assert %{datagrams: 6, events: 0, malformed: 0} = Conn.info!(conn).counters
      refute_received {:netlink, _conn, _messages, _origin}
      refute_received {:netlink_error, _conn, _reason}
    end

    test "a message of another port to a group that is too long is counted too" do
      conn = open!(:usersock, groups: [1], datagram: 32, active: true, subscriber: self())
      broadcast!(1, Message.encode(%Message{type: 20, body: <<0::256>>}))
      assert Await.until(fn -> counter(conn, :foreign) == 1 end)
      assert counter(conn, :truncated) == 0
      refute_received {:netlink_error, _conn, _reason}
    end

    test "a message of another port to a group does not end a connection that prints its trace" do
      conn = open!(:usersock, groups: [1])

      # A struct nlmsgerr without the request, and a message of the kernel for a terminal and not in UTF-8.
      text = Attributes.encode([{1, {:string, "\e[31m\xff"}}])
      flags = Message.flags([:capped, :ack_tlvs])
      body = <<-17::native-signed-32, 0::128, text::binary>>

      printed =
        capture_io(:stderr, fn ->
          :ok = Conn.trace(conn, true)
          :ok = Conn.active(conn, true)
          broadcast!(1, Message.encode(%Message{type: @error, flags: flags, body: body}))
          assert Await.until(fn -> counter(conn, :foreign) == 1 end)
          :ok = Conn.trace(conn, false)
        end)

      assert printed =~ ~S"the kernel says: \x1B[31m\xFF"
    end

    test "a request to another port is not accepted, and not sent" do
      {conn, other} = {open!(:usersock), open!(:usersock, accept: :any)}

      for to <- [port_id(other), port_id(conn), 0xFFFF_FFFF], flags <- [[], [:dump]] do
        message = %Message{type: @type_of_request, flags: Message.flags(flags)}
        assert {:error, %Error{reason: :not_accepted}} = Conn.request(conn, message, to: to)
      end

      assert %{pending: 0, counters: %{requests: 0, sent: 0}} = Conn.info!(conn)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(other, 0)
    end
  end

  test "with accept: :any a message of another port to a group is an event" do
    conn = open!(:usersock, accept: :any, groups: [1])
    message = %Message{type: 20, body: "hello, world"}
    broadcast!(1, Message.encode(message))
    assert {:ok, [^message], %{port_id: port_id, group: 1}} = Conn.recv(conn, @patience)
    assert port_id != 0
    assert %{events: 1, foreign: 0} = Conn.info!(conn).counters
  end

  describe "an answer that another port forged" do
    setup do
      {:ok, asked} = Conn.start_link(:usersock, accept: :any)
      %{asked: asked, forger: forger!()}
    end

    test "is received as an event of that port", %{asked: asked, forger: forger} do
      conn = open!(:usersock, accept: :any)
      {:ok, port_id} = Native.port_id(forger)
      {answer, request} = ask!(conn, asked)

      for message <- answers(request) do
        forge!(forger, port_id(conn), message)
        assert {:ok, [^message], %{port_id: ^port_id, group: 0}} = Conn.recv(conn, @patience)
      end

      assert %{pending: 1, counters: %{foreign: 0, events: 3}} = Conn.info!(conn)
      {:ok, _} = Conn.send(asked, hd(answers(request)), to: port_id(conn))
      assert Task.await(answer, :infinity) == {:ok, []}
    end

    test "does not end a request if it is malformed", %{asked: asked, forger: forger} do
      conn = open!(:usersock, accept: :any, datagram: 64)
      {answer, request} = ask!(conn, asked)
      <<_length::binary-4, rest::binary>> = Message.encode(request)

      for {bytes, reason} <- [
            {<<15::native-32, rest::binary>>, malformed(:bad_length)},
            {<<15::native-32>>, malformed(:short_header)},
            {Message.encode(%{request | body: <<0::800>>}), truncated(116)}
          ] do
        forge!(forger, port_id(conn), bytes)
        assert Conn.recv(conn, @patience) == {:error, reason}
      end

      assert Conn.info!(conn).pending == 1
      {:ok, _} = Conn.send(asked, hd(answers(request)), to: port_id(conn))
      assert Task.await(answer, :infinity) == {:ok, []}
    end

    test "does not count as the late answer of a request", %{asked: asked, forger: forger} do
      conn = open!(:usersock, accept: :any)
      {caller, request} = ask!(conn, asked)
      Task.shutdown(caller, :brutal_kill)
      assert Await.until(fn -> Conn.info!(conn).pending == 0 end)
      [answer | _] = answers(request)

      forge!(forger, port_id(conn), answer)
      assert {:ok, [^answer], _origin} = Conn.recv(conn, @patience)
      assert counter(conn, :late) == 0

      {:ok, _} = Conn.send(asked, answer, to: port_id(conn))
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      assert counter(conn, :late) == 1
    end

    test "instead of the kernel's does not reach the caller" do
      # The kernel's own answer is long, and lost by this: so the request waits.
      short = [load_length(), jump_greater(100, 0, 1), return(0), return(0xFFFF_FFFF)]
      forger = forger!(0)

      for accept <- [:kernel, :any] do
        conn = open!(:route, accept: accept, filter: short)
        # The next request has the next number.
        {:ok, sent} = Conn.send(conn, %{Links.get(1) | flags: 1})
        options = [ack: false, timeout: :infinity]
        answer = Task.async(fn -> Conn.request(conn, Links.get(1), options) end)
        assert Await.until(fn -> match?(%{counters: %{sent: 2}}, Conn.info!(conn)) end)

        for message <- answers(%{sent | sequence: sent.sequence + 1}) do
          if accept == :any do
            forge!(forger, port_id(conn), message)
            message = %{message | protocol: :route}
            assert {:ok, [^message], _origin} = Conn.recv(conn, @patience)
          else
            refused!(forger, port_id(conn), message)
          end
        end

        assert %{pending: 1, counters: %{foreign: 0}} = Conn.info!(conn)
        :ok = Conn.close(conn)
        assert {:error, %Error{reason: :closed}} = Task.await(answer, :infinity)
      end
    end
  end

  describe "a request to another port" do
    test "is answered by that port only, also in several messages" do
      [conn, asked] = for _ <- 1..2, do: open!(:usersock, accept: :any)
      {answer, request} = ask!(conn, asked)
      parts = for n <- 1..3, do: %{request | type: 30 + n, flags: 0, body: <<n::32>>}
      {:ok, _} = Conn.send_many(asked, parts ++ [hd(answers(request))], to: port_id(conn))
      assert Task.await(answer, :infinity) == {:ok, parts}
    end

    test "is answered with its own number only, if that port has another request in flight" do
      [conn, one, two] = for _ <- 1..3, do: open!(:usersock, accept: :any)
      {answer_of_one, request_to_one} = ask!(conn, one, ack: false)
      {answer_of_two, request_to_two} = ask!(conn, two, ack: false)

      # Each the other's first.
      [to, forged] = [port_id(conn), %{request_to_two | body: "forged"}]
      {:ok, _} = Conn.send(one, forged, to: to)
      {:ok, _} = Conn.send(one, %{request_to_one | body: "one"}, to: to)
      assert {:ok, [%Message{body: "one"}]} = Task.await(answer_of_one, :infinity)
      assert Conn.info!(conn).pending == 1
      {:ok, _} = Conn.send(two, %{request_to_two | body: "two"}, to: to)
      assert {:ok, [%Message{body: "two"}]} = Task.await(answer_of_two, :infinity)

      # The message is not an answer, but it comes from a port that a request went to.
      assert {:ok, [^forged], _origin} = Conn.recv(conn, 0)
    end

    test "ends if that port's answer is malformed" do
      {conn, asked} = {open!(:usersock, accept: :any), forger!()}
      {:ok, to} = Native.port_id(asked)
      options = [to: to, timeout: :infinity]
      answer = Task.async(fn -> Conn.request(conn, %Message{type: 20}, options) end)

      received = fn -> with [:drained] <- Native.exchange(asked, [], @all), do: nil end

      assert [{:datagram, _, 0, nil, <<_length::binary-4, rest::binary>>}, :drained] =
               Await.until(received)

      forge!(asked, port_id(conn), <<99::native-32, rest::binary>>)
      assert Task.await(answer, :infinity) == {:error, malformed(:truncated)}
      assert %{pending: 0, counters: %{malformed: 1}} = Conn.info!(conn)
    end

    test "ends if that port's answer has no outcome, which is counted" do
      [conn, asked] = for _ <- 1..2, do: open!(:usersock, accept: :any)

      for {message, n} <-
            Enum.with_index([%Message{type: @error}, %Message{type: @done, body: <<1>>}], 1) do
        {answer, request} = ask!(conn, asked)
        message = %{message | sequence: request.sequence, port_id: request.port_id}
        {:ok, _} = Conn.send(asked, message, to: port_id(conn))
        assert Task.await(answer, :infinity) == {:error, malformed(:no_outcome)}
        assert %{pending: 0, counters: %{malformed: ^n}} = Conn.info!(conn)
      end
    end

    test "neither waits for dumps nor delays them" do
      conn = open!(:route, accept: :any)
      {:ok, to} = Native.port_id(forger!(0))
      request = %Message{type: @type_of_request, flags: Message.flags([:dump])}
      options = [to: to, timeout: :infinity]
      waiting = for _ <- 1..3, do: Task.async(Conn, :request, [conn, request, options])
      assert Await.until(fn -> counter(conn, :sent) == 3 end)
      assert {:ok, [_loopback | _]} = Conn.request(conn, Links.dump())

      assert Conn.info!(conn).pending == 3
      :ok = Conn.close(conn)

      assert Task.await_many(waiting, :infinity) ==
               List.duplicate({:error, %Error{reason: :closed}}, 3)
    end
  end

  describe "a datagram that is longer than the option :datagram" do
    test "is an error of its request, with the length, and the connection continues to work" do
      {:ok, [answer]} = Conn.request(open!(:route), Links.get(1))
      length = byte_size(Message.encode(answer))

      whole = open!(:route, datagram: length)
      assert {:ok, [_loopback]} = Conn.request(whole, Links.get(1))
      assert counter(whole, :truncated) == 0

      conn = open!(:route, datagram: length - 1)

      for n <- 1..3 do
        assert Conn.request(conn, Links.get(1)) == {:error, truncated(length)}
        assert counter(conn, :truncated) == n
      end

      assert {:error, %Error{reason: :enodev}} = Conn.request(conn, Links.get(0x7FFF_FFFF))
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "in a dump is an error of that dump, and the next dump starts" do
      conn = open!(:route, datagram: 64)

      for _ <- 1..3 do
        assert {:error, %Error{reason: :truncated, detail: length}} =
                 Conn.request(conn, Links.dump())

        assert length > 64
      end

      assert {:error, %Error{reason: :enodev}} = Conn.request(conn, Links.get(0x7FFF_FFFF))
      assert Conn.info!(conn).pending == 0
    end

    test "of events is reported in order" do
      container = Container.start([:net])
      # The acknowledgements fit.
      options = [netns: {:pid, container.pid}, groups: [1], datagram: 64]
      conn = open!(:route, options)
      assert Conn.request(conn, Links.create("one")) == {:ok, []}
      assert {:error, %Error{reason: :truncated, detail: length}} = Conn.recv(conn, @patience)
      assert length > 64

      :ok = Conn.active(conn, :once)
      assert Conn.request(conn, Links.delete("one")) == {:ok, []}
      assert_receive {:netlink_error, ^conn, %Error{reason: :truncated}}, @patience
      assert %{truncated: 2, foreign: 0} = Conn.info!(conn).counters
    end
  end

  # No kernel does this, so the test passes the entry to the state of a connection.
  test "a datagram without a sender is dropped, and counted" do
    bytes = Message.encode(%Message{type: 20})
    entries = [{:datagram, nil, 0, nil, bytes}, {:truncated, nil, 0, nil, bytes, 100}]

    for accept <- [:kernel, :any] do
      state = :sys.get_state(open!(:usersock, accept: accept))
      {state, []} = LinxNative.Conn.Entries.take(state, entries, [])
      assert %{foreign: 2, events: 0, truncated: 0} = state.counters
    end
  end

  describe "a malformed datagram" do
    test "is reported, and the connection continues to work" do
      conn = open!(:usersock, accept: :any, active: true, subscriber: self())
      forger = forger!()

      for {bytes, {what, offset}} <- @broken do
        forge!(forger, port_id(conn), bytes)
        error = %{malformed(what) | offset: offset}
        assert_receive {:netlink_error, ^conn, ^error}, @patience
      end

      message = %Message{type: 20, body: Attributes.encode([{1, {:u32, 1}}])}
      forge!(forger, port_id(conn), message)
      assert_receive {:netlink, ^conn, [^message], _origin}, @patience
      assert %{malformed: 5, foreign: 0} = Conn.info!(conn).counters
    end
  end
end
