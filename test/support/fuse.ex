defmodule LinxNative.Test.Fuse do
  @moduledoc """
  A file system of a container in which every look-up waits, until its daemon answers or ends.

  Use a name for each call: a second look-up of the same name waits for the first one.
  """

  alias LinxNative.Test.{Await, Container, Harness, Program}

  @enforce_keys [:program, :waiting, :start]
  defstruct @enforce_keys

  @connections "/sys/fs/fuse/connections"

  @doc """
  Mounts the file system at an existing `folder` of the container.

  `start` is the answer of the daemon to the kernel's first request: with `:parallel` the kernel may look up several names of a folder
  at a time, with `:serial` only one, and with `:never` there is no answer. With the last two, all look-ups but the first wait
  uninterruptibly.
  """
  def mount!(%Container{} = container, folder, start \\ :parallel),
    do: mount!(Container.nsenter(container), container.pid, folder, start)

  @doc """
  Mounts it in the mount namespace of any process: `enter` are the words of a command that enters it, `pid` is the process.
  """
  def mount!([command | args], pid, folder, start) do
    # Not by mount(8): on Linux 6.1 that of Debian 13 looks at what it has mounted, and so waits too.
    program = Program.start!(command, args ++ [Harness.path(), "fuse", folder, "#{start}"])
    "ready " <> connection = Program.line!(program)
    waiting = "/proc/#{pid}/root#{@connections}/#{connection}/waiting"
    %__MODULE__{program: program, waiting: waiting, start: start}
  end

  @doc """
  Returns how many requests wait.
  """
  def waiting(%__MODULE__{waiting: waiting}) do
    waiting |> File.read!() |> String.trim() |> String.to_integer()
  end

  @doc """
  Waits until at least `count` requests wait.
  """
  def await_waiting!(fuse, count) do
    Await.until(fn -> waiting(fuse) >= count end) ||
      raise "not #{count} requests wait, but #{waiting(fuse)}"

    :ok
  end

  @doc """
  Makes the daemon take the requests without answering them. A process that waits for one of these cannot be killed.
  """
  def read(%__MODULE__{program: program}), do: "ok" = Program.tell!(program, "read")

  @doc """
  Returns how many requests the daemon has taken since.
  """
  def taken(%__MODULE__{program: program}) do
    program |> Program.tell!("taken") |> String.to_integer()
  end

  @doc """
  Makes the daemon answer from now on. A name that starts with `file` is a regular file, any other name a directory.
  """
  def answer(%__MODULE__{program: program}), do: "ok" = Program.tell!(program, "answer")

  @doc """
  Ends the daemon. The system calls that wait fail: ENOTCONN or ECONNABORTED.
  """
  def stop(%__MODULE__{program: program}), do: Program.dismiss(program)
end
