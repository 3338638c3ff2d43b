# Prints for each link of this machine whether it is up, its speed and its mode, over generic netlink:
#
#     mix run examples/ethtool.exs
#
# The family ethtool (Linux 5.6) has the data that the tool ethtool shows. Reading it needs no root.

defmodule Ethtool do
  alias LinxNative.{Conn, Genetlink}

  # ETHTOOL_MSG_LINKSTATE_GET, ETHTOOL_MSG_LINKMODES_GET, and their attributes, of linux/ethtool_netlink.h
  @linkstate_get 6
  @linkmodes_get 4
  @header {1, {:nested, %{dev_index: {1, :u32}, dev_name: {2, :string}}}}
  @linkstate %{header: @header, link: {2, {:enum, :u8, [down: 0, up: 1]}}}
  @duplex {:enum, :u8, [half: 0, full: 1, unknown: 0xFF]}
  @linkmodes %{header: @header, speed: {5, :u32}, duplex: {6, @duplex}}
  @unknown_speed 0xFFFFFFFF

  def run do
    {:ok, conn} = Conn.start_link(:generic)

    # By its name, because its number may differ after a reboot.
    case Genetlink.family(conn, "ethtool") do
      {:ok, ethtool} -> show(conn, ethtool)
      {:error, error} -> IO.puts(Exception.message(error))
    end

    :ok = Conn.close(conn)
  end

  defp show(conn, ethtool) do
    # Some links have no mode.
    modes = all(conn, ethtool, @linkmodes_get, @linkmodes)

    for {name, state} <- all(conn, ethtool, @linkstate_get, @linkstate) do
      IO.puts("#{name}  #{state[:link] || "unknown"}#{mode(modes[name])}")
    end
  end

  # Returns the attributes of a command for every link, by the name of the link.
  defp all(conn, ethtool, command, schema) do
    # Linux 6.1 needs the header, although it is empty for all links.
    dump = [flags: [:dump], schema: schema, attributes: [header: []]]
    request = Genetlink.message(ethtool, command, dump)
    {:ok, replies} = Conn.request(conn, request)

    for reply <- replies, into: %{} do
      %{attributes: attributes} = Genetlink.decode!(reply, schema)
      {attributes[:header][:dev_name], attributes}
    end
  end

  defp mode(nil), do: ""

  defp mode(attributes) do
    case attributes[:speed] do
      speed when speed in [nil, @unknown_speed] -> ""
      speed -> "  #{speed} Mb/s  #{attributes[:duplex]}"
    end
  end
end

Ethtool.run()
