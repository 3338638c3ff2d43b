defmodule LinxNative.Test.Callers do
  @moduledoc """
  Processes that each repeat one call and check every answer. To be used in another VM.
  """

  alias LinxNative.Test.Await

  @patience Await.patience()

  @doc """
  Starts a process for each `{module, function, arguments, expected}`.
  """
  def start(calls), do: for(call <- calls, do: spawn(fn -> loop(call, 0, []) end))

  @doc """
  Returns how many calls each process has made so far.
  """
  def counts(callers), do: Enum.map(callers, &ask(&1, :count))

  @doc """
  Ends the processes and returns the wrong answers, each once for a process.
  """
  def stop(callers), do: Enum.flat_map(callers, &ask(&1, :stop))

  @doc """
  Loads `code` of a module `times` times, each time as soon as no process runs the previous code. Returns the different results.

  It does not pause before it asks again, so that as many reloads as possible meet a call.
  """
  def reload(module, code, times) do
    Enum.uniq(
      for _ <- 1..times do
        answer = :code.load_binary(module, ~c"#{module}", code)
        Await.until(@patience, 0, fn -> :code.soft_purge(module) end) || exit(:old_code_stays)
        answer
      end
    )
  end

  # The call has to be fully qualified, so that the VM uses the current code.
  defp loop({module, function, arguments, expected} = call, count, wrong) do
    receive do
      {:count, from, tag} ->
        send(from, {tag, count})
        loop(call, count, wrong)

      {:stop, from, tag} ->
        send(from, {tag, wrong})
    after
      0 ->
        # There are many callers, which should not wait for the end of this one's time slice.
        :erlang.yield()

        wrong =
          case answer(module, function, arguments) do
            ^expected -> wrong
            other -> Enum.uniq([{module, function, other} | wrong])
          end

        loop(call, count + 1, wrong)
    end
  end

  defp answer(module, function, arguments) do
    apply(module, function, arguments)
  catch
    kind, reason -> {kind, reason}
  end

  defp ask(caller, question) do
    tag = Process.monitor(caller)
    send(caller, {question, self(), tag})

    receive do
      {^tag, answer} ->
        Process.demonitor(tag, [:flush])
        answer

      {:DOWN, ^tag, :process, _, reason} ->
        exit({:a_caller_ended, reason})
    after
      @patience -> exit(:a_caller_is_silent)
    end
  end
end
