defmodule LinxNative.Test.Descriptors do
  @moduledoc """
  Makes calls while the VM has only a given number of descriptors left. To be used in another VM.
  """

  @doc """
  Calls a function while only `count` descriptors can be opened. Closes a descriptor that the function returns.
  """
  def with_only(count, module, function, args) do
    # The VM loads code on demand, which needs descriptors too.
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
