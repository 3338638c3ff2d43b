defmodule Consumer do
  @moduledoc """
  An application that depends on `:linx_native` and has nothing else to work with.
  """

  alias Linx.Mount.Native, as: Mount
  alias Linx.Netlink.Socket.Native, as: NetlinkSocket
  alias LinxNative.{Conn, Message}

  @doc """
  Uses both drop-in libraries and a connection on the namespaces of a process; raises if anything is not as it should be.
  """
  @spec check(pos_integer) :: :ok
  def check(pid) do
    [] = mounted(pid)
    :ok = Mount.mount("consumer", "/mnt", "tmpfs", 0, "size=1m", "/proc/#{pid}/ns/mnt", "", 0)
    [_one] = mounted(pid)
    :ok = Mount.umount("/mnt", 0, "/proc/#{pid}/ns/mnt")
    [] = mounted(pid)
    {:error, {:umount, :einval}} = Mount.umount("/mnt", 0, "/proc/#{pid}/ns/mnt")

    links = links(pid)
    ^links = links_by_procfs(pid)
    ^links = links_by_connection(pid)
    {:error, {:open, 2}} = NetlinkSocket.open_in_netns("/proc/#{pid}/ns/none", 0)
    IO.puts("consumer: mounted in #{pid}, which has #{links} network links")
  end

  defp links(pid) do
    {:ok, fd} = NetlinkSocket.open_in_netns("/proc/#{pid}/ns/net", 0)
    :ok = NetlinkSocket.bind_netlink(fd, 1)
    opened = :socket.open(fd)
    :ok = NetlinkSocket.close_fd(fd)
    {:ok, socket} = opened

    # RTM_GETLINK with NLM_F_REQUEST and NLM_F_DUMP, and a `struct ifinfomsg` of zeros.
    request = <<32::native-32, 18::native-16, 0x301::native-16, 1::native-32, 0::160>>
    :ok = :socket.send(socket, request)
    links = count_links(socket, <<>>)
    :ok = :socket.close(socket)
    links
  end

  defp count_links(socket, <<>>) do
    {:ok, messages} = :socket.recv(socket, 65_536, 5_000)
    count_links(socket, messages)
  end

  defp count_links(socket, <<length::native-32, type::native-16, _::binary>> = messages) do
    {_message, rest} = :erlang.split_binary(messages, length)

    case type do
      # NLMSG_DONE
      3 -> 0
      # RTM_NEWLINK
      16 -> 1 + count_links(socket, rest)
    end
  end

  defp links_by_connection(pid) do
    {:ok, conn} = Conn.start_link(:route, netns: {:pid, pid})
    {:ok, id} = LinxNative.netns_id({:pid, pid})
    {:ok, ^id} = LinxNative.netns_id(conn)
    # RTM_GETLINK, as above.
    request = %Message{type: 18, flags: Message.flags([:dump]), body: <<0::128>>}
    {:ok, links} = Conn.request(conn, request)
    :ok = Conn.close(conn)
    length(links)
  end

  # Below two lines of headings.
  defp links_by_procfs(pid) do
    lines = "/proc/#{pid}/net/dev" |> File.read!() |> String.split("\n", trim: true)
    length(lines) - 2
  end

  defp mounted(pid) do
    for line <- String.split(File.read!("/proc/#{pid}/mountinfo"), "\n"),
        line =~ " /mnt " and line =~ " consumer ",
        do: line
  end
end
