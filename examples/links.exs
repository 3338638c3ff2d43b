# Prints the links of every network namespace of this machine, one line for each namespace. Run it as root:
#
#     mix run examples/links.exs
#
# A namespace has no name of its own. It is found by the files that refer to it: one of each process in it, and the files that
# `ip netns add` makes. Two files are of the same namespace if LinxNative.netns_id/1 returns the same for both.

defmodule Links do
  alias LinxNative.{Conn, Rtnetlink}

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

  # The connection opens its socket in that namespace. Nothing else of this VM enters it.
  defp links(path) do
    # A dump has all links.
    request = Rtnetlink.message(:getlink, flags: [:dump])

    with {:ok, conn} <- Conn.start_link(:route, netns: {:path, path}),
         answer = Conn.request(conn, request),
         :ok = Conn.close(conn),
         {:ok, messages} <- answer do
      Enum.map_join(messages, ", ", &link/1)
    else
      {:error, error} -> "no answer: #{Exception.message(error)}"
    end
  end

  defp link(message) do
    {:ok, %{header: header, attributes: attributes}} = Rtnetlink.decode(message)
    "#{header.index} #{attributes[:ifname]} #{attributes[:operstate]}"
  end
end

Links.run()
