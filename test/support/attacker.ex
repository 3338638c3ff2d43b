defmodule LinxNative.Test.Attacker do
  @moduledoc """
  Processes of a container that spy on the other processes there, or send them signals, as fast as they can.

  The container needs the namespaces `:mount` and `:pid`.
  """

  alias LinxNative.Test.{Container, Harness, Program}

  # Mounts a `/proc` that shows the processes of the container.
  @own_proc ["unshare", "--mount", "sh", "-c", "mount -t proc proc /proc && exec \"$@\"", "sh"]
  @nobody ~w(setpriv --reuid=65534 --regid=65534 --clear-groups --)

  @doc """
  Starts a spy: a process that reads what it can of all that start after it. It is an ordinary user's, as is everything in
  a container with `:user`, unless it is to be root's.
  """
  def spy(%Container{namespaces: namespaces} = container, user \\ :nobody) do
    become = if user == :root or :user in namespaces, do: [], else: @nobody
    start(container, @own_proc ++ become ++ [Harness.path(), "spy"])
  end

  @doc """
  Ends a spy. Returns of how many processes it saw anything, the command line, and the memory, how many network tables it
  read, the names of links in these, and the last command line.
  """
  def spied(spy) do
    {[line], 0} = Program.dismiss(spy)
    [counts, links, cmdline] = String.split(line, [" links ", " cmdline "])
    words = counts |> String.split() |> Enum.chunk_every(2)

    counts =
      for [name, count] <- words, do: {String.to_existing_atom(name), String.to_integer(count)}

    Enum.into(counts, %{
      links: String.split(links, ",", trim: true),
      cmdline: Base.decode16!(cmdline, case: :lower)
    })
  end

  @doc """
  Starts a process of root that repeatedly sends a signal, `"KILL"` or `"STOP"`, to all others.

  It also hits processes that the test itself runs in the container.
  """
  def signal(container, name), do: start(container, [Harness.path(), "signal", name])

  @doc """
  Ends that process. Returns how often it found a process to send the signal to.
  """
  def hits(signal) do
    {["hits " <> count], 0} = Program.dismiss(signal)
    String.to_integer(count)
  end

  defp start(container, words) do
    [command | args] = Container.nsenter(container) ++ words
    program = Program.start!(command, args)
    "ready" = Program.line!(program)
    program
  end
end
