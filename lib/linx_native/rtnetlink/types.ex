defmodule LinxNative.Rtnetlink.Types do
  @moduledoc false

  # The names of messages and multicast groups: RTM_* and RTNLGRP_* of linux/rtnetlink.h without the prefix, in lower case.

  @types %{
    newlink: 16,
    dellink: 17,
    getlink: 18,
    setlink: 19,
    newaddr: 20,
    deladdr: 21,
    getaddr: 22,
    newroute: 24,
    delroute: 25,
    getroute: 26,
    newneigh: 28,
    delneigh: 29,
    getneigh: 30,
    newrule: 32,
    delrule: 33,
    getrule: 34,
    newqdisc: 36,
    delqdisc: 37,
    getqdisc: 38,
    newtclass: 40,
    deltclass: 41,
    gettclass: 42,
    newtfilter: 44,
    deltfilter: 45,
    gettfilter: 46,
    newaction: 48,
    delaction: 49,
    getaction: 50,
    newprefix: 52,
    getmulticast: 58,
    getanycast: 62,
    newneightbl: 64,
    getneightbl: 66,
    setneightbl: 67,
    newnduseropt: 68,
    newaddrlabel: 72,
    deladdrlabel: 73,
    getaddrlabel: 74,
    getdcb: 78,
    setdcb: 79,
    newnetconf: 80,
    delnetconf: 81,
    getnetconf: 82,
    newmdb: 84,
    delmdb: 85,
    getmdb: 86,
    newnsid: 88,
    delnsid: 89,
    getnsid: 90,
    newstats: 92,
    getstats: 94,
    setstats: 95,
    newcachereport: 96,
    newchain: 100,
    delchain: 101,
    getchain: 102,
    newnexthop: 104,
    delnexthop: 105,
    getnexthop: 106,
    newlinkprop: 108,
    dellinkprop: 109,
    getlinkprop: 110,
    newvlan: 112,
    delvlan: 113,
    getvlan: 114,
    newnexthopbucket: 116,
    delnexthopbucket: 117,
    getnexthopbucket: 118,
    newtunnel: 120,
    deltunnel: 121,
    gettunnel: 122
  }

  @numbers Map.new(@types, fn {name, number} -> {number, name} end)

  @groups %{
    link: 1,
    notify: 2,
    neigh: 3,
    tc: 4,
    ipv4_ifaddr: 5,
    ipv4_mroute: 6,
    ipv4_route: 7,
    ipv4_rule: 8,
    ipv6_ifaddr: 9,
    ipv6_mroute: 10,
    ipv6_route: 11,
    ipv6_ifinfo: 12,
    ipv6_prefix: 18,
    ipv6_rule: 19,
    nd_useropt: 20,
    phonet_ifaddr: 21,
    phonet_route: 22,
    dcb: 23,
    ipv4_netconf: 24,
    ipv6_netconf: 25,
    mdb: 26,
    mpls_route: 27,
    nsid: 28,
    mpls_netconf: 29,
    ipv4_mroute_r: 30,
    ipv6_mroute_r: 31,
    nexthop: 32,
    brvlan: 33,
    mctp_ifaddr: 34,
    tunnel: 35,
    stats: 36
  }

  @doc "Returns the message types by name."
  @spec types() :: %{atom => 16..0xFFFF}
  def types, do: @types

  @doc "Returns the name of a type, or the number if it has no name."
  @spec name(0..0xFFFF) :: atom | 0..0xFFFF
  def name(number), do: Map.get(@numbers, number, number)

  @doc "Returns the multicast groups by name."
  @spec groups() :: %{atom => pos_integer}
  def groups, do: @groups
end
