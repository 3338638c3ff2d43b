defmodule LinxNative.Test.Program do
  @moduledoc """
  A program that runs beside a test, reads and writes lines, and ends when a line is written to it.

  It belongs to a process of its own, because the callbacks of `on_exit`, which end it, do not run
  in the test process. It ends with the VM at the latest, which closes its standard input.
  """

  alias LinxNative.Test.Await

  @patience Await.patience()

  @doc """
  Starts `command`. It ends with the test.
  """
  def start!(command, args) do
    executable = System.find_executable(command) || raise "there is no #{command}"
    options = [:binary, :exit_status, :stderr_to_stdout, line: 4096, args: args]

    program =
      spawn(fn -> serve(Port.open({:spawn_executable, to_charlist(executable)}, options)) end)

    ExUnit.Callbacks.on_exit(fn -> dismiss(program) end)
    program
  end

  @doc """
  Returns the next line of the program's output.
  """
  def line!(program) do
    case ask(program, &next/1) do
      {:line, line} -> line
      other -> raise "waited for a line of a program: #{inspect(other)}"
    end
  end

  @doc """
  Writes a line to the program, and returns the next line of its output.
  """
  def tell!(program, line) do
    ask(program, &Port.command(&1, line <> "\n"))
    line!(program)
  end

  @doc """
  Makes the program end, and waits until it has ended.

  Returns its remaining output lines and its exit status, or `:ended` if it had been dismissed before.
  """
  def dismiss(program) do
    result =
      ask(program, fn port ->
        # It may have ended by itself.
        if Port.info(port), do: Port.command(port, "\n")
        rest(port, [])
      end)

    send(program, :stop)
    result
  end

  defp rest(port, lines) do
    case next(port) do
      {:line, line} -> rest(port, [line | lines])
      {:ended, status} -> {Enum.reverse(lines), status}
      :silent -> raise "a program does not end; it said #{inspect(Enum.reverse(lines))}"
    end
  end

  defp next(port) do
    receive do
      {^port, {:data, {_, line}}} -> {:line, line}
      {^port, {:exit_status, status}} -> {:ended, status}
    after
      @patience -> :silent
    end
  end

  # Not a GenServer, because the port's output has to stay in the mailbox until a test asks for it.
  defp serve(port) do
    receive do
      {:ask, from, tag, question} ->
        send(from, {tag, question.(port)})
        serve(port)

      :stop ->
        :ok
    end
  end

  defp ask(program, question) do
    monitor = Process.monitor(program)
    send(program, {:ask, self(), monitor, question})

    receive do
      {^monitor, answer} ->
        Process.demonitor(monitor, [:flush])
        answer

      {:DOWN, ^monitor, :process, _, reason} when reason in [:normal, :noproc] ->
        :ended

      {:DOWN, ^monitor, :process, _, reason} ->
        exit(reason)
    end
  end
end
