defmodule LinxNative.Test.Netlink do
  @moduledoc """
  The part of rtnetlink that shows which network namespace a socket is in.
  """

  alias LinxNative.Test.Await

  @rtm_getlink 18
  @nlm_f_request_dump 0x301
  @nlmsg_error 2
  @nlmsg_done 3
  @ifla_ifname 3
  @buffer 65_536
  @patience Await.patience()

  @doc """
  Turns a descriptor into a socket. The descriptor is closed in any case, because `:socket` works on a
  duplicate.
  """
  def adopt(fd) do
    result = :socket.open(fd)
    :ok = Linx.Netlink.Socket.Native.close_fd(fd)
    result
  end

  @doc """
  Returns the network interfaces that a netlink socket sees, as a list of `{index, name}`. Closes the socket.
  """
  def links(fd) do
    {:ok, socket} = adopt(fd)

    try do
      # A message header, then a `struct ifinfomsg` of zeros: any interface.
      :ok =
        :socket.send(
          socket,
          <<32::native-32, @rtm_getlink::native-16>> <>
            <<@nlm_f_request_dump::native-16, 1::native-32, 0::native-32, 0::128>>
        )

      receive_links(socket, [])
    after
      :socket.close(socket)
    end
  end

  defp receive_links(socket, links) do
    {:ok, messages} = :socket.recv(socket, @buffer, @patience)

    case parse(messages, links) do
      {:done, links} -> Enum.reverse(links)
      {:more, links} -> receive_links(socket, links)
    end
  end

  defp parse(<<>>, links), do: {:more, links}

  defp parse(<<length::native-32, type::native-16, _::binary>> = messages, links) do
    rest = drop(messages, aligned(length))

    case {type, binary_part(messages, 0, length)} do
      {@nlmsg_done, _} ->
        {:done, links}

      {@nlmsg_error, <<_::binary-size(16), errno::native-signed-32, _::binary>>} ->
        raise "RTM_GETLINK: errno #{-errno}"

      {_, <<_::binary-size(20), index::native-32, _::binary-size(8), attributes::binary>>} ->
        parse(rest, [{index, name(attributes)} | links])
    end
  end

  defp name(<<length::native-16, @ifla_ifname::native-16, rest::binary>>) do
    binary_part(rest, 0, length - 5)
  end

  defp name(<<length::native-16, _::binary>> = attributes) do
    name(drop(attributes, aligned(length)))
  end

  defp drop(binary, count), do: binary_part(binary, byte_size(binary), count - byte_size(binary))

  defp aligned(length), do: div(length + 3, 4) * 4
end
