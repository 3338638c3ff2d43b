defmodule LinxNative.Bench.Connections do
  @moduledoc """
  Measures connections: the memory of idle ones, the memory after a dump and of a stream, and the delay of other callers if very many
  callers leave at once. The goals are the project's own.
  """

  alias LinxNative.Bench.{Clock, Container, Stats, Table}
  alias LinxNative.{Conn, Rtnetlink}

  @connections 5_000
  @routes 30_000
  @many_routes 1_000_000
  @receivers 16_000
  @killed 32_000
  @runs 5
  @requests 2_000

  # In words, of a process that does not hibernate.
  @least_heap 2_000

  # How long a connection has to give memory back: it is idle for a second before it hibernates.
  @settle_ms 5_000

  @doc """
  Measures, prints the table and writes `connections.txt` and `connections.csv` to a folder.
  """
  def main(harness, folder) do
    # First, while the VM is small.
    rows = [idle()]
    container = Container.make!(harness)

    rows =
      try do
        rows ++
          [
            leaving(
              "#{@receivers} callers of recv/2 killed at once",
              @receivers,
              100,
              &receive_from/1
            ),
            leaving("#{@killed} callers of dumps killed at once", @killed, 500, &dump_from/1),
            one_caller()
          ] ++ with_routes(container)
      after
        Container.remove(container)
      end

    header = ["what", "measured", "goal"]
    text = Table.text(header, rows)
    IO.puts(text)
    File.write!(Path.join(folder, "connections.txt"), text)
    File.write!(Path.join(folder, "connections.csv"), Table.csv(Enum.join(header, ","), rows))
  end

  defp idle do
    progress("#{@connections} idle connections")
    # What a first one loads.
    conn = open!()
    {:ok, _} = Conn.request(conn, get())
    before = settled()
    conns = for _ <- 1..@connections, do: open!()
    each = (settled() - before) / @connections
    for conn <- conns, do: Conn.close(conn)
    ["resident memory of an idle connection, of #{@connections}", kib(each), "< 12 KiB"]
  end

  defp leaving(what, count, goal_ms, call) do
    progress(what)

    times =
      for _ <- 1..@runs do
        conn = open!()
        # So that none is answered before all wait.
        :ok = :sys.suspend(conn)
        callers = for _ <- 1..count, do: spawn(fn -> call.(conn) end)
        for caller <- callers, do: await_waiting(caller)
        for caller <- callers, do: Process.exit(caller, :kill)
        for caller <- callers, do: await_end(caller)
        :ok = :sys.resume(conn)
        {cpu, _} = :erlang.statistics(:runtime)
        {_, time} = Clock.once(fn -> {:ok, _} = Conn.request(conn, get(), timeout: :infinity) end)
        {cpu_after, _} = :erlang.statistics(:runtime)
        Conn.close(conn)
        {time / 1.0e6, (cpu_after - cpu) / 1}
      end

    {times, cpu} = Enum.unzip(times)
    measured = "#{range(times, "ms")}, CPU #{range(cpu, "ms")}"
    ["#{what}: the next request waits", measured, "< #{goal_ms} ms"]
  end

  defp receive_from(conn), do: Conn.recv(conn)

  defp dump_from(conn) do
    Conn.request(conn, Rtnetlink.message(:getlink, flags: [:dump]), timeout: :infinity)
  end

  # The wake-ups of two processes and a dirty I/O scheduler are most of it, and take what they like.
  defp one_caller do
    progress("one caller")
    conn = open!()

    medians =
      for _ <- 1..@runs do
        {_, times} = Clock.each(1..@requests, fn _ -> {:ok, _} = Conn.request(conn, get()) end)
        Stats.median(times) / 1000
      end

    Conn.close(conn)
    ["one request of one caller, medians of #{@runs} runs", range(medians, "us"), ""]
  end

  defp with_routes(container) do
    progress("#{@routes} routes")
    add_routes!(container, 1..@routes)
    whole = after_dump(container)
    progress("#{@many_routes} routes")
    {few, _time} = streamed(container, @routes)
    add_routes!(container, (@routes + 1)..@many_routes)
    {many, time} = streamed(container, @many_routes)
    routes_a_second = round(@many_routes / (time / 1.0e9))

    [
      whole,
      ["peak memory of a stream of #{@routes} routes", kib(few), ""],
      ["peak memory of a stream of #{@many_routes} routes", kib(many), "as of #{@routes}"],
      ["routes a second of that stream", "#{routes_a_second}", ""]
    ]
  end

  defp after_dump(container) do
    options = [netns: {:path, container.net}, spawn_opt: [min_heap_size: @least_heap]]
    {:ok, conn} = Conn.start_link(:route, options)
    await_hibernation(conn)
    before = memory(conn)

    {caller, monitor} =
      spawn_monitor(fn -> {:ok, [_ | _]} = Conn.request(conn, routes(), timeout: :infinity) end)

    receive do: ({:DOWN, ^monitor, :process, ^caller, :normal} -> :ok)
    await_hibernation(conn)
    kept = memory(conn) - before
    Conn.close(conn)
    ["memory kept after a dump of #{@routes} routes, its caller gone", kib(kept), "< 200 KiB"]
  end

  # Of the VM, resident, above what it was before.
  defp streamed(container, count) do
    {:ok, conn} = Conn.start_link(:route, netns: {:path, container.net})
    before = settled()
    # The peak counts from now on, see proc(5).
    File.write!("/proc/self/clear_refs", "5")

    {streamed, time} =
      Clock.once(fn -> conn |> Conn.stream(routes(), timeout: :infinity) |> Enum.count() end)

    true = streamed >= count
    peak = status("VmHWM") - before
    Conn.close(conn)
    {peak, time}
  end

  # To addresses of 10.0.0.0/8.
  defp add_routes!(container, numbers) do
    path = Path.join(System.tmp_dir!(), "linx_native_bench_routes_#{System.pid()}")

    lines =
      for n <- numbers do
        <<a, b, c>> = <<n::24>>
        "route add 10.#{a}.#{b}.#{c} dev lo\n"
      end

    File.write!(path, ["link set lo up\n" | lines])
    {_, 0} = System.cmd("nsenter", ["--net=#{container.net}", "ip", "-batch", path])
    File.rm!(path)
  end

  defp routes, do: Rtnetlink.message(:getroute, flags: [:dump])
  defp get, do: Rtnetlink.message(:getlink, header: [index: 1])

  defp open! do
    {:ok, conn} = Conn.start_link(:route)
    conn
  end

  defp await_waiting(caller) do
    case Process.info(caller, :status) do
      {:status, :waiting} -> :ok
      _ -> :erlang.yield() && await_waiting(caller)
    end
  end

  defp await_end(caller) do
    if Process.alive?(caller), do: :erlang.yield() && await_end(caller)
  end

  defp await_hibernation(conn) do
    # A process that hibernates has a heap of just what it holds, whatever the least for others is.
    case Process.info(conn, :total_heap_size) do
      {:total_heap_size, words} when words < @least_heap -> :ok
      _ -> Process.sleep(10) && await_hibernation(conn)
    end
  end

  defp memory(conn) do
    {:memory, bytes} = Process.info(conn, :memory)
    {:binary, binaries} = Process.info(conn, :binary)
    bytes + Enum.sum(for {_, size, _} <- Enum.uniq(binaries), do: size)
  end

  defp settled do
    :erlang.garbage_collect()
    Process.sleep(@settle_ms)
    status("VmRSS")
  end

  defp status(name) do
    [_, kib] = Regex.run(~r/^#{name}:\s*(\d+)/m, File.read!("/proc/self/status"))
    String.to_integer(kib) * 1024
  end

  defp kib(bytes), do: "#{:erlang.float_to_binary(bytes / 1024, decimals: 1)} KiB"

  defp range(numbers, unit) do
    [least, most] =
      for n <- [Enum.min(numbers), Enum.max(numbers)], do: :erlang.float_to_binary(n, decimals: 1)

    "#{least} to #{most} #{unit}"
  end

  defp progress(what), do: IO.puts(:stderr, "  #{what}")
end
