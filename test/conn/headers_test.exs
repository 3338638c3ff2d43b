defmodule LinxNative.HeadersTest do
  @moduledoc """
  Compares numbers and layouts with the kernel's headers, by a C compiler: the numbers behind the names of `LinxNative.Rtnetlink` and
  `LinxNative.Genetlink`, the numbers in their documentation, and the layout of the headers of messages.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Attributes, Genetlink, Message}
  alias LinxNative.Attributes.Kind
  alias LinxNative.Rtnetlink.{Layout, Types}

  @moduletag :conn

  @includes ~w(stddef.h sys/socket.h linux/rtnetlink.h linux/if_link.h linux/if_addr.h linux/neighbour.h) ++
              ~w(linux/net_namespace.h linux/if.h linux/if_arp.h linux/genetlink.h linux/wireguard.h) ++
              ~w(linux/ethtool_netlink.h)

  # By message: the structure, the prefix of its fields, the prefix of its attributes.
  @structures [
    newlink: {"ifinfomsg", "ifi", "IFLA"},
    newaddr: {"ifaddrmsg", "ifa", "IFA"},
    newroute: {"rtmsg", "rtm", "RTA"},
    newneigh: {"ndmsg", "ndm", "NDA"},
    newnsid: {"rtgenmsg", "rtgen", "NETNSA"}
  ]

  # The prefixes of the names of numbers and of nested attributes, by message and field or attribute.
  @prefixes %{
    {:newlink, :type} => "ARPHRD",
    {:newlink, :flags} => "IFF",
    {:newlink, :change} => "IFF",
    {:newlink, :operstate} => "IF_OPER",
    {:newlink, :linkinfo} => "IFLA_INFO",
    {:newlink, :prop_list} => "IFLA",
    {:newlink, :proto_down_reason} => "IFLA_PROTO_DOWN_REASON",
    {:newaddr, :flags} => "IFA_F",
    {:newaddr, :scope} => "RT_SCOPE",
    {:newroute, :table} => "RT_TABLE",
    {:newroute, :protocol} => "RTPROT",
    {:newroute, :scope} => "RT_SCOPE",
    {:newroute, :type} => "RTN",
    {:newroute, :metrics} => "RTAX",
    {:newneigh, :state} => "NUD",
    {:newneigh, :flags} => "NTF",
    {:newneigh, :type} => "RTN",
    {:newneigh, :protocol} => "RTPROT",
    {:newneigh, :flags_ext} => "NTF_EXT"
  }

  # Two families of constants, and what has no constant of its kind.
  @route_flags %{
    dead: "RTNH_F_DEAD",
    pervasive: "RTNH_F_PERVASIVE",
    onlink: "RTNH_F_ONLINK",
    nexthop_offload: "RTNH_F_OFFLOAD",
    linkdown: "RTNH_F_LINKDOWN",
    unresolved: "RTNH_F_UNRESOLVED",
    nexthop_trap: "RTNH_F_TRAP"
  }
  @multicast_families %{ipmr: "RTNL_FAMILY_IPMR", ip6mr: "RTNL_FAMILY_IP6MR"}

  defp equal(expression, number), do: {expression, number}

  defp constant(prefix, name), do: "#{prefix}_#{String.upcase("#{name}")}"

  defp numbers(prefix, names), do: for({name, n} <- names, do: equal(constant(prefix, name), n))

  defp layouts do
    for {type, structure} <- @structures, do: {type, structure, Map.fetch!(Layout.all(), type)}
  end

  # The names that a kind has for numbers.
  defp names(_type, :family, {:enum, _kind, names, _numbers}) do
    for {name, n} <- names, do: equal(@multicast_families[name] || constant("AF", name), n)
  end

  defp names(:newroute, :flags, {:bits, _kind, names, _ordered}) do
    for {name, n} <- names, do: equal(@route_flags[name] || constant("RTM_F", name), n)
  end

  defp names(type, field, {:enum, _kind, names, _numbers}),
    do: numbers(prefix(type, field), names)

  defp names(type, field, {:bits, _kind, names, _ordered}),
    do: numbers(prefix(type, field), names)

  defp names(_type, _field, {:nested, %{names: names}}) when names == %{}, do: []
  defp names(type, field, {:nested, %{names: names}}), do: numbers(prefix(type, field), names)
  defp names(_type, _field, _kind), do: []

  defp prefix(type, field), do: Map.fetch!(@prefixes, {type, field})

  defp assert_holds(equations) do
    assert equations != []
    file = Path.join(Folder.make!(), "names.c")
    includes = for header <- @includes, do: "#include <#{header}>\n"

    assertions =
      for {expression, number} <- equations, uniq: true do
        ~s{_Static_assert((#{expression}) == #{number}, "is not #{number}");\n}
      end

    File.write!(file, [includes, assertions])

    {said, status} =
      System.cmd("cc", ["-std=gnu11", "-fsyntax-only", file], stderr_to_stdout: true)

    assert status == 0, said
  end

  test "types of messages and multicast groups" do
    assert_holds(numbers("RTM", Types.types()) ++ numbers("RTNLGRP", Types.groups()))
  end

  test "attributes" do
    assert_holds(
      for {_type, {_struct, _field, prefix}, layout} <- layouts(),
          equation <- numbers(prefix, layout.attributes.names),
          do: equation
    )
  end

  test "names of numbers and bits, and attributes of attributes" do
    assert_holds(
      for {type, _structure, layout} <- layouts(),
          {field, kind} <- layout.header ++ Map.values(layout.attributes.types),
          equation <- names(type, field, kind),
          do: equation
    )
  end

  test "headers: the offset and the size of each field, and the size of all" do
    assert_holds(
      for {_type, {structure, prefix, _attributes}, layout} <- layouts(),
          equation <- offsets(structure, prefix, layout.header),
          do: equation
    )
  end

  # The attributes begin at a multiple of 4.
  defp offsets(structure, prefix, header) do
    {equations, size} =
      Enum.flat_map_reduce(header, 0, fn
        {:padding, size}, offset ->
          {[], offset + size}

        {name, kind}, offset ->
          size = Kind.size(kind)
          field = "#{prefix}_#{name}"

          {[
             equal("offsetof(struct #{structure}, #{field})", offset),
             equal("sizeof(((struct #{structure} *)0)->#{field})", size)
           ], offset + size}
      end)

    equations ++ [equal("(sizeof(struct #{structure}) + 3) & ~3", size)]
  end

  test "the controller of generic netlink" do
    schema = Genetlink.schema(%Message{type: 16})
    {:list, {:nested, operation}} = kind(schema, :ops)
    {:list, {:nested, group}} = kind(schema, :mcast_groups)
    {:bits, _kind, capabilities, _ordered} = kind(operation, :flags)

    capabilities =
      for {name, bit} <- capabilities do
        constant =
          %{admin: "ADMIN_PERM", namespace_admin: "UNS_ADMIN_PERM", policy: "CMD_CAP_HASPOL"}[
            name
          ]

        equal("GENL_" <> (constant || constant("CMD_CAP", name)), bit)
      end

    assert_holds(
      numbers("CTRL_ATTR", schema.names) ++
        numbers("CTRL_ATTR_OP", operation.names) ++
        numbers("CTRL_ATTR_MCAST_GRP", group.names) ++
        capabilities ++ [equal("GENL_ID_CTRL", 16), equal("CTRL_CMD_GETFAMILY", 3)]
    )
  end

  test "the schema for WireGuard, and its commands" do
    {schema, _binding} = Genetlink |> documented("## WireGuard") |> Code.eval_string()
    device = Attributes.schema(schema)
    {:list, {:nested, peer}} = kind(device, :peers)
    {:list, {:nested, address}} = kind(peer, :allowedips)
    {:bits, _kind, device_flags, _ordered} = kind(device, :flags)
    {:bits, _kind, peer_flags, _ordered} = kind(peer, :flags)
    {:enum, _kind, families, _numbers} = kind(address, :family)

    assert_holds(
      numbers("WGDEVICE_A", device.names) ++
        numbers("WGPEER_A", peer.names) ++
        numbers("WGALLOWEDIP_A", address.names) ++
        numbers("WGDEVICE_F", device_flags) ++
        numbers("WGPEER_F", peer_flags) ++
        numbers("AF", families) ++
        [equal("WG_CMD_GET_DEVICE", 0), equal("WG_CMD_SET_DEVICE", 1)]
    )
  end

  test "the numbers of ethtool in the documentation and the example" do
    [_, code] = Regex.run(~r/^    schema = (.*)$/m, documented(Genetlink, ""))
    {schema, _binding} = Code.eval_string(code)
    schema = Attributes.schema(schema)
    {:nested, header} = kind(schema, :header)

    assert_holds(
      numbers("ETHTOOL_A_LINKSTATE", schema.names) ++
        numbers("ETHTOOL_A_HEADER", header.names) ++
        [
          equal("ETHTOOL_MSG_LINKSTATE_GET", 6),
          equal("ETHTOOL_MSG_LINKMODES_GET", 4),
          equal("ETHTOOL_A_LINKMODES_SPEED", 5),
          equal("ETHTOOL_A_LINKMODES_DUPLEX", 6)
        ]
    )
  end

  defp kind(schema, name), do: elem(schema.types[schema.names[name]], 1)

  # The lines of code after a mark in the documentation of a module.
  defp documented(module, mark) do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)
    [_before, text] = String.split("\n" <> text, "\n" <> mark, parts: 2)
    lines = String.split(text, "\n")
    lines |> Enum.filter(&(&1 == "" or String.starts_with?(&1, "    "))) |> Enum.join("\n")
  end

  test "a wrong number is noticed" do
    assert_raise ExUnit.AssertionError, ~r/is not 17/, fn ->
      assert_holds([{"RTM_NEWLINK", 17}])
    end
  end
end
