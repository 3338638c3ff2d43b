defmodule LinxNative.Conn.Parity.TraceTest do
  @moduledoc """
  Tests rows of the table "Compared with mdlayher/netlink", under the rows' names: traces.
  """

  use LinxNative.Test.Case

  import ExUnit.CaptureIO
  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Error, Message, Native}
  alias LinxNative.Conn.Trace
  alias LinxNative.Test.Links

  @moduletag :conn

  @getlink 18
  @newlink 16
  @error 2
  @usersock 2

  describe "`NLDEBUG`" do
    test "a process gets a request as it was sent, its answer and the acknowledgement" do
      conn = route!(trace: self())
      port_id = port_id(conn)
      {:ok, [link]} = Conn.request(conn, Links.get("lo"))

      assert_received {:netlink_trace, ^conn, %Trace{direction: :sent} = sent}
      assert [%Message{type: @getlink, sequence: number, port_id: ^port_id}] = sent.messages
      assert {sent.port_id, sent.error, sent.group, sent.nsid} == {0, nil, nil, nil}
      assert sent.bytes == Enum.map_join(sent.messages, &Message.encode/1)

      assert_received {:netlink_trace, ^conn, %Trace{direction: :received} = answer}
      assert {answer.messages, answer.port_id, answer.group} == {[link], 0, 0}
      assert {answer.error, answer.nsid} == {nil, nil}
      assert DateTime.compare(sent.time, answer.time) in [:lt, :eq]

      assert_received {:netlink_trace, ^conn, %Trace{messages: [acknowledgement]}}

      assert %Message{type: @error, sequence: ^number, body: <<0::32, _::binary>>} =
               acknowledgement

      refute_received {:netlink_trace, _, _}
    end

    test "an event has its group" do
      conn = route!(groups: [1], trace: self())
      do!(conn, Links.create("blue"))
      assert {:new, "blue"} = event!(conn)

      assert_received {:netlink_trace, ^conn,
                       %Trace{direction: :received, group: 1, messages: [%{type: @newlink}]}}
    end

    test "several messages of one datagram are one trace" do
      sender = open!(:usersock, trace: self())
      conn = open!(:usersock, accept: :any, trace: self())
      to = port_id(conn)
      {:ok, sent} = Conn.send_many(sender, [%Message{type: 20}, %Message{type: 21}], to: to)
      assert {:ok, received, _origin} = Conn.recv(conn, patience())

      assert_received {:netlink_trace, ^sender, %Trace{port_id: ^to, direction: :sent} = event}
      assert Enum.map(event.messages, & &1.type) == Enum.map(sent, & &1.type)
      from = port_id(sender)
      assert_received {:netlink_trace, ^conn, %Trace{messages: ^received, port_id: ^from}}
    end

    test "a refused message has its error" do
      conn = open!(:usersock, trace: self())
      nobody = 0xFFFF_FFFF
      message = %Message{type: 20}
      assert {:error, _refused} = Conn.send(conn, message, to: nobody)

      assert_received {:netlink_trace, ^conn, %Trace{direction: :sent, port_id: ^nobody} = event}
      assert {[%Message{type: 20}], %Error{reason: :econnrefused}} = {event.messages, event.error}
    end

    test "a datagram that is too long or malformed has its error" do
      conn = open!(:usersock, accept: :any, datagram: 64, trace: self())
      {:ok, forger} = Native.open(:host, @usersock, 65_536)

      for {bytes, {reason, detail}} <- [
            {Message.encode(%Message{body: <<0::400>>}), {:truncated, 68}},
            {<<8::native-32, 0::96>>, {:malformed, :bad_length}}
          ] do
        [:drained, :sent, :drained] = Native.exchange(forger, [{port_id(conn), bytes}], 1)
        {:error, _told} = Conn.recv(conn, patience())

        assert_received {:netlink_trace, ^conn,
                         %Trace{messages: [], error: %Error{} = error} = event}

        assert {error.reason, error.detail} == {reason, detail}
        assert event.bytes == binary_part(bytes, 0, 16)
      end

      :ok = Native.close(forger)
    end

    test "an overrun is traced" do
      netns = {:pid, Container.start([:net]).pid}
      conn = open!(:route, netns: netns, read_buffer: 4096, groups: [1], trace: self())
      other = open!(:route, netns: netns)
      do!(other, Links.create("blue"))
      index = Links.index!(other, "blue")
      # Nobody wants the events, so they stay in the kernel's buffer until it is full.
      for n <- 1..40, do: do!(other, Links.rename(index, "blue#{n}"))
      assert await_error(conn)

      assert_received {:netlink_trace, ^conn,
                       %Trace{error: %Error{reason: :overrun}, port_id: nil, messages: []}}
    end

    test "can be turned on and off while the connection is in use, and is off by default" do
      conn = route!()
      {:ok, [_link]} = Conn.request(conn, Links.get("lo"))
      refute_received {:netlink_trace, _, _}

      :ok = Conn.trace(conn, self())
      {:ok, [_link]} = Conn.request(conn, Links.get("lo"))
      for _ <- 1..3, do: assert_received({:netlink_trace, ^conn, %Trace{}})

      :ok = Conn.trace(conn, false)
      {:ok, [_link]} = Conn.request(conn, Links.get("lo"))
      refute_received {:netlink_trace, _, _}
    end

    test "standard error gets a line for each message" do
      conn = route!()

      printed =
        capture_io(:stderr, fn ->
          :ok = Conn.trace(conn, true)
          {:ok, [_link]} = Conn.request(conn, Links.get("lo"))
          :ok = Conn.trace(conn, false)
        end)

      head = "\\d\\d:\\d\\d:\\d\\d\\.\\d{3} #{Regex.escape(inspect(conn))}"

      assert [sent, asked, answer, link, acknowledgement, done] =
               String.split(printed, "\n", trim: true)

      assert sent =~
               ~r/^#{head} to 0: #LinxNative.Message<:getlink \(18\), flags: \[:request, :ack\]/

      assert asked =~ ~r/^  %{.*family: :unspec.*} \[ifname: "lo"\]$/
      assert answer =~ ~r/^#{head} from 0: #LinxNative.Message<:newlink \(16\), /
      assert link =~ ~r/^  %{.*type: :loopback.*} \[.*ifname[:,] "lo"/
      assert acknowledgement =~ ~r/^#{head} from 0: #LinxNative.Message<:error \(2\), /
      assert done == "  done"
    end

    test "standard error gets the error of a refused request" do
      conn = route!()

      printed =
        capture_io(:stderr, fn ->
          :ok = Conn.trace(conn, true)
          {:error, _enodev} = Conn.request(conn, Links.get("nothing"))
          :ok = Conn.trace(conn, false)
        end)

      assert printed =~
               ~r/:error \(2\), .*\n  the kernel refused the request: no such device \(:enodev, errno 19\)/
    end

    test "standard error gets the command and the attributes of generic netlink" do
      conn = open!(:generic)

      printed =
        capture_io(:stderr, fn ->
          :ok = Conn.trace(conn, true)
          {:ok, _ethtool} = LinxNative.Genetlink.family(conn, "ethtool")
          :ok = Conn.trace(conn, false)
        end)

      assert printed =~ ~r/ to 0: .*:nlctrl \(16\), .*\n  command 3 \[family_name: "ethtool"\]\n/

      assert printed =~
               ~r/ from 0: .*:nlctrl \(16\), .*\n  command 1 \[family_name: "ethtool", family_id: /
    end

    test "a traced connection works if the tracing process has ended" do
      conn = route!(trace: spawn(fn -> :ok end))
      assert {:ok, [_link]} = Conn.request(conn, Links.get("lo"))
    end
  end

  defp await_error(conn) do
    case Conn.recv(conn, patience()) do
      {:ok, _messages, _origin} -> await_error(conn)
      {:error, _reason} -> true
    end
  end
end
