defmodule LinxNative.Conn.GivenUpTest do
  @moduledoc """
  Requests that are given up, because their timeout is over or their caller was killed, delay no other request.
  """

  use LinxNative.Test.Case

  import LinxNative.Conn.Filter
  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  # Time that is over soon.
  @soon 20
  @many 5

  # NLM_F_MULTI
  @multi 2

  # Starts a connection that receives neither the parts of a dump nor its end.
  defp deaf!(options \\ []) do
    filter = [load(:u16, 6), jump_any_bit(native16(@multi), 0, 1), return(0), return(0xFFFF_FFFF)]
    route!([filter: filter] ++ options)
  end

  # The kernel makes the next part of a dump when anything is received: so it comes to its end.
  defp hear!(conn) do
    for _ <- 1..@many, do: {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
    :ok = Conn.detach_filter(conn)
  end

  defp begin(conn, request, timeout \\ :infinity) do
    Task.async(Conn, :request, [conn, request, [timeout: timeout]])
  end

  defp sent?(conn, count), do: Await.until(fn -> Conn.info!(conn).counters.sent == count end)
  defp pending?(conn, count), do: Await.until(fn -> Conn.info!(conn).pending == count end)

  describe "the next dump starts when a dump is given up" do
    test "because its caller was killed" do
      conn = deaf!()
      first = begin(conn, Links.dump())
      assert sent?(conn, 1)
      waiting = for _ <- 2..@many, do: begin(conn, Links.dump())
      assert pending?(conn, @many)
      assert Conn.info!(conn).counters.sent == 1
      hear!(conn)
      assert Conn.info!(conn).pending == @many

      Task.shutdown(first, :brutal_kill)
      for answer <- Task.await_many(waiting, :infinity), do: assert({:ok, [_loopback]} = answer)
      assert %{pending: 0, counters: %{foreign: 0, events: 0}} = Conn.info!(conn)
    end

    test "because its timeout is over" do
      conn = deaf!()
      first = begin(conn, Links.dump(), @soon)
      assert sent?(conn, 1)
      hear!(conn)
      next = begin(conn, Links.dump())
      assert {:error, %Error{reason: :timeout}} = Task.await(first, :infinity)
      assert {:ok, [_loopback]} = Task.await(next, :infinity)
      assert Conn.info!(conn).pending == 0
    end

    test "while unclaimed events arrive" do
      conn = deaf!(groups: [1], event_buffer: 0)
      first = begin(conn, Links.dump())
      assert sent?(conn, 1)
      hear!(conn)
      next = begin(conn, Links.dump())
      do!(conn, Links.create("one"))
      Task.shutdown(first, :brutal_kill)
      assert {:ok, [_loopback, _one]} = Task.await(next, :infinity)
    end
  end

  describe "while a dump does not end" do
    setup do
      conn = deaf!()
      dump = begin(conn, Links.dump())
      assert sent?(conn, 1)
      %{conn: conn, dump: dump}
    end

    test "other requests are sent, also if their flags mean a dump in another protocol", %{
      conn: conn
    } do
      assert {:error, %Error{reason: :enodev}} = Conn.request(conn, Links.get(0x7FFF_FFFF))

      # NLM_F_EXCL is NLM_F_MATCH, and NLM_F_REPLACE is NLM_F_ROOT.
      for flags <- [[:create], [:create, :excl], [:create, :replace]] do
        request = %{Links.create("one") | flags: Message.flags(flags)}
        assert Conn.request(conn, request) == {:ok, []}
        do!(conn, Links.delete("one"))
      end

      assert Conn.info!(conn).pending == 1
    end

    test "other dumps are not sent, also those with one bit", %{conn: conn} do
      waiting =
        for flag <- [:root, :match] do
          begin(conn, %{Links.dump() | flags: Message.flags([flag])})
        end

      assert pending?(conn, 3)
      assert Conn.info!(conn).counters.sent == 1
      :ok = Conn.close(conn)
      closed = {:error, %Error{reason: :closed}}
      assert Task.await_many(waiting, :infinity) == [closed, closed]
    end
  end

  describe "a request times out for its caller" do
    test "also while the connection is suspended" do
      conn = route!()
      :ok = :sys.suspend(conn)

      for timeout <- [0, @soon], request <- [Links.get(1), Links.dump()] do
        assert {:error, %Error{reason: :timeout}} = Conn.request(conn, request, timeout: timeout)
      end

      :ok = :sys.resume(conn)
      assert names(conn) == ["lo"]
      assert pending?(conn, 0)
      # The caller gets no late answer.
      assert Process.info(self(), :messages) == {:messages, []}
    end

    test "never with :infinity" do
      conn = route!()
      :ok = :sys.suspend(conn)
      waiting = begin(conn, Links.get(1))
      await_blocked!(waiting)
      :ok = :sys.resume(conn)
      assert {:ok, [_loopback]} = Task.await(waiting, :infinity)
    end
  end
end
