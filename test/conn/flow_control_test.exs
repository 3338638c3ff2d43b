defmodule LinxNative.Conn.FlowControlTest do
  @moduledoc """
  Flow control of events: a subscriber that asks for a number of them, and what becomes of those that nobody asked for.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.RenamedLink

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Conn.Inbox
  alias LinxNative.Test.Links

  @moduletag :conn

  # Enough for all events.
  @large 16 * 1024 * 1024
  # The number of bytes that a kept message counts besides its own.
  @overhead 256

  setup :make!

  describe "flow control" do
    test "of one at a time", context do
      conn = start(context, read_buffer: @large)
      names = rename(context, 1..20)

      told =
        for _ <- names do
          :ok = Conn.active(conn, :once)
          assert_receive {:netlink, ^conn, [message], _origin}, patience()
          # Only one datagram: info!/1 is answered after all earlier work of the connection.
          Conn.info!(conn)
          refute_received {:netlink, ^conn, _, _}
          Links.read(message).name
        end

      assert told == names
    end

    test "of a number at a time", context do
      conn = start(context, read_buffer: @large)
      names = rename(context, 1..20)

      for part <- Enum.chunk_every(names, 5) do
        :ok = Conn.active(conn, 5)
        assert_receive {:netlink_passive, ^conn}, patience()
        assert mailbox(conn) == part
      end

      # There is none.
      :ok = Conn.active(conn, 5)
      Conn.info!(conn)
      refute_received {:netlink_passive, ^conn}
    end

    test "of all, until active: false", context do
      conn = start(context, read_buffer: @large)
      :ok = Conn.active(conn, true)
      first = rename(context, 1..10)
      assert await_names(conn, List.last(first)) == first
      :ok = Conn.active(conn, false)
      second = rename(context, 11..20)
      Conn.info!(conn)
      assert mailbox(conn) == []
      :ok = Conn.active(conn, true)
      assert await_names(conn, List.last(second)) == second
    end

    test "comes after waiting callers", context do
      conn = start(context, read_buffer: @large)
      :ok = Conn.active(conn, true)
      waiting = Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 1 end)
      names = rename(context, 1..2)
      {:ok, [message], _origin} = Task.await(waiting, :infinity)
      assert [Links.read(message).name | await_names(conn, List.last(names))] == names
    end

    test "ends with the subscriber", context do
      conn = start(context, read_buffer: @large)

      {subscriber, monitor} =
        spawn_monitor(fn ->
          :ok = Conn.active(conn, true)
          receive(do: (:never -> :ok))
        end)

      assert Await.until(fn -> subscribed?(conn) end)
      Process.exit(subscriber, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :killed}
      assert Await.until(fn -> not subscribed?(conn) end)
      names = rename(context, 1..10)
      assert receive_names(conn, List.last(names)) == names
    end

    test "applies to the last subscriber", context do
      conn = start(context, read_buffer: @large)
      other = Task.async(fn -> Conn.active(conn, true) end)
      assert Task.await(other, :infinity) == :ok
      :ok = Conn.active(conn, true)
      assert Await.until(fn -> subscribed?(conn) end)
      names = rename(context, 1..5)
      assert await_names(conn, List.last(names)) == names
    end
  end

  describe "while events are unclaimed, requests" do
    test "are answered, and the events are kept in order", context do
      conn = start(context, read_buffer: @large)

      names =
        for n <- 1..30 do
          [name] = rename(context, [n])
          assert {:ok, [link]} = Conn.request(conn, Links.get(context.index))
          assert Links.read(link).name == name
          assert {:ok, [_lo, _link]} = Conn.request(conn, Links.dump())
          name
        end

      assert receive_names(conn, List.last(names)) == names
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "are answered, and a loss for lack of room is reported once", context do
      conn = start(context, read_buffer: @large, event_buffer: 8_000)
      names = rename(context, 1..20)

      for _ <- 1..3 do
        assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
        rename(context, 21..30)
      end

      assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
      before = receive_names(conn)
      assert before != [] and length(before) < 20 and List.starts_with?(names, before)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)

      [name] = rename(context, [31])
      assert receive_names(conn, name) == [name]
    end

    test "are answered, and each kept message counts #{@overhead} bytes more than its size" do
      message = %Message{type: 20, body: <<0::32>>}
      size = byte_size(Message.encode(message)) + @overhead
      {:ok, sender} = Conn.start_link(:usersock)

      for {event_buffer, datagrams, kept} <- [
            {2 * size, [1, 1], 2},
            {2 * size - 1, [1, 1], 1},
            {2 * size, [2], 1},
            {2 * size - 1, [2], 0},
            {size - 1, [1], 0}
          ] do
        {:ok, conn} = Conn.start_link(:usersock, accept: :any, event_buffer: event_buffer)
        to = Conn.info!(conn).port_id

        for count <- datagrams,
            do: {:ok, _} = Conn.send_many(sender, List.duplicate(message, count), to: to)

        # The connection receives all earlier events, because an answer may be behind them.
        assert {:error, %Error{reason: :econnrefused}} =
                 Conn.request(conn, message, to: 0xFFFF_FFFF)

        overruns = length(datagrams) - kept
        assert %{counters: %{events: ^kept, overruns: ^overruns}} = Conn.info!(conn)

        told = for _ <- datagrams, do: elem(Conn.recv(conn, 0), 0)
        assert told == List.duplicate(:ok, kept) ++ List.duplicate(:error, overruns)
      end
    end
  end

  describe "unclaimed events stay in the kernel's buffer, also if none are kept:" do
    test "recv/2 takes one", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      names = rename(context, 1..5)
      assert receive_names(conn, List.last(names)) == names
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      assert %{drops: 0, counters: %{events: 5, overruns: 0}} = Conn.info!(conn)
    end

    test "several waiting callers take one each", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      waiting = for _ <- 1..2, do: Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 2 end)
      names = rename(context, 1..5)

      told =
        for {:ok, [message], _origin} <- Task.await_many(waiting, :infinity),
            do: Links.read(message).name

      assert Enum.sort(told) == Enum.take(names, 2)
      assert receive_names(conn, List.last(names)) == Enum.drop(names, 2)
      assert %{drops: 0, counters: %{events: 5, overruns: 0}} = Conn.info!(conn)
    end

    test "a subscriber takes as many as it wants", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      names = rename(context, 1..10)

      for {active, part} <- [{1, 0..0}, {:once, 1..1}, {3, 2..4}, {5, 5..9}] do
        :ok = Conn.active(conn, active)
        part = Enum.slice(names, part)
        assert await_names(conn, List.last(part)) == part
        # It receives no more: info!/1 is answered after all earlier work of the connection.
        Conn.info!(conn)
        refute_received {:netlink, ^conn, _messages, _origin}
      end

      assert %{drops: 0, counters: %{events: 10, overruns: 0}} = Conn.info!(conn)
    end
  end

  defp subscribed?(conn), do: :sys.get_state(conn).subscription != nil

  defp waiting(conn), do: length(Inbox.waiting(:sys.get_state(conn).inbox))
end
