defmodule LinxNative.Test.Hang do
  @moduledoc """
  A folder in which every look-up waits until the test releases it: FUSE without a daemon that answers.
  """

  alias LinxNative.Test.{Await, MountInfo, Program, Vm}

  @enforce_keys [:program, :waiting]
  defstruct @enforce_keys

  @connections "/sys/fs/fuse/connections"

  # The second mount counts the requests that wait. When the program is released it ends, which closes the descriptor and so ends the
  # look-ups.
  @script """
  [ -c /dev/fuse ] && exec 3<>/dev/fuse &&
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hang "$0" &&
    mount -t fusectl fusectl "$1" &&
    echo ready && read line
  """

  @doc """
  Mounts it at `folder` in the mount namespace of `vm`, which must have one of its own.
  """
  def mount!(%Vm{os_pid: os_pid} = vm, folder) do
    args = ["--target", os_pid, "--mount", "--", "sh", "-c", @script, folder, @connections]
    program = Program.start!("nsenter", args)
    "ready" = Program.line!(program)
    "0:" <> connection = MountInfo.at(vm.os_pid, folder).device
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
