defmodule LinxNative.Test.Descriptors do
  @moduledoc """
  Calls while the VM has only so many descriptors left. To be used in a peer.
  """

  @doc """
  Calls a function when just `count` descriptors can still be opened. A descriptor that it opens is closed.
  """
  def with_only(count, module, function, args) do
    # The VM loads code on demand, which takes descriptors too.
    {:module, _} = Code.ensure_loaded(module)
    {freed, taken} = Enum.split(take([]), count)
    Enum.each(freed, &:socket.close/1)
    result = apply(module, function, args)
    with {:ok, fd} when is_integer(fd) <- result, do: Linx.Netlink.Socket.Native.close_fd(fd)
    Enum.each(taken, &:socket.close/1)
    result
  end

  defp take(sockets) do
    case :socket.open(:inet, :dgram) do
      {:ok, socket} -> take([socket | sockets])
      {:error, :emfile} -> sockets
    end
  end
end
