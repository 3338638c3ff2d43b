# The links of every network namespace of this machine, a line for each namespace. As root:
#
#     mix run examples/links.exs
#
# A namespace has no name of its own. It is known by the files that lead to it: one of each process that is in it, and those
# that `ip netns add` makes. Two files are of the same namespace if LinxNative.netns_id/1 says the same.

defmodule Links do
  alias LinxNative.{Attributes, Conn, Message}

  # RTM_GETLINK, IFLA_IFNAME and IFLA_OPERSTATE of rtnetlink(7), with the states as `ip link` shows them.
  @get_link 18
  @name 3
  @state 16
  @states ~w(unknown notpresent down lowerlayerdown testing dormant up)

  def run do
    for {{_device, inode}, paths} <- Enum.sort(namespaces()) do
      IO.puts("#{inode}  #{who(paths)}: #{links(hd(paths))}")
    end
  end

  # The files of each namespace, by its identity.
  defp namespaces do
    files =
      for path <- Path.wildcard("/run/netns/*") ++ Path.wildcard("/proc/[0-9]*/ns/net"),
          # A process may have ended meanwhile.
          {:ok, id} <- [LinxNative.netns_id({:path, path})],
          do: {id, path}

    Enum.group_by(files, fn {id, _path} -> id end, fn {_id, path} -> path end)
  end

  defp who([path]), do: who_is(path)
  defp who([path | others]), do: "#{who_is(path)} and #{length(others)} more"

  defp who_is("/run/netns/" <> name), do: "netns #{name}"

  defp who_is("/proc/" <> rest) do
    {pid, _rest} = Integer.parse(rest)

    case File.read("/proc/#{pid}/comm") do
      {:ok, command} -> "#{String.trim(command)} (#{pid})"
      {:error, _reason} -> "(#{pid})"
    end
  end

  # The connection opens its socket in that namespace; nothing else of this VM goes there.
  defp links(path) do
    # A dump: all there are. The body is a struct ifinfomsg of zeros, for any link.
    request = %Message{type: @get_link, flags: Message.flags([:dump]), body: <<0::128>>}

    with {:ok, conn} <- Conn.start_link(:route, netns: {:path, path}),
         answer = Conn.request(conn, request),
         :ok = Conn.close(conn),
         {:ok, messages} <- answer do
      Enum.map_join(messages, ", ", &link/1)
    else
      {:error, error} -> "no answer: #{Exception.message(error)}"
    end
  end

  defp link(%Message{body: <<_::32, index::native-32, _::64, rest::binary>>}) do
    {:ok, attributes} = Attributes.decode(rest, %{@name => :string, @state => :u8})
    name = Attributes.get(attributes, @name)
    state = Enum.at(@states, Attributes.get(attributes, @state, 0))
    "#{index} #{name} #{state}"
  end
end

Links.run()
