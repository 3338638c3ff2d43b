defmodule LinxNative.Test.Hang do
  @moduledoc """
  A folder in which every look-up waits until the test lets go: FUSE without anybody who answers.
  """

  alias LinxNative.Test.{Await, Program, Vm}

  @enforce_keys [:program, :vm]
  defstruct @enforce_keys

  # To end the program is to close the descriptor, and that ends the waiting.
  @script """
  exec 3<>/dev/fuse &&
    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hang "$0" &&
    echo ready && read line
  umount --lazy "$0"
  """

  @doc """
  Mounts it at `folder` in the mount namespace of `vm`, which should be its own.
  """
  def mount!(%Vm{os_pid: os_pid} = vm, folder) do
    args = ["--target", os_pid, "--mount", "--", "sh", "-c", @script, folder]
    program = Program.start!("nsenter", args)
    "ready" = Program.line!(program)
    %__MODULE__{program: program, vm: vm}
  end

  @doc """
  Awaits that a call of the VM waits there.
  """
  def await_call!(%__MODULE__{vm: %Vm{os_pid: os_pid}}) do
    waits? = fn -> Enum.any?(Path.wildcard("/proc/#{os_pid}/task/*/status"), &waits?/1) end
    Await.until(waits?) || raise "no call waits"
    :ok
  end

  @doc """
  Lets all calls go on. The system call they wait in fails: ENOTCONN.
  """
  def release(%__MODULE__{program: program}), do: Program.dismiss(program)

  # Uninterruptible, as a thread of the VM hardly ever is elsewhere.
  defp waits?(status) do
    case File.read(status) do
      {:ok, text} -> text =~ ~r/^State:\tD/m
      {:error, _} -> false
    end
  end
end
