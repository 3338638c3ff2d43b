defmodule LinxNative.Test.KilledCallers do
  @moduledoc """
  Processes that make one call after the other, and are killed at random moments. To be used in another VM.
  """

  alias LinxNative.Test.Await

  @callers 8
  @most_calls 5

  @doc """
  Kills `count` of them, each when it has begun some calls, and awaits the end of the NIFs they are in.

  Returns how many calls were begun.

  `calls` are `{module, function, args}`. With which one a process begins, and how many it makes at least, is by `seed`.
  """
  def run(calls, count, seed) do
    :rand.seed(:exsss, seed)
    callers = for _ <- 1..@callers, do: start(calls)

    callers = Enum.reduce(1..count, callers, fn _, callers -> kill(callers, calls) end)
    Enum.each(callers, &Process.exit(&1, :kill))
    Await.nifs()
    flush(0)
  end

  defp kill([caller | callers], calls) do
    for _ <- 1..:rand.uniform(@most_calls), do: await_begin(caller)
    Process.exit(caller, :kill)
    callers ++ [start(calls)]
  end

  defp start(calls) do
    killer = self()
    first = :rand.uniform(length(calls))
    spawn(fn -> calls |> Stream.cycle() |> Stream.drop(first) |> Enum.each(&call(&1, killer)) end)
  end

  defp call({module, function, args}, killer) do
    send(killer, {:begins, self()})
    apply(module, function, args)
  end

  defp await_begin(caller) do
    receive do
      {:begins, ^caller} -> send(self(), :begun)
    end
  end

  # Returns how many calls were begun.
  defp flush(count) do
    receive do
      message when message == :begun or elem(message, 0) == :begins -> flush(count + 1)
    after
      0 -> count
    end
  end
end
