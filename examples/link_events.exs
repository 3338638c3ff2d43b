# Prints the changes of the links of a network namespace as they happen. Run it as root:
#
#     mix run examples/link_events.exs
#
# It has two connections in one namespace: one receives the events, the other makes the changes.

defmodule LinkEvents do
  alias LinxNative.{Conn, Rtnetlink}

  def run do
    {port, pid} = start_container()
    where = [netns: {:pid, pid}]

    # A connection is a process that is linked to this one. Its events come here as messages.
    {:ok, events} =
      Conn.start_link(:route, [groups: [:link], active: true, subscriber: self()] ++ where)

    {:ok, conn} = Conn.start_link(:route, where)

    changes = Task.async(fn -> change(conn) end)
    follow(events, %{})
    :ok = Task.await(changes)

    # The namespace ends with the last user of it: two connections and a process.
    :ok = Conn.close(events)
    :ok = Conn.close(conn)
    Port.close(port)
  end

  # Each request returns when the kernel has carried it out. The new link is a bridge, because that needs no other link.
  defp change(conn) do
    bridge = [ifname: "blue", linkinfo: [kind: "bridge"]]
    request!(conn, :newlink, flags: [:create, :excl], attributes: bridge)

    [reply] = request!(conn, :getlink, attributes: [ifname: "blue"])
    index = Rtnetlink.decode!(reply).header.index

    request!(conn, :newlink, header: [index: index], attributes: [ifname: "green"])
    # The new flags, and a mask of the flags to change.
    request!(conn, :newlink, header: [index: index, flags: [:up], change: [:up]])
    request!(conn, :dellink, header: [index: index])
    :ok
  end

  defp request!(conn, type, options) do
    {:ok, replies} = Conn.request(conn, Rtnetlink.message(type, options))
    replies
  end

  # Receives events until a link is deleted. `known` has the names by index.
  defp follow(events, known) do
    receive do
      {:netlink, ^events, messages, _origin} ->
        {known, deleted?} = Enum.reduce(messages, {known, false}, &tell/2)
        if not deleted?, do: follow(events, known)

      # For example, events were lost. A real program would ask for all links now.
      {:netlink_error, ^events, error} ->
        raise error
    after
      10_000 -> raise "no events"
    end
  end

  defp tell(message, {known, deleted?}) do
    %{type: type, header: %{index: index, flags: flags}, attributes: attributes} =
      Rtnetlink.decode!(message)

    name = attributes[:ifname]

    what =
      case {type, known[index]} do
        {:dellink, _name} -> "deleted"
        {:newlink, nil} -> "new"
        {:newlink, old} when old != name -> "renamed, was #{old}"
        {:newlink, _name} -> "changed"
      end

    time = Time.truncate(Time.utc_now(), :millisecond)
    state = if :up in flags, do: "up", else: "down"
    IO.puts("#{time}  link #{index}  #{name}  #{state}  #{what}")
    {Map.put(known, index, name), deleted? or type == :dellink}
  end

  # Starts a process in a network namespace of its own. It ends when the port is closed, because `cat` ends with its input. So nothing
  # is left, whatever happens here.
  defp start_container do
    unshare = System.find_executable("unshare")
    port = Port.open({:spawn_executable, unshare}, args: ["--net", "cat"])
    {:os_pid, pid} = Port.info(port, :os_pid)
    {:ok, {_device, inode}} = await_namespace(pid, LinxNative.netns_id(:host))
    IO.puts("Network namespace #{inode}, of process #{pid}")
    {port, pid}
  end

  # The process begins in the VM's namespace.
  defp await_namespace(pid, ours) do
    case LinxNative.netns_id({:pid, pid}) do
      {:error, reason} -> raise "unshare has ended (#{reason}): this needs root"
      ^ours -> await_namespace(pid, ours)
      theirs -> theirs
    end
  end
end

LinkEvents.run()
