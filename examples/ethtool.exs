# Which links of this machine are up, how fast they are and in which mode, over generic netlink:
#
#     mix run examples/ethtool.exs
#
# The family ethtool (Linux 5.6) has what the tool of that name shows. It takes no root to look.

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

    # By its name: its number is another on each boot.
    case Genetlink.family(conn, "ethtool") do
      {:ok, ethtool} -> show(conn, ethtool)
      {:error, error} -> IO.puts(Exception.message(error))
    end

    :ok = Conn.close(conn)
  end

  defp show(conn, ethtool) do
    # Not every link has a mode.
    modes = all(conn, ethtool, @linkmodes_get, @linkmodes)

    for {name, state} <- all(conn, ethtool, @linkstate_get, @linkstate) do
      IO.puts("#{name}  #{state[:link] || "unknown"}#{mode(modes[name])}")
    end
  end

  # What a command says of every link, by the name of the link.
  defp all(conn, ethtool, command, schema) do
    request = Genetlink.message(ethtool, command, flags: [:dump], schema: schema)
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
