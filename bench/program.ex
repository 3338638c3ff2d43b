defmodule LinxNative.Bench.Program do
  @moduledoc """
  A program that reads and writes lines. It ends when its standard input closes, with the VM at the latest.
  """

  @patience 60_000
  # The answer to one command of the floor is one line.
  @longest_line 4_000_000

  @doc """
  Starts a program. Its owner is the calling process.
  """
  def start!(path, args \\ []) do
    Port.open({:spawn_executable, to_charlist(path)}, [
      :binary,
      :exit_status,
      line: @longest_line,
      args: args
    ])
  end

  @doc """
  Writes one line to the program.
  """
  def tell(port, line), do: Port.command(port, [line, ?\n])

  @doc """
  Returns the next line of its output.
  """
  def line!(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> line
      {^port, {:exit_status, status}} -> raise "a program ended with exit status #{status}"
    after
      @patience -> raise "a program says nothing"
    end
  end

  @doc """
  Ends the program.
  """
  def stop(port), do: Port.close(port)
end
