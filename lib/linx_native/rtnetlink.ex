defmodule LinxNative.Rtnetlink do
  alias LinxNative.{Attributes, Error, Message, Names}
  alias LinxNative.Rtnetlink.{Header, Layout, Types}

  code = fn names -> Enum.map_join(names, ", ", &"`#{&1}`") end

  @groups Types.groups()
          |> Enum.sort_by(&elem(&1, 1))
          |> Enum.map(&inspect(elem(&1, 0)))
          |> code.()

  @messages Layout.all()
            |> Enum.group_by(fn {_type, layout} -> layout end, fn {type, _layout} -> type end)
            |> Enum.map(fn {layout, types} ->
              {layout, Enum.sort_by(types, &Types.types()[&1])}
            end)
            |> Enum.sort_by(fn {_layout, [first | _]} -> Types.types()[first] end)
            |> Enum.map_join("\n", fn {layout, types} ->
              attributes = layout.attributes.names |> Enum.sort_by(&elem(&1, 1)) |> Keyword.keys()

              "    * #{types |> Enum.map(&inspect/1) |> code.()}\n" <>
                "      * header: #{code.(Header.fields(layout.header))}\n" <>
                "      * attributes: #{code.(attributes)}"
            end)

  @moduledoc """
  Messages of rtnetlink, by name: links, addresses, routes, neighbours and namespace ids; see `rtnetlink(7)`.

      alias LinxNative.{Conn, Rtnetlink}

      {:ok, conn} = Conn.start_link(:route, netns: {:pid, 4711})

      attributes = [ifname: "blue", linkinfo: [kind: "bridge"]]
      request = Rtnetlink.message(:newlink, flags: [:create, :excl], attributes: attributes)
      {:ok, []} = Conn.request(conn, request)

      {:ok, links} = Conn.request(conn, Rtnetlink.message(:getlink, flags: [:dump]))
      {:ok, link} = links |> List.last() |> Rtnetlink.decode()
      %{type: :newlink, header: %{index: index, flags: flags}, attributes: attributes} = link
      "blue" = attributes[:ifname]

  Every name is the name of the kernel's constant or field without its prefix, in lower case: `:newlink` is `RTM_NEWLINK`,
  `:ifname` is `IFLA_IFNAME`, `index` is `ifi_index`. An unknown name raises `ArgumentError`, which lists the known names. A
  number without a name is returned as a number, and a number can be given instead of every name.

  This module encodes and decodes messages. It is not a model of links or routes: the kernel's documentation says what a request
  needs.

  ## Messages

  These messages have names for their header and attributes:

  #{@messages}

  The types of other messages have names only for `type/1`, and for `inspect/1` of a `LinxNative.Message`.

  ## Multicast groups

  #{@groups}

  The option `:groups` of `LinxNative.Conn.start_link/2` and `LinxNative.Conn.join_group/2` take these names.
  """

  @typedoc "The type of a message, for example `:newlink` for `RTM_NEWLINK`."
  @type type :: atom

  @typedoc "A multicast group, for example `:link` for `RTNLGRP_LINK`."
  @type group :: atom

  @typedoc "A decoded message, as `decode/1` returns it."
  @type decoded :: %{
          type: type,
          header: %{atom => term},
          attributes: [{Attributes.key(), Attributes.decoded()}]
        }

  @doc """
  Returns a message.

  ## Options

    * `:flags` - a list of `t:LinxNative.Message.flag/0`, or their number; default `[]`. `LinxNative.Conn.request/3` adds
      `:request` and `:ack`
    * `:header` - fields of the header with their values, as a keyword list or map; the other fields are 0
    * `:attributes` - attributes with their values, in order, as for `LinxNative.Attributes.encode/2`; default `[]`

  The value of a field is a number, the name of a number (`family: :inet6`) or a list of names of bits (`flags: [:up]`).

      # The addresses of the family IPv6
      Rtnetlink.message(:getaddr, flags: [:dump], header: [family: :inet6])

      # ip link set dev 3 up: the new flags, and a mask of the flags to change
      Rtnetlink.message(:newlink, header: [index: 3, flags: [:up], change: [:up]])

      # ip route add 192.0.2.0/24 via 198.51.100.1
      Rtnetlink.message(:newroute,
        flags: [:create, :excl],
        header: [family: :inet, dst_len: 24, table: :main, protocol: :boot, type: :unicast],
        attributes: [dst: {192, 0, 2, 0}, gateway: {198, 51, 100, 1}]
      )

  Raises `ArgumentError` if a name is unknown or a value is out of its range.
  """
  @spec message(type, keyword) :: Message.t()
  def message(type, options \\ []) do
    layout = layout!(type)
    options = Keyword.validate!(options, flags: [], header: [], attributes: [])
    header = Header.write!(layout.header, options[:header], "the header of #{inspect(type)}")
    attributes = Attributes.encode(options[:attributes], layout.attributes)

    %Message{
      type: type(type),
      flags: Message.flags(options[:flags]),
      body: header <> attributes,
      protocol: :route
    }
  end

  @doc """
  Decodes the header and the attributes of a message.

  ## Errors

  A `LinxNative.Error` with one of these reasons:

    * `:unknown_type` - the message is not in the list above; its `detail` is the type, by name if it has one
    * `:malformed` - the body is too short for the header, or its attributes are malformed; its `offset` counts from the start
      of the body
  """
  @spec decode(Message.t()) :: {:ok, decoded} | {:error, Error.t()}
  def decode(%Message{type: number, body: body}) do
    type = Types.name(number)

    case Layout.all() do
      %{^type => layout} -> decode(type, layout, IO.iodata_to_binary(body))
      _ -> {:error, %Error{reason: :unknown_type, detail: type}}
    end
  end

  defp decode(type, layout, body) do
    with {:ok, header, rest} <- header(layout.header, body),
         {:ok, attributes} <- attributes(layout, rest, byte_size(body)) do
      {:ok, %{type: type, header: header, attributes: attributes}}
    end
  end

  defp header(header, body) do
    with :error <- Header.read(header, body), do: {:error, Error.malformed({:short_header, 0})}
  end

  defp attributes(layout, rest, size) do
    with {:error, %Error{offset: offset} = error} <- Attributes.decode(rest, layout.attributes) do
      {:error, %{error | offset: offset + size - byte_size(rest)}}
    end
  end

  @doc """
  Decodes a message as `decode/1` does and returns the result, or raises the error.
  """
  @spec decode!(Message.t()) :: decoded
  def decode!(message) do
    case decode(message) do
      {:ok, decoded} -> decoded
      {:error, error} -> raise error
    end
  end

  @doc """
  Returns the number of a message type.

      iex> LinxNative.Rtnetlink.type(:newlink)
      16
  """
  @spec type(type) :: 16..0xFFFF
  def type(name), do: Names.fetch!(Types.types(), name, "no message of rtnetlink")

  @doc """
  Returns the number of a multicast group.

      iex> LinxNative.Rtnetlink.group(:link)
      1
  """
  @spec group(group) :: pos_integer
  def group(name), do: Names.fetch!(Types.groups(), name, "no multicast group of rtnetlink")

  @doc """
  Returns the schema of the attributes of a type of message, for `LinxNative.Attributes`.
  """
  @spec schema(type) :: Attributes.schema()
  def schema(type), do: layout!(type).attributes

  defp layout!(type) do
    case Layout.all() do
      %{^type => layout} ->
        layout

      layouts ->
        raise ArgumentError,
              "no header is known for #{inspect(type)} (#{type(type)}), only for: " <>
                Names.list(Map.keys(layouts))
    end
  end
end
