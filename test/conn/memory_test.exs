defmodule LinxNative.Conn.MemoryTest do
  @moduledoc """
  The memory of connections: idle, after a large answer, and during a stream. `script/bench --connections` measures the same at full
  size.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Rtnetlink}

  @moduletag :conn

  @connections 500
  @routes 20_000
  @kib 1024

  # A process that hibernates has a heap of just what it holds, whatever the least for others is.
  @least_heap 2_000
  @watched [spawn_opt: [min_heap_size: @least_heap]]

  defp hibernates?(conn) do
    Await.until(fn ->
      {:total_heap_size, words} = Process.info(conn, :total_heap_size)
      words < @least_heap
    end)
  end

  # Its heap, and the binaries that it keeps.
  defp memory(conn) do
    {:memory, bytes} = Process.info(conn, :memory)
    {:binary, binaries} = Process.info(conn, :binary)
    bytes + Enum.sum(for {_, size, _} <- Enum.uniq(binaries), do: size)
  end

  defp crowded! do
    container = Container.start([:net])
    routes = for n <- 1..@routes, do: "route add 10.0.#{div(n, 256)}.#{rem(n, 256)} dev lo\n"
    path = Path.join(Folder.make!(), "routes")
    File.write!(path, ["link set lo up\n" | routes])
    Container.sh!(container, "ip -batch #{path}")
    {:pid, container.pid}
  end

  defp routes, do: Rtnetlink.message(:getroute, flags: [:dump])

  test "an idle connection takes less than 12 KiB of resident memory" do
    {each, @connections} =
      Vm.eval(
        Vm.start(),
        quote do
          resident = fn ->
            :erlang.garbage_collect()
            [_, kib] = Regex.run(~r/^VmRSS:\s*(\d+)/m, File.read!("/proc/self/status"))
            String.to_integer(kib)
          end

          start = fn ->
            {:ok, conn} = LinxNative.Conn.start_link(:route)
            conn
          end

          # The first connections load code and allocate memory.
          for _ <- 1..20, do: start.()
          before = resident.()
          conns = for _ <- 1..var!(count), do: start.()
          each = fn -> (resident.() - before) / var!(count) end
          # A connection releases memory after it was idle for a second.
          LinxNative.Test.Await.until(60_000, fn -> each.() < 12 end)
          {each.(), length(conns)}
        end,
        count: @connections
      )

    assert each < 12
  end

  test "the memory of an answer of #{@routes} routes is released when its caller ends" do
    conn = open!(:route, [netns: crowded!()] ++ @watched)
    assert hibernates?(conn)
    before = memory(conn)

    caller =
      Task.async(fn ->
        {:ok, routes} = Conn.request(conn, routes(), timeout: :infinity)
        length(routes)
      end)

    assert Task.await(caller, :infinity) > @routes
    assert hibernates?(conn)
    assert memory(conn) - before < 200 * @kib
  end

  test "a connection that never hibernates releases it too" do
    conn = open!(:route, netns: crowded!(), hibernate_after: :infinity)
    caller = Task.async(fn -> {:ok, _} = Conn.request(conn, routes(), timeout: :infinity) end)
    Task.await(caller, :infinity)
    assert Await.until(fn -> memory(conn) < 200 * @kib end)
  end

  test "a stream of #{@routes} routes keeps no more than a few parts of it" do
    conn = open!(:route, netns: crowded!())
    most = :atomics.new(1, [])

    {:ok, count} =
      Task.async(fn ->
        conn
        |> Conn.stream(routes(), timeout: :infinity)
        |> Enum.reduce(0, fn _route, count ->
          # Now and then, as to look takes longer than to receive.
          if rem(count, 500) == 0,
            do: :atomics.put(most, 1, max(:atomics.get(most, 1), both(conn)))

          count + 1
        end)
        |> then(&{:ok, &1})
      end)
      |> Task.await(:infinity)

    assert count > @routes
    assert :atomics.get(most, 1) < 512 * @kib
    assert memory(conn) < 200 * @kib
  end

  # The consumer, and the process of its socket.
  defp both(conn) do
    {:monitored_by, watching} = Process.info(self(), :monitored_by)

    sockets =
      for pid <- watching,
          {:monitors, monitors} = Process.info(pid, :monitors),
          {:process, conn} in monitors,
          do: pid

    assert [socket] = sockets
    # Garbage may stay for a while. Only kept memory counts.
    for process <- [socket, self()], do: :erlang.garbage_collect(process)
    memory(socket) + memory(self())
  end

  describe "options of GenServer" do
    test "are passed on" do
      conn =
        open!(:route,
          hibernate_after: 1,
          spawn_opt: [fullsweep_after: 3, min_heap_size: @least_heap],
          debug: [:statistics]
        )

      assert hibernates?(conn)
      {:garbage_collection, collection} = Process.info(conn, :garbage_collection)
      assert collection[:fullsweep_after] == 3
      assert {:ok, [_ | _]} = :sys.statistics(conn, :get)
    end

    test "are checked" do
      for option <- [
            hibernate_after: -1,
            hibernate_after: :soon,
            spawn_opt: 1,
            debug: true,
            timeout: -1
          ] do
        assert_raise ArgumentError, ~r/^the option #{inspect(elem(option, 0))} is /, fn ->
          Conn.start_link(:route, [option])
        end
      end
    end

    test "a start that does not end in time is a timeout" do
      assert {:error, %LinxNative.Error{reason: :timeout}} = Conn.start_link(:route, timeout: 0)
    end
  end
end
