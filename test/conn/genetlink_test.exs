defmodule LinxNative.GenetlinkTest do
  @moduledoc """
  Generic netlink, with the families that every tested kernel has: `nlctrl`, and `ethtool` since Linux 5.6.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns, only: [do!: 2, open!: 1, open!: 2]

  alias LinxNative.{Attributes, Conn, Error, Genetlink, Message, Rtnetlink}
  alias LinxNative.Genetlink.Family
  alias LinxNative.Test.Links

  @moduletag :conn

  # ETHTOOL_MSG_*, ETHTOOL_A_* of linux/ethtool_netlink.h
  @linkstate_get 6
  @features_get 11
  @features_set 12
  @features_ntf 13

  @device {1, {:nested, %{dev_index: {1, :u32}, dev_name: {2, :string}, flags: {3, :u32}}}}
  @linkstate %{header: @device, link: {2, :u8}}
  @bitset {:nested,
           %{
             nomask: {1, :flag},
             size: {2, :u32},
             bits:
               {3,
                {:nested,
                 %{
                   bit: {1, {:nested, %{index: {1, :u32}, name: {2, :string}, value: {3, :flag}}}}
                 }}}
           }}
  @features %{header: @device, hw: {2, @bitset}, wanted: {3, @bitset}, active: {4, @bitset}}

  @patience Await.patience()

  defp namespace do
    netns = {:pid, Container.start([:net]).pid}
    %{netns: netns, conn: open!(:generic, netns: netns), links: open!(:route, netns: netns)}
  end

  defp family!(conn, name) do
    {:ok, family} = Genetlink.family(conn, name)
    family
  end

  describe "a family" do
    test "by its name: id, version, commands and groups" do
      conn = open!(:generic)

      assert {:ok, %Family{name: "nlctrl", id: 16, header_size: 0} = nlctrl} =
               Genetlink.family(conn, "nlctrl")

      # CTRL_CMD_GETFAMILY
      assert [:do, :dump | _] = nlctrl.commands[3]
      assert %{"notify" => 16} = nlctrl.groups

      assert {:ok, %Family{id: id, version: 1, groups: %{"monitor" => group}} = ethtool} =
               Genetlink.family(conn, "ethtool")

      assert id > 16 and group > 0
      assert :namespace_admin in ethtool.commands[@features_set]
      refute :namespace_admin in ethtool.commands[@features_get]
      assert :dump in ethtool.commands[@features_get]
    end

    test "matches the kernel's own list" do
      conn = open!(:generic)
      assert {:ok, [%Family{} | _] = families} = Genetlink.families(conn)
      names = for family <- families, do: family.name
      assert "nlctrl" in names and "ethtool" in names
      for family <- families, do: assert({:ok, ^family} = Genetlink.family(conn, family.name))
      assert length(Enum.uniq_by(families, & &1.id)) == length(families)
    end

    test "matches the output of iproute2's tool" do
      conn = open!(:generic)
      {:ok, families} = Genetlink.families(conn)
      {text, 0} = System.cmd("genl", ["ctrl", "list"])
      lines = Regex.scan(~r/Name: (\S+)\s+ID: 0x(\w+)\s+Version: 0x(\w+)/, text)

      shown =
        for [_, name, id, version] <- lines,
            do: {name, String.to_integer(id, 16), String.to_integer(version, 16)}

      assert Enum.map(families, &{&1.name, &1.id, &1.version}) == shown
    end

    test "is an error with the known families, if it is unknown" do
      conn = open!(:generic)

      for name <- ["ethtol", "sixteen_bytes_up", "", "Ethtool"] do
        assert {:error, %Error{reason: :unknown_family, detail: {^name, known}} = error} =
                 Genetlink.family(conn, name)

        assert "ethtool" in known

        assert Exception.message(error) =~
                 ~r/^no family of generic netlink is named "#{name}".* There are: .*"nlctrl"/
      end

      {:error, error} = Genetlink.family(conn, "ethtol")
      assert Exception.message(error) =~ ~s(did you mean "ethtool"?)
    end

    test "is an error on a connection to another protocol" do
      conn = open!(:route)
      assert {:error, %Error{reason: :protocol} = error} = Genetlink.family(conn, "ethtool")

      assert Exception.message(error) ==
               "a message of :generic cannot go over a connection to :route"

      assert {:error, %Error{reason: :protocol}} = Genetlink.families(conn)

      assert {:error, %Error{reason: :protocol}} =
               Conn.send(open!(:generic), Rtnetlink.message(:getlink))
    end

    test "is an error on a closed connection" do
      conn = open!(:generic)
      :ok = Conn.close(conn)
      assert {:error, %Error{reason: :closed}} = Genetlink.family(conn, "ethtool")
    end
  end

  describe "messages of a family" do
    test "a request with attributes by name, and its answer" do
      %{conn: conn, links: links} = namespace()
      do!(links, Links.create("blue", "bridge"))
      index = Links.index!(links, "blue")
      ethtool = family!(conn, "ethtool")
      attributes = [header: [dev_name: "blue"]]

      request =
        Genetlink.message(ethtool, @linkstate_get, attributes: attributes, schema: @linkstate)

      assert {:ok, [%Message{protocol: :generic} = reply]} = Conn.request(conn, request)
      assert {:ok, decoded} = Genetlink.decode(reply, @linkstate)
      assert %{command: @linkstate_get, version: 1, header: ""} = decoded
      assert [header: [dev_index: ^index, dev_name: "blue"], link: 0] = decoded.attributes
    end

    test "a dump" do
      %{conn: conn, links: links} = namespace()
      do!(links, Links.create("blue"))
      ethtool = family!(conn, "ethtool")
      # Linux 6.1 refuses a dump without the header, be it empty.
      options = [flags: [:dump], attributes: [header: []], schema: @linkstate]
      request = Genetlink.message(ethtool, @linkstate_get, options)
      {:ok, replies} = Conn.request(conn, request)

      assert ["lo", "blue"] =
               for(
                 reply <- replies,
                 do: Genetlink.decode!(reply, @linkstate).attributes[:header][:dev_name]
               )
    end

    test "an error, with the kernel's own message" do
      %{conn: conn} = namespace()
      ethtool = family!(conn, "ethtool")
      attributes = [header: [dev_name: "nothing"]]

      request =
        Genetlink.message(ethtool, @linkstate_get, attributes: attributes, schema: @linkstate)

      assert {:error, %Error{reason: :enodev, text: "no device matches name"}} =
               Conn.request(conn, request)
    end

    test "a header, a version and flags" do
      family = %Family{
        name: "made_up",
        id: 20,
        version: 2,
        header_size: 4,
        max_attribute: 0,
        commands: %{},
        groups: %{}
      }

      message = Genetlink.message(family, 7, attributes: [{1, "a"}])
      assert message.type == 20 and message.flags == 0
      assert message.body == <<7, 2, 0, 0, 0::32, Attributes.encode([{1, "a"}])::binary>>
      message = Genetlink.message(family, 255, header: "head", version: 0, flags: [:dump])
      assert message.body == <<255, 0, 0, 0, "head">>
      assert message.flags == Message.flags([:dump])

      assert Genetlink.decode(message, %{}, header_size: 4) ==
               {:ok, %{command: 255, version: 0, header: "head", attributes: []}}

      for {command, options, said} <- [
            {256, [], "a command of generic netlink is in 0..255, not 256"},
            {:get, [], "a command of generic netlink is in 0..255, not :get"},
            {1, [version: -1], "a version of generic netlink is in 0..255, not -1"},
            {1, [header: "abc"], "the header of made_up has 4 bytes, not 3"},
            {1, [header: "abcde"], "the header of made_up has 4 bytes, not 5"}
          ] do
        assert_raise ArgumentError, said, fn -> Genetlink.message(family, command, options) end
      end

      assert_raise ArgumentError, ~r/^no attribute is named :nam, did you mean :name\?/, fn ->
        Genetlink.message(family, 1, attributes: [nam: "x"], schema: %{name: {1, :string}})
      end
    end

    test "that are too short or malformed are errors" do
      for size <- 0..3 do
        message = %Message{body: <<0::size(size)-unit(8)>>}

        assert {:error, %Error{reason: :malformed, detail: :short_header, offset: 0}} =
                 Genetlink.decode(message)
      end

      body = <<1, 1, 0, 0>> <> Attributes.encode([{1, "1234"}, {2, {:u16, 1}}])

      assert {:error, %Error{reason: :malformed, detail: {:bad_value, :mtu}, offset: 12}} =
               Genetlink.decode(%Message{body: body}, %{mtu: {2, :u32}})

      body = <<1, 1, 0, 0>> <> "head" <> Attributes.encode([{2, {:u16, 1}}])

      assert {:error, %Error{detail: {:bad_value, :mtu}, offset: 8}} =
               Genetlink.decode(%Message{body: body}, %{mtu: {2, :u32}}, header_size: 4)

      assert_raise Error, fn -> Genetlink.decode!(%Message{body: ""}) end
    end
  end

  describe "multicast groups" do
    test "are joined by name, and deliver the family's events" do
      %{conn: conn, netns: netns, links: links} = namespace()
      do!(links, Links.create("blue", "bridge"))
      ethtool = family!(conn, "ethtool")
      events = open!(:generic, netns: netns)
      :ok = Genetlink.join_group(events, ethtool, "monitor")
      group = ethtool.groups["monitor"]
      assert {:ok, %{groups: [^group]}} = Conn.info(events)

      # A feature that a bridge can change: what it wants of it is told to the group.
      wanted = [
        bits: [bit: [name: "tx-gso-partial"], bit: [name: "tx-nocache-copy", value: true]]
      ]

      attributes = [header: [dev_name: "blue"], wanted: wanted]

      request =
        Genetlink.message(ethtool, @features_set, attributes: attributes, schema: @features)

      {:ok, _reply} = Conn.request(conn, request)

      assert {:ok, [event], %{group: ^group}} = Conn.recv(events, @patience)
      assert %{command: @features_ntf} = decoded = Genetlink.decode!(event, @features)
      assert decoded.attributes[:header][:dev_name] == "blue"

      :ok = Genetlink.leave_group(events, "ethtool", "monitor")
      assert {:ok, %{groups: []}} = Conn.info(events)
    end

    test "can be joined by the name of the family" do
      conn = open!(:generic)
      :ok = Genetlink.join_group(conn, "nlctrl", "notify")
      assert {:ok, %{groups: [16]}} = Conn.info(conn)
    end

    test "that are unknown are errors with the known groups" do
      conn = open!(:generic)

      for family <- ["ethtool", family!(conn, "ethtool")] do
        assert {:error,
                %Error{reason: :unknown_group, detail: {"ethtool", "moniter", ["monitor"]}} =
                  error} = Genetlink.join_group(conn, family, "moniter")

        assert Exception.message(error) ==
                 ~s(no multicast group of ethtool is named "moniter", did you mean "monitor"? There are: "monitor")
      end

      assert {:error, %Error{reason: :unknown_family}} =
               Genetlink.join_group(conn, "ethtol", "monitor")

      assert {:ok, %{groups: []}} = Conn.info(conn)
    end
  end
end
