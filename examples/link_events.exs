# What happens to the links of a network namespace, told as it happens. As root:
#
#     mix run examples/link_events.exs
#
# Two connections into one namespace: one follows the events, the other makes them happen.

defmodule LinkEvents do
  alias LinxNative.{Attributes, Conn, Message}

  # A link in rtnetlink(7): RTM_NEWLINK, RTM_DELLINK and RTM_GETLINK, the multicast group RTNLGRP_LINK, the flag IFF_UP,
  # and the attributes IFLA_IFNAME and IFLA_LINKINFO with its IFLA_INFO_KIND.
  @new_link 16
  @delete_link 17
  @get_link 18
  @links 1
  @up 1
  @name 3
  @info 18
  @kind 1

  def run do
    {port, pid} = start_container()
    where = [netns: {:pid, pid}]

    # A connection is a process, linked to this one. What it follows comes here as messages.
    {:ok, events} =
      Conn.start_link(:route, [groups: [@links], active: true, subscriber: self()] ++ where)

    {:ok, conn} = Conn.start_link(:route, where)

    changes = Task.async(fn -> change(conn) end)
    follow(events, %{})
    :ok = Task.await(changes)

    # The namespace ends with the last that is in it: two connections and a process.
    :ok = Conn.close(events)
    :ok = Conn.close(conn)
    Port.close(port)
  end

  # Each request returns when the kernel has done it. A new link is a bridge here, as that needs nothing else.
  defp change(conn) do
    bridge = [{@name, {:string, "blue"}}, {@info, {:nested, [{@kind, {:string, "bridge"}}]}}]
    {:ok, []} = Conn.request(conn, message(@new_link, [:create, :excl], link(0), bridge))

    {:ok, [reply]} = Conn.request(conn, message(@get_link, [], link(0), named("blue")))
    %{index: index} = read(reply)

    {:ok, []} = Conn.request(conn, message(@new_link, [], link(index), named("green")))
    {:ok, []} = Conn.request(conn, message(@new_link, [], link(index, @up, @up), []))
    {:ok, []} = Conn.request(conn, message(@delete_link, [], link(index), []))
    :ok
  end

  # Until a link is deleted. `known` has the names by index.
  defp follow(events, known) do
    receive do
      {:netlink, ^events, messages, _origin} ->
        {known, deleted?} = Enum.reduce(messages, {known, false}, &tell/2)
        if not deleted?, do: follow(events, known)

      # Events were lost, say. A real program would ask for all links now.
      {:netlink_error, ^events, error} ->
        raise error
    after
      10_000 -> raise "no events"
    end
  end

  defp tell(message, {known, deleted?}) do
    link = read(message)

    what =
      case {message.type, known[link.index]} do
        {@delete_link, _name} -> "deleted"
        {@new_link, nil} -> "new"
        {@new_link, name} when name != link.name -> "renamed, was #{name}"
        {@new_link, _name} -> "changed"
      end

    time = Time.truncate(Time.utc_now(), :millisecond)
    state = if link.up?, do: "up", else: "down"
    IO.puts("#{time}  link #{link.index}  #{link.name}  #{state}  #{what}")
    {Map.put(known, link.index, link.name), deleted? or message.type == @delete_link}
  end

  # Numbers are in the byte order of the machine. `conn` fills in what a request needs besides: its sequence number, its
  # port id, and the flags that make it one.
  defp message(type, flags, link, attributes) do
    body = [link, Attributes.encode(attributes)]
    %Message{type: type, flags: Message.flags(flags), body: body}
  end

  # struct ifinfomsg: any family, any type, the index, the flags, and which of the flags to change.
  defp link(index, flags \\ 0, change \\ 0) do
    <<0, 0, 0::16, index::native-32, flags::native-32, change::native-32>>
  end

  defp named(name), do: [{@name, {:string, name}}]

  defp read(%Message{body: <<_::32, index::native-32, flags::native-32, _::32, rest::binary>>}) do
    {:ok, attributes} = Attributes.decode(rest, %{@name => :string})
    name = Attributes.get(attributes, @name)
    %{index: index, name: name, up?: Bitwise.band(flags, @up) != 0}
  end

  # A process in a network namespace of its own. It ends when the port is closed, as `cat` ends with its input; so
  # nothing is left, whatever happens here.
  defp start_container do
    unshare = System.find_executable("unshare")
    port = Port.open({:spawn_executable, unshare}, args: ["--net", "cat"])
    {:os_pid, pid} = Port.info(port, :os_pid)
    {:ok, {_device, inode}} = await_namespace(pid, LinxNative.netns_id(:host))
    IO.puts("Network namespace #{inode}, of process #{pid}")
    {port, pid}
  end

  # The process begins in our namespace.
  defp await_namespace(pid, ours) do
    case LinxNative.netns_id({:pid, pid}) do
      {:error, reason} -> raise "unshare has ended (#{reason}): this takes root"
      ^ours -> await_namespace(pid, ours)
      theirs -> theirs
    end
  end
end

LinkEvents.run()
