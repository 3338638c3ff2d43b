defmodule LinxNative.RtnetlinkHeadersTest do
  @moduledoc """
  The numbers behind the names of `LinxNative.Rtnetlink` and the layout of its headers are those of the kernel's headers:
  a C compiler compares them.
  """

  use LinxNative.Test.Case

  alias LinxNative.Attributes.Kind
  alias LinxNative.Rtnetlink.{Layout, Types}

  @moduletag :conn

  @includes ~w(stddef.h sys/socket.h linux/rtnetlink.h linux/if_link.h linux/if_addr.h linux/neighbour.h) ++
              ~w(linux/net_namespace.h linux/if.h linux/if_arp.h)

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

  test "a number that is wrong would be seen" do
    assert_raise ExUnit.AssertionError, ~r/is not 17/, fn ->
      assert_holds([{"RTM_NEWLINK", 17}])
    end
  end
end
