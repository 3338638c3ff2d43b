defmodule LinxNative.Test.Repeat do
  @moduledoc """
  Repeats calls and measures the memory that they leave in the VM. To be used in another VM.
  """

  @doc """
  Makes the calls, `{module, function, args}`, one after the other, `times` times. Closes a descriptor that a call returns.

  Returns the number of bytes of binaries and resources in the VM after a garbage collection.
  """
  def run(calls, times) do
    for _ <- 1..times//1, {module, function, args} <- calls do
      with {:ok, fd} when is_integer(fd) <- apply(module, function, args) do
        Linx.Netlink.Socket.Native.close_fd(fd)
      end
    end

    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    :erlang.memory(:binary)
  end
end
