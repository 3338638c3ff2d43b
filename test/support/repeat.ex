defmodule LinxNative.Test.Repeat do
  @moduledoc """
  The same calls over and over, and what they leave in the VM. To be used in a peer.
  """

  @doc """
  Makes the calls, `{module, function, args}`, so many times, one after the other. A descriptor that one returns is closed.

  Returns how many bytes of binaries and resources the VM has then, once garbage is collected.
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
