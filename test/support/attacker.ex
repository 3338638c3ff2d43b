defmodule LinxNative.Test.Attacker do
  @moduledoc """
  Processes of a container that spy on others there, or send them signals, as fast as they can.

  The container has `:mount` and `:pid`. Its `/proc` is to show its own processes, for the spy; `proc!/1` sees to that.
  """

  alias LinxNative.Test.{Container, Harness, Program}

  # An ordinary user.
  @nobody ~w(setpriv --reuid=65534 --regid=65534 --clear-groups --)

  @doc """
  Mounts a `/proc` in the container, of its processes.
  """
  def proc!(container), do: Container.sh!(container, "mount -t proc proc /proc")

  @doc """
  Starts a spy: an ordinary user's process, which reads what it can of all that start after it.
  """
  def spy(container), do: start(container, @nobody, ["spy"])

  @doc """
  Ends a spy. Returns of how many processes it saw anything, the command line, and how many network tables it read.
  """
  def spied(spy) do
    {["processes " <> counts], 0} = Program.dismiss(spy)
    [processes, "cmdlines", cmdlines, "tables", tables] = String.split(counts)

    %{
      processes: String.to_integer(processes),
      cmdlines: String.to_integer(cmdlines),
      tables: String.to_integer(tables)
    }
  end

  @doc """
  Starts a process of root's that sends a signal to all others, `"KILL"` or `"STOP"`, over and over.

  What the test itself runs in the container is hit, too.
  """
  def signal(container, name), do: start(container, [], ["signal", name])

  @doc """
  Ends that. Returns how often there was somebody to send it to.
  """
  def hits(signal) do
    {["hits " <> count], 0} = Program.dismiss(signal)
    String.to_integer(count)
  end

  defp start(container, user, command) do
    [program | args] = Container.nsenter(container) ++ user ++ [Harness.path() | command]
    program = Program.start!(program, args)
    "ready" = Program.line!(program)
    program
  end
end
