defmodule LinxNative.RtnetlinkTest do
  @moduledoc """
  Messages of rtnetlink by name, exchanged with the kernel.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns, only: [do!: 2, open!: 2, route!: 0, route!: 1]

  alias LinxNative.{Attributes, Conn, Error, Message, Rtnetlink}

  @moduletag :conn

  doctest Rtnetlink

  @patience Await.patience()

  defp request!(conn, type, options) do
    {:ok, messages} = Conn.request(conn, Rtnetlink.message(type, options))
    Enum.map(messages, &Rtnetlink.decode!/1)
  end

  defp dump!(conn, type, options \\ []) do
    request!(conn, type, [flags: [:dump]] ++ options)
  end

  defp link!(conn, name) do
    [link] = request!(conn, :getlink, attributes: [ifname: name])
    link
  end

  defp add_bridge!(conn, name, attributes \\ []) do
    attributes = [ifname: name, linkinfo: [kind: "bridge"]] ++ attributes
    do!(conn, Rtnetlink.message(:newlink, flags: [:create, :excl], attributes: attributes))
    link!(conn, name).header.index
  end

  defp up!(conn, index) do
    do!(conn, Rtnetlink.message(:newlink, header: [index: index, flags: [:up], change: [:up]]))
  end

  defp message!(type, options) do
    assert_raise(ArgumentError, fn -> Rtnetlink.message(type, options) end).message
  end

  describe "the kernel accepts" do
    test "a link that is made, changed, listed and deleted" do
      conn = route!()
      index = add_bridge!(conn, "blue", mtu: 1400, address: <<2, 0, 0, 0, 0, 1>>)
      change = [ifname: "green", mtu: 1300, ifalias: "the second name"]
      do!(conn, Rtnetlink.message(:newlink, header: [index: index], attributes: change))
      up!(conn, index)

      assert [%{attributes: [_ | _]}, link] = dump!(conn, :getlink)
      assert %{type: :newlink, header: %{index: ^index, type: :ether, family: :unspec}} = link
      assert :up in link.header.flags and :broadcast in link.header.flags
      assert link.attributes[:ifname] == "green"
      assert link.attributes[:mtu] == 1300
      assert link.attributes[:address] == <<2, 0, 0, 0, 0, 1>>
      assert link.attributes[:ifalias] == "the second name"
      assert Attributes.get(link.attributes[:linkinfo], :kind) == "bridge"

      do!(conn, Rtnetlink.message(:dellink, header: [index: index]))
      assert [_loopback] = dump!(conn, :getlink)
    end

    test "a veth pair, whose peer is a message in the message" do
      conn = route!()
      peer = Rtnetlink.message(:newlink, attributes: [ifname: "there"])
      # VETH_INFO_PEER of linux/veth.h
      info = [kind: "veth", data: [{1, peer.body}]]
      flags = [:create, :excl]
      attributes = [ifname: "here", linkinfo: info]
      do!(conn, Rtnetlink.message(:newlink, flags: flags, attributes: attributes))
      assert link!(conn, "here").attributes[:link] == link!(conn, "there").header.index
    end

    test "an address of either family" do
      conn = route!()
      index = add_bridge!(conn, "blue")

      for {family, prefix, address} <- [
            {:inet, 24, {192, 0, 2, 7}},
            {:inet6, 64, {0x2001, 0xDB8, 0, 0, 0, 0, 0, 7}}
          ] do
        header = [family: family, prefixlen: prefix, scope: :universe, index: index]
        attributes = [local: address, address: address, flags: [:noprefixroute]]

        message =
          Rtnetlink.message(:newaddr,
            flags: [:create, :excl],
            header: header,
            attributes: attributes
          )

        do!(conn, message)

        assert [%{type: :newaddr} = found] = dump!(conn, :getaddr, header: [family: family])

        assert %{family: ^family, prefixlen: ^prefix, index: ^index, scope: :universe} =
                 found.header

        assert found.attributes[:address] == address
        assert :noprefixroute in found.attributes[:flags]
        do!(conn, Rtnetlink.message(:deladdr, header: header, attributes: [local: address]))
        assert dump!(conn, :getaddr, header: [family: family]) == []
      end
    end

    test "a route, with its names for table, protocol, type and scope" do
      conn = route!()
      index = add_bridge!(conn, "blue")
      up!(conn, index)

      for {header, destination} <- [
            {[family: :inet, dst_len: 24], {198, 51, 100, 0}},
            {[family: :inet6, dst_len: 48], {0x2001, 0xDB8, 1, 0, 0, 0, 0, 0}}
          ] do
        header = [table: :main, protocol: :static, type: :unicast] ++ header
        attributes = [dst: destination, oif: index, priority: 77, metrics: [mtu: 1280]]

        message =
          Rtnetlink.message(:newroute,
            flags: [:create, :excl],
            header: header,
            attributes: attributes
          )

        do!(conn, message)

        dump = dump!(conn, :getroute, header: [family: header[:family]])
        assert [route] = Enum.filter(dump, &(&1.attributes[:dst] == destination))
        assert %{table: :main, protocol: :static, type: :unicast} = route.header
        assert route.header.dst_len == header[:dst_len]

        assert [table: :main, oif: ^index, priority: 77] =
                 for(name <- [:table, :oif, :priority], do: {name, route.attributes[name]})

        assert route.attributes[:metrics][:mtu] == 1280
      end
    end

    test "a neighbour" do
      conn = route!()
      index = add_bridge!(conn, "blue")
      up!(conn, index)
      header = [family: :inet, ifindex: index, state: [:permanent]]
      attributes = [dst: {192, 0, 2, 9}, lladdr: <<2, 0, 0, 0, 0, 9>>]

      do!(
        conn,
        Rtnetlink.message(:newneigh,
          flags: [:create, :excl],
          header: header,
          attributes: attributes
        )
      )

      dump = dump!(conn, :getneigh, header: [family: :inet])
      assert [found] = Enum.filter(dump, &(&1.attributes[:dst] == {192, 0, 2, 9}))
      assert %{type: :newneigh, header: %{ifindex: ^index, state: [:permanent]}} = found
      assert found.attributes[:lladdr] == <<2, 0, 0, 0, 0, 9>>
    end

    test "the id of a namespace" do
      conn = route!()
      other = Container.start([:net])
      do!(conn, Rtnetlink.message(:newnsid, attributes: [pid: other.pid, nsid: 42]))
      assert [%{type: :newnsid} = found] = request!(conn, :getnsid, attributes: [pid: other.pid])
      assert found.attributes[:nsid] == 42
    end

    test "strict checks of dumps" do
      conn = route!(strict_check: true)
      for type <- [:getlink, :getaddr, :getroute, :getneigh], do: dump!(conn, type)
      assert [_loopback] = dump!(conn, :getlink)
    end
  end

  describe "multicast groups by name" do
    test "are joined from the start, and later" do
      netns = {:pid, Container.start([:net]).pid}
      conn = open!(:route, netns: netns, groups: [:link])
      other = open!(:route, netns: netns)
      assert Conn.info(conn) |> elem(1) |> Map.fetch!(:groups) == [1]
      :ok = Conn.join_group(conn, :ipv4_ifaddr)
      index = add_bridge!(other, "blue")
      address = [local: {192, 0, 2, 1}, address: {192, 0, 2, 1}]
      header = [family: :inet, prefixlen: 24, index: index]

      do!(
        other,
        Rtnetlink.message(:newaddr, flags: [:create], header: header, attributes: address)
      )

      assert {:ok, [message], %{group: 1}} = Conn.recv(conn, @patience)
      assert %{type: :newlink, header: %{index: ^index}} = Rtnetlink.decode!(message)
      assert {:ok, [message], %{group: 5}} = Conn.recv(conn, @patience)
      assert %{type: :newaddr, attributes: attributes} = Rtnetlink.decode!(message)
      assert attributes[:local] == {192, 0, 2, 1}

      :ok = Conn.leave_group(conn, :link)
      assert Conn.info(conn) |> elem(1) |> Map.fetch!(:groups) == [5]
    end

    test "that are unknown are refused with the known names" do
      said =
        ~r/^no multicast group of rtnetlink is named :lnk, did you mean :link\? There are: :brvlan, /

      conn = route!()
      assert_raise ArgumentError, said, fn -> Rtnetlink.group(:lnk) end
      assert_raise ArgumentError, said, fn -> Conn.start_link(:route, groups: [:lnk]) end
      assert_raise ArgumentError, said, fn -> Conn.join_group(conn, :lnk) end
      assert_raise ArgumentError, said, fn -> Conn.leave_group(conn, :lnk) end
      assert {:ok, %{groups: []}} = Conn.info(conn)
    end

    test "of other protocols have only numbers" do
      conn = open!(:usersock, [])
      said = ~r/^a multicast group has a name only on a connection to :route; /
      assert_raise ArgumentError, said, fn -> Conn.start_link(:usersock, groups: [:link]) end
      assert_raise ArgumentError, said, fn -> Conn.join_group(conn, :link) end
    end
  end

  describe "message/2 refuses" do
    test "an unknown message, with the known ones" do
      assert message!(:newlnk, []) =~
               ~r/^no message of rtnetlink is named :newlnk, did you mean :newlink\? There are: .*:setlink/
    end

    test "a message with an unknown header, with the known ones" do
      assert message!(:newqdisc, []) =~
               ~r/^no header is known for :newqdisc \(36\), only for: :deladdr, .*:setlink$/
    end

    test "an unknown field, attribute or flag, with the known ones" do
      assert message!(:newlink, header: [indx: 1]) ==
               "no field of the header of :newlink is named :indx, did you mean :index? " <>
                 "There are: :change, :family, :flags, :index, :type"

      assert message!(:newlink, attributes: [ifnmae: "blue"]) =~
               ~r/^no attribute is named :ifnmae, did you mean :ifname\? There are: :address, /

      assert message!(:newlink, attributes: [linkinfo: [knd: "bridge"]]) =~
               ~r/^no attribute of attribute :linkinfo is named :knd, did you mean :kind\? There are: /

      assert message!(:newlink, flags: [:creat]) =~
               ~r/^no flag of a message is named :creat, did you mean :create\? There are: :ack, /
    end

    test "values that do not fit, with the valid ones" do
      assert message!(:newlink, header: [index: 0x8000_0000]) ==
               "the field :index of the header of :newlink is 2147483648, not in -2147483648..2147483647"

      assert message!(:getaddr, header: [family: :inet5]) =~
               ~r/^the field :family of the header of :getaddr cannot hold :inet5, did you mean :inet\? There are: /

      assert message!(:newlink, attributes: [mtu: "1500"]) ==
               ~s(attribute :mtu is "1500", not in 0..4294967295)
    end
  end

  describe "decode/1" do
    test "returns numbers without a name as numbers" do
      header = <<200, 0, 4711::native-16, 1::native-32, 0x80000001::native-32, 0::32>>
      message = %Message{type: 16, body: header <> Attributes.encode([{999, "new"}])}
      assert {:ok, %{header: header, attributes: [{999, "new"}]}} = Rtnetlink.decode(message)
      assert header == %{family: 200, type: 4711, index: 1, flags: [:up, 0x80000000], change: []}
    end

    test "is the inverse of message/2" do
      options = [
        flags: [:create],
        header: [family: :inet6, index: -1, flags: [:up, :running], change: 0xFFFFFFFF],
        attributes: [
          ifname: "blue",
          linkinfo: [kind: "vlan", data: [{1, <<5, 0>>}]],
          operstate: :dormant
        ]
      ]

      message = Rtnetlink.message(:newlink, options)
      assert message.flags == Message.flags([:create])
      assert Rtnetlink.message(:newlink, Keyword.put(options, :flags, 0x400)) == message

      assert %{type: :newlink, header: header, attributes: attributes} =
               Rtnetlink.decode!(message)

      assert %{family: :inet6, index: -1, flags: [:up, :running]} = header
      assert attributes == options[:attributes]
    end

    test "returns :unknown_type for a message without names" do
      for {type, detail} <- [{36, :newqdisc}, {2, 2}, {0xFFFF, 0xFFFF}] do
        assert {:error, %Error{reason: :unknown_type, detail: ^detail} = error} =
                 Rtnetlink.decode(%Message{type: type, body: <<0::128>>})

        assert Exception.message(error) =~ inspect(detail)
        assert_raise Error, fn -> Rtnetlink.decode!(%Message{type: type}) end
      end
    end

    test "returns the offset of a malformed body" do
      for size <- 0..15 do
        assert {:error, %Error{reason: :malformed, detail: :short_header, offset: 0}} =
                 Rtnetlink.decode(%Message{type: 16, body: <<0::size(size)-unit(8)>>})
      end

      body = <<0::128>> <> Attributes.encode([{1, "1234"}, {4, {:u16, 1}}])

      assert {:error, %Error{reason: :malformed, detail: {:bad_value, :mtu}, offset: 24} = error} =
               Rtnetlink.decode(%Message{type: 16, body: body})

      assert Exception.message(error) =~ "attribute :mtu"
    end
  end
end
