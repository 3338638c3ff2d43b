defmodule LinxNative.Test.Hang do
  @moduledoc """
  A folder in which every look-up waits until the test lets go: FUSE without anybody who answers.
  """

  alias LinxNative.Test.{Await, MountInfo, Program, Vm}

  @enforce_keys [:program, :waiting]
  defstruct @enforce_keys

  @connections "/sys/fs/fuse/connections"

  # What is mounted second counts the requests that wait. The program ends when it is let go, which closes the
  # descriptor, and that ends the waiting.
  @script """
  [ -c /dev/fuse ] && exec 3<>/dev/fuse &&
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hang "$0" &&
    mount -t fusectl fusectl "$1" &&
    echo ready && read line
  """

  @doc """
  Mounts it at `folder` in the mount namespace of `vm`, which has to be its own.
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
  Awaits that `count` calls wait there.
  """
  def await_calls!(%__MODULE__{waiting: waiting}, count) do
    # The kernel's own first request waits as well.
    wait? = fn -> String.trim(File.read!(waiting)) == "#{count + 1}" end
    Await.until(wait?) || raise "no #{count} calls wait, but #{File.read!(waiting)}"
    :ok
  end

  @doc """
  Lets all calls go on. The system call they wait in fails: ENOTCONN.
  """
  def release(%__MODULE__{program: program}), do: Program.dismiss(program)
end
