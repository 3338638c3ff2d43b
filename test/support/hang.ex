defmodule LinxNative.Test.Hang do
  @moduledoc """
  A folder in which every look-up waits until the test releases it: FUSE without a daemon that answers.
  """

  alias LinxNative.Test.{Await, Fuse, Vm}

  @doc """
  Mounts it at `folder` in the mount namespace of `vm`, which must have one of its own.
  """
  def mount!(%Vm{os_pid: os_pid}, folder),
    do: Fuse.mount!(["nsenter", "--target", os_pid, "--mount", "--"], os_pid, folder, :never)

  @doc """
  Waits until `count` calls wait there.
  """
  def await_calls!(hang, count) do
    # The kernel's own first request waits too.
    Await.until(fn -> Fuse.waiting(hang) == count + 1 end) ||
      raise "no #{count} calls wait, but #{Fuse.waiting(hang)}"

    :ok
  end

  @doc """
  Releases all calls. The system calls that wait fail with ENOTCONN.
  """
  def release(hang), do: Fuse.stop(hang)
end
