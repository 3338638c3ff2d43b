defmodule Linx.Netlink.Socket do
  @moduledoc """
  Netlink sockets in network namespaces.

  To adopt a descriptor that `Linx.Netlink.Socket.Native.open_in_netns/2` returned, give it to `:socket.open/1`, as
  `open/1` does. The socket then owns it.
  """

  alias Linx.Netlink.Socket.Native

  @route 0

  defmodule Error do
    @moduledoc false
    defexception [:stage, :code]

    @impl true
    def message(error), do: "#{error.stage} failed with errno #{error.code}"
  end

  # The sentence above is wrong, as in Linx: the socket owns a duplicate. docs/under-linx.md says what to do.

  @doc """
  Opens a `NETLINK_ROUTE` socket in the network namespace of a process or of a file.
  """
  def open({:pid, pid}), do: open({:path, "/proc/#{pid}/ns/net"})

  def open({:path, path}) do
    case Native.open_in_netns(path, @route) do
      {:ok, fd} -> :socket.open(fd)
      {:error, {stage, code}} -> {:error, %Error{stage: stage, code: code}}
    end
  end

  @doc """
  Returns the number of links of the namespace of a socket: `RTM_GETLINK` as a dump.
  """
  def count_links(socket) do
    # NLM_F_REQUEST and NLM_F_DUMP, and a `struct ifinfomsg` of zeros.
    request = <<32::native-32, 18::native-16, 0x301::native-16, 1::native-32, 0::160>>
    :ok = :socket.send(socket, request)
    count(socket, <<>>)
  end

  defp count(socket, <<>>) do
    {:ok, messages} = :socket.recv(socket, 65_536, 5_000)
    count(socket, messages)
  end

  defp count(socket, <<length::native-32, type::native-16, _::binary>> = messages) do
    {_message, rest} = :erlang.split_binary(messages, length)

    case type do
      # NLMSG_DONE
      3 -> 0
      # RTM_NEWLINK
      16 -> 1 + count(socket, rest)
    end
  end
end
