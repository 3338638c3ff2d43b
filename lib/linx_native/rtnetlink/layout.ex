defmodule LinxNative.Rtnetlink.Layout do
  @moduledoc false

  # The headers and attributes of messages. The names are those of linux/rtnetlink.h and the headers that it includes, without
  # prefix and in lower case.

  alias LinxNative.Attributes
  alias LinxNative.Rtnetlink.Header

  @type t :: %{header: Header.t(), attributes: Attributes.schema()}

  # AF_*, RTNL_FAMILY_*
  @families [
    unspec: 0,
    inet: 2,
    bridge: 7,
    inet6: 10,
    packet: 17,
    mpls: 28,
    ipmr: 128,
    ip6mr: 129
  ]

  # ARPHRD_*
  @hardware [
    ether: 1,
    infiniband: 32,
    can: 280,
    ppp: 512,
    tunnel: 768,
    tunnel6: 769,
    loopback: 772,
    sit: 776,
    ipgre: 778,
    ieee80211: 801,
    ip6gre: 823,
    netlink: 824,
    none: 0xFFFE
  ]

  # IFF_*
  @link_flags [
    up: 0x1,
    broadcast: 0x2,
    debug: 0x4,
    loopback: 0x8,
    pointopoint: 0x10,
    notrailers: 0x20,
    running: 0x40,
    noarp: 0x80,
    promisc: 0x100,
    allmulti: 0x200,
    master: 0x400,
    slave: 0x800,
    multicast: 0x1000,
    portsel: 0x2000,
    automedia: 0x4000,
    dynamic: 0x8000,
    lower_up: 0x10000,
    dormant: 0x20000,
    echo: 0x40000
  ]

  # IF_OPER_*
  @operstates [
    unknown: 0,
    notpresent: 1,
    down: 2,
    lowerlayerdown: 3,
    testing: 4,
    dormant: 5,
    up: 6
  ]

  # RT_SCOPE_*
  @scopes [universe: 0, site: 200, link: 253, host: 254, nowhere: 255]

  # IFA_F_*
  @address_flags [
    secondary: 0x1,
    nodad: 0x2,
    optimistic: 0x4,
    dadfailed: 0x8,
    homeaddress: 0x10,
    deprecated: 0x20,
    tentative: 0x40,
    permanent: 0x80,
    managetempaddr: 0x100,
    noprefixroute: 0x200,
    mcautojoin: 0x400,
    stable_privacy: 0x800
  ]

  # RT_TABLE_*
  @tables [unspec: 0, compat: 252, default: 253, main: 254, local: 255]

  # RTPROT_*
  @route_protocols [
    unspec: 0,
    redirect: 1,
    kernel: 2,
    boot: 3,
    static: 4,
    ra: 9,
    zebra: 11,
    bird: 12,
    dhcp: 16,
    keepalived: 18,
    babel: 42,
    bgp: 186,
    isis: 187,
    ospf: 188,
    rip: 189,
    eigrp: 192
  ]

  # RTN_*
  @route_types [
    unspec: 0,
    unicast: 1,
    local: 2,
    broadcast: 3,
    anycast: 4,
    multicast: 5,
    blackhole: 6,
    unreachable: 7,
    prohibit: 8,
    throw: 9,
    nat: 10,
    xresolve: 11
  ]

  # RTNH_F_*, RTM_F_*. Two flags of a next hop have the prefix nexthop_, because RTM_F_* has the same names.
  @route_flags [
    dead: 0x1,
    pervasive: 0x2,
    onlink: 0x4,
    nexthop_offload: 0x8,
    linkdown: 0x10,
    unresolved: 0x20,
    nexthop_trap: 0x40,
    notify: 0x100,
    cloned: 0x200,
    equalize: 0x400,
    prefix: 0x800,
    lookup_table: 0x1000,
    fib_match: 0x2000,
    offload: 0x4000,
    trap: 0x8000,
    offload_failed: 0x20000000
  ]

  # NUD_*
  @neighbour_states [
    incomplete: 0x1,
    reachable: 0x2,
    stale: 0x4,
    delay: 0x8,
    probe: 0x10,
    failed: 0x20,
    noarp: 0x40,
    permanent: 0x80
  ]

  # NTF_*, NTF_EXT_*
  @neighbour_flags [
    use: 0x1,
    self: 0x2,
    master: 0x4,
    proxy: 0x8,
    ext_learned: 0x10,
    offloaded: 0x20,
    sticky: 0x40,
    router: 0x80
  ]
  @neighbour_flags_ext [managed: 0x1]

  @family {:enum, :u8, @families}
  @any {:nested, %{}}

  # struct ifinfomsg, IFLA_*
  @link %{
    header: [
      family: @family,
      padding: 1,
      type: {:enum, :u16, @hardware},
      index: :s32,
      flags: {:bits, :u32, @link_flags},
      change: {:bits, :u32, @link_flags}
    ],
    attributes: %{
      address: {1, :binary},
      broadcast: {2, :binary},
      ifname: {3, :string},
      mtu: {4, :u32},
      link: {5, :u32},
      qdisc: {6, :string},
      stats: {7, :binary},
      master: {10, :u32},
      protinfo: {12, :binary},
      txqlen: {13, :u32},
      map: {14, :binary},
      operstate: {16, {:enum, :u8, @operstates}},
      linkmode: {17, :u8},
      linkinfo:
        {18,
         {:nested,
          %{
            kind: {1, :string},
            data: {2, @any},
            xstats: {3, :binary},
            slave_kind: {4, :string},
            slave_data: {5, @any}
          }}},
      net_ns_pid: {19, :u32},
      ifalias: {20, :string},
      num_vf: {21, :u32},
      vfinfo_list: {22, :binary},
      stats64: {23, :binary},
      vf_ports: {24, :binary},
      port_self: {25, :binary},
      af_spec: {26, @any},
      group: {27, :u32},
      net_ns_fd: {28, :u32},
      ext_mask: {29, :u32},
      promiscuity: {30, :u32},
      num_tx_queues: {31, :u32},
      num_rx_queues: {32, :u32},
      carrier: {33, :u8},
      phys_port_id: {34, :binary},
      carrier_changes: {35, :u32},
      phys_switch_id: {36, :binary},
      link_netnsid: {37, :s32},
      phys_port_name: {38, :string},
      proto_down: {39, :u8},
      gso_max_segs: {40, :u32},
      gso_max_size: {41, :u32},
      xdp: {43, @any},
      event: {44, :u32},
      new_netnsid: {45, :s32},
      target_netnsid: {46, :s32},
      carrier_up_count: {47, :u32},
      carrier_down_count: {48, :u32},
      new_ifindex: {49, :s32},
      min_mtu: {50, :u32},
      max_mtu: {51, :u32},
      prop_list: {52, {:nested, %{alt_ifname: {53, :string}}}},
      alt_ifname: {53, :string},
      perm_address: {54, :binary},
      proto_down_reason: {55, {:nested, %{mask: {1, :u32}, value: {2, :u32}}}},
      parent_dev_name: {56, :string},
      parent_dev_bus_name: {57, :string},
      gro_max_size: {58, :u32},
      tso_max_size: {59, :u32},
      tso_max_segs: {60, :u32},
      allmulti: {61, :u32}
    }
  }

  # struct ifaddrmsg, IFA_*
  @address %{
    header: [
      family: @family,
      prefixlen: :u8,
      flags: {:bits, :u8, Enum.take(@address_flags, 8)},
      scope: {:enum, :u8, @scopes},
      index: :u32
    ],
    attributes: %{
      address: {1, :ip},
      local: {2, :ip},
      label: {3, :string},
      broadcast: {4, :ip},
      anycast: {5, :ip},
      cacheinfo: {6, :binary},
      multicast: {7, :ip},
      flags: {8, {:bits, :u32, @address_flags}},
      rt_priority: {9, :u32},
      target_netnsid: {10, :s32},
      proto: {11, :u8}
    }
  }

  # struct rtmsg, RTA_*, RTAX_*
  @route %{
    header: [
      family: @family,
      dst_len: :u8,
      src_len: :u8,
      tos: :u8,
      table: {:enum, :u8, @tables},
      protocol: {:enum, :u8, @route_protocols},
      scope: {:enum, :u8, @scopes},
      type: {:enum, :u8, @route_types},
      flags: {:bits, :u32, @route_flags}
    ],
    attributes: %{
      dst: {1, :ip},
      src: {2, :ip},
      iif: {3, :u32},
      oif: {4, :u32},
      gateway: {5, :ip},
      priority: {6, :u32},
      prefsrc: {7, :ip},
      metrics:
        {8,
         {:nested,
          %{
            lock: {1, :u32},
            mtu: {2, :u32},
            window: {3, :u32},
            rtt: {4, :u32},
            rttvar: {5, :u32},
            ssthresh: {6, :u32},
            cwnd: {7, :u32},
            advmss: {8, :u32},
            reordering: {9, :u32},
            hoplimit: {10, :u32},
            initcwnd: {11, :u32},
            features: {12, :u32},
            rto_min: {13, :u32},
            initrwnd: {14, :u32},
            quickack: {15, :u32},
            cc_algo: {16, :string},
            fastopen_no_cookie: {17, :u32}
          }}},
      multipath: {9, :binary},
      flow: {11, :u32},
      cacheinfo: {12, :binary},
      table: {15, {:enum, :u32, @tables}},
      mark: {16, :u32},
      mfc_stats: {17, :binary},
      via: {18, :binary},
      newdst: {19, :binary},
      pref: {20, :u8},
      encap_type: {21, :u16},
      encap: {22, @any},
      expires: {23, :u32},
      uid: {25, :u32},
      ttl_propagate: {26, :u8},
      ip_proto: {27, :u8},
      sport: {28, :be16},
      dport: {29, :be16},
      nh_id: {30, :u32}
    }
  }

  # struct ndmsg, NDA_*
  @neighbour %{
    header: [
      family: @family,
      padding: 3,
      ifindex: :s32,
      state: {:bits, :u16, @neighbour_states},
      flags: {:bits, :u8, @neighbour_flags},
      type: {:enum, :u8, @route_types}
    ],
    attributes: %{
      dst: {1, :ip},
      lladdr: {2, :binary},
      cacheinfo: {3, :binary},
      probes: {4, :u32},
      vlan: {5, :u16},
      port: {6, :be16},
      vni: {7, :u32},
      ifindex: {8, :u32},
      master: {9, :u32},
      link_netnsid: {10, :s32},
      src_vni: {11, :u32},
      protocol: {12, {:enum, :u8, @route_protocols}},
      nh_id: {13, :u32},
      fdb_ext_attrs: {14, @any},
      flags_ext: {15, {:bits, :u32, @neighbour_flags_ext}},
      ndm_state_mask: {16, :u16},
      ndm_flags_mask: {17, :u8}
    }
  }

  # struct rtgenmsg, NETNSA_*
  @nsid %{
    header: [family: @family, padding: 3],
    attributes: %{
      nsid: {1, :s32},
      pid: {2, :u32},
      fd: {3, :u32},
      target_nsid: {4, :s32},
      current_nsid: {5, :s32}
    }
  }

  @messages [
    {@link, [:newlink, :dellink, :getlink, :setlink]},
    {@address, [:newaddr, :deladdr, :getaddr]},
    {@route, [:newroute, :delroute, :getroute]},
    {@neighbour, [:newneigh, :delneigh, :getneigh]},
    {@nsid, [:newnsid, :delnsid, :getnsid]}
  ]

  @layouts for {layout, types} <- @messages,
               header = Header.compile(layout.header),
               attributes = Attributes.schema(layout.attributes),
               type <- types,
               into: %{},
               do: {type, %{header: header, attributes: attributes}}

  @doc "Returns the layouts by message type."
  @spec all() :: %{atom => t}
  def all, do: @layouts
end
