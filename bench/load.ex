defmodule LinxNative.Bench.Load do
  @moduledoc """
  Measures many callers at once: how many calls they make, and how long they delay the rest of the VM.
  """

  alias LinxNative.Bench.{Pairs, Stats}

  @netlink 16

  @doc """
  Returns the call of each contestant: it opens a socket at a path, and closes it.
  """
  def openers do
    library = fn socket ->
      fn path ->
        {:ok, fd} = socket.open_in_netns(path, 0)
        :ok = socket.close_fd(fd)
      end
    end

    [
      ours: library.(Linx.Netlink.Socket.Native),
      c: library.(Linx.Netlink.Socket.Legacy),
      otp: fn path ->
        {:ok, socket} = :socket.open(@netlink, :raw, 0, %{netns: path})
        :ok = :socket.close(socket)
      end
    ]
  end

  @doc """
  The rates of contestants `{name, fun}`, in rounds as of `LinxNative.Bench.Pairs`: maps with what each is about.
  """
  def rates(contestants, callers, paths, rounds, ms) do
    for round <- 1..rounds, {name, fun} <- Pairs.there_and_back(contestants) do
      %{
        callers: callers,
        namespaces: length(paths),
        contestant: name,
        round: round,
        rate: rate(fun, callers, paths, ms)
      }
    end
  end

  @doc """
  Calls a second, of `callers` processes that call `fun` with one path after the other for `ms`.
  """
  def rate(fun, callers, paths, ms) do
    {_, calls} = while_calling(fun, callers, paths, fn -> wait(ms) end)
    calls * 1000 / ms
  end

  @doc """
  Returns how late a process was that should run every millisecond for `ms`, in nanoseconds, while others called `fun`.
  """
  def lateness(fun, callers, paths, ms) do
    {late, _} = while_calling(fun, callers, paths, fn -> tick(now() + native(ms), []) end)
    late
  end

  @doc """
  Returns the median and the 99th percentile.
  """
  def summary(times), do: {Stats.median(times), Stats.quantile(times, 0.99)}

  # The result of `meanwhile`, and how many calls were done.
  defp while_calling(fun, callers, paths, meanwhile) do
    counter = :counters.new(1, [:write_concurrency])
    stop = :atomics.new(1, [])

    tasks =
      for first <- 1..callers//1 do
        Task.async(fn ->
          call(fun, paths, Enum.drop(paths, rem(first * 7, length(paths))), counter, stop)
        end)
      end

    result = meanwhile.()
    calls = :counters.get(counter, 1)
    :atomics.put(stop, 1, 1)
    Task.await_many(tasks, :infinity)
    {result, calls}
  end

  defp call(fun, paths, [], counter, stop), do: call(fun, paths, paths, counter, stop)

  defp call(fun, paths, [path | rest], counter, stop) do
    fun.(path)
    :counters.add(counter, 1, 1)
    if :atomics.get(stop, 1) == 0, do: call(fun, paths, rest, counter, stop)
  end

  defp tick(until, late) do
    start = now()
    wait(1)
    woken = now()
    late = [max(0, nanoseconds(woken - start) - 1_000_000) | late]
    if woken < until, do: tick(until, late), else: late
  end

  defp wait(ms) do
    receive do
    after
      ms -> :ok
    end
  end

  defp now, do: :erlang.monotonic_time()
  defp native(ms), do: System.convert_time_unit(ms, :millisecond, :native)
  defp nanoseconds(native), do: System.convert_time_unit(native, :native, :nanosecond)
end
