defmodule LinxNative.Test.Links do
  @moduledoc """
  Requests and messages about network interfaces: the part of rtnetlink that the tests of `LinxNative.Conn` need.
  """

  alias LinxNative.{Attributes, Conn, Message}

  # RTM_* and IFLA_* of linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/net_namespace.h
  @newlink 16
  @dellink 17
  @getlink 18
  @newaddr 20
  @deladdr 21
  @getaddr 22
  @newnsid 88
  @ifname 3
  @linkinfo 18
  @net_ns_pid 19
  @info_kind 1
  @info_data 2
  @veth_peer 1
  @address 1
  @local 2
  @nsid 1
  @nsid_pid 2

  @up 1

  @doc """
  Returns a request for a link, by its index or its name.
  """
  def get(index) when is_integer(index), do: %Message{type: @getlink, body: link(index)}
  def get(name), do: %Message{type: @getlink, body: link(0) <> name(name)}

  @doc """
  Returns a request for all links.
  """
  def dump, do: %Message{type: @getlink, flags: Message.flags([:dump]), body: link(0)}

  @doc """
  Returns a request to make a link of a kind that needs no other link. `attributes` come after its name and kind.

  The kernel removes an `ifb` at once. For a bridge it takes 10 ms, which would be a quarter of the time of these tests.
  """
  def create(name, kind \\ "ifb", attributes \\ []), do: create(name, kind, [], attributes)

  @doc """
  Returns a request to make a veth pair, with the peer in the namespace of a process.
  """
  def create_pair(name, peer, pid) do
    peer = link(0) <> name(peer) <> Attributes.encode([{@net_ns_pid, {:u32, pid}}])
    create(name, "veth", [{@info_data, {:nested, [{@veth_peer, peer}]}}], [])
  end

  @doc """
  Returns a request to change a link, by its index.
  """
  def rename(index, name), do: %Message{type: @newlink, body: link(index) <> name(name)}
  def up(index), do: %Message{type: @newlink, body: link(index, @up)}
  def down(index), do: %Message{type: @newlink, body: link(index, 0)}

  @doc """
  Returns a request to delete a link, by its index or its name.
  """
  def delete(index) when is_integer(index), do: %Message{type: @dellink, body: link(index)}
  def delete(name), do: %Message{type: @dellink, body: link(0) <> name(name)}

  @doc """
  Returns a request to add or delete an IPv4 address.
  """
  def add_address(index, address), do: %{address(index, address) | type: @newaddr, flags: 0x600}
  def delete_address(index, address), do: %{address(index, address) | type: @deladdr}

  @doc """
  Returns a request for all addresses.
  """
  def dump_addresses do
    %Message{type: @getaddr, flags: Message.flags([:dump]), body: <<0::64>>}
  end

  @doc """
  Returns a request to give the namespace of a process an id in the connection's namespace.
  """
  def number_namespace(pid, nsid) do
    attributes = Attributes.encode([{@nsid, {:s32, nsid}}, {@nsid_pid, {:u32, pid}}])
    %Message{type: @newnsid, body: <<0::32>> <> attributes}
  end

  @doc """
  Returns the index of the link with that name.
  """
  def index!(conn, name) do
    {:ok, [link]} = Conn.request(conn, get(name))
    read(link).index
  end

  @doc """
  Decodes a message about a link: whether it is `:new` or `:deleted`, its index and name, and whether it is up.
  """
  def read(%Message{type: type, body: body}) when type in [@newlink, @dellink] do
    <<_::32, index::native-32, flags::native-32, _::32, attributes::binary>> = body
    {:ok, attributes} = Attributes.decode(attributes, %{@ifname => :string})

    %{
      what: if(type == @newlink, do: :new, else: :deleted),
      index: index,
      name: Attributes.get(attributes, @ifname),
      up?: Bitwise.band(flags, @up) != 0
    }
  end

  @doc """
  Decodes a message about an address: whether it is `:new` or `:deleted`, the index of its link, and the address.
  """
  def read_address(%Message{type: type, body: body}) when type in [@newaddr, @deladdr] do
    <<_::32, index::native-32, attributes::binary>> = body
    {:ok, attributes} = Attributes.decode(attributes)

    %{
      what: if(type == @newaddr, do: :new, else: :deleted),
      index: index,
      address: Attributes.get(attributes, @address)
    }
  end

  defp create(name, kind, data, attributes) do
    info = {@linkinfo, {:nested, [{@info_kind, {:string, kind}} | data]}}

    %Message{
      type: @newlink,
      flags: Message.flags([:create, :excl]),
      body: link(0) <> name(name) <> Attributes.encode([info | attributes])
    }
  end

  defp address(index, address) do
    attributes = Attributes.encode([{@local, address}, {@address, address}])
    %Message{body: <<2, 24, 0, 0, index::native-32, attributes::binary>>}
  end

  defp name(name), do: Attributes.encode([{@ifname, {:string, name}}])

  defp link(index), do: link(index, 0, 0)
  defp link(index, flags), do: link(index, flags, @up)

  defp link(index, flags, change) do
    <<0::32, index::native-32, flags::native-32, change::native-32>>
  end
end
