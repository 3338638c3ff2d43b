defmodule LinxNative.Test.Hang do
  @moduledoc """
  A folder in which every look-up waits until the test releases it: FUSE without a daemon that answers.
  """

  alias LinxNative.Test.{Await, Harness, Program, Vm}

  @enforce_keys [:program, :waiting]
  defstruct @enforce_keys

  @connections "/sys/fs/fuse/connections"

  @doc """
  Mounts it at `folder` in the mount namespace of `vm`, which must have one of its own.
  """
  def mount!(%Vm{os_pid: os_pid}, folder) do
    # Not mount(8): on Linux 6.1 that of Debian 13 looks at what it has mounted, and so waits too.
    args = ["--target", os_pid, "--mount", "--", Harness.path(), "fuse", folder, "never"]
    program = Program.start!("nsenter", args)
    "ready " <> connection = Program.line!(program)
    waiting = "/proc/#{os_pid}/root#{@connections}/#{connection}/waiting"
    %__MODULE__{program: program, waiting: waiting}
  end

  @doc """
  Waits until `count` calls wait there.
  """
  def await_calls!(%__MODULE__{waiting: waiting}, count) do
    # The kernel's own first request waits too.
    wait? = fn -> String.trim(File.read!(waiting)) == "#{count + 1}" end
    Await.until(wait?) || raise "no #{count} calls wait, but #{File.read!(waiting)}"
    :ok
  end

  @doc """
  Releases all calls. The system calls that wait fail with ENOTCONN.
  """
  def release(%__MODULE__{program: program}), do: Program.dismiss(program)
end
