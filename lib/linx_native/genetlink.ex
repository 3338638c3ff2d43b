defmodule LinxNative.Genetlink do
  @moduledoc """
  Messages of generic netlink, whose families have names instead of protocol numbers, for example `ethtool`, `wireguard` and
  `nl80211`; see `linux/genetlink.h`.

      alias LinxNative.{Conn, Genetlink}

      {:ok, conn} = Conn.start_link(:generic, netns: {:pid, 4711})
      {:ok, ethtool} = Genetlink.family(conn, "ethtool")

      # ETHTOOL_MSG_LINKSTATE_GET, ETHTOOL_A_LINKSTATE_* and ETHTOOL_A_HEADER_* of linux/ethtool_netlink.h
      linkstate_get = 6
      schema = %{header: {1, {:nested, %{dev_index: {1, :u32}, dev_name: {2, :string}}}}, link: {2, :u8}}

      request = Genetlink.message(ethtool, linkstate_get, attributes: [header: [dev_name: "lo"]], schema: schema)
      {:ok, [reply]} = Conn.request(conn, request)
      {:ok, %{command: 6, attributes: attributes}} = Genetlink.decode(reply, schema)
      # Whether the link is up: no
      0 = attributes[:link]

  Commands and attributes are defined by the family. Its header in `/usr/include/linux` has their numbers, and the kernel's
  `Documentation/netlink/specs` has their kinds. A `t:LinxNative.Attributes.schema/0` gives them names.

  ## Events

  The multicast groups of a family have names too:

      :ok = Genetlink.join_group(conn, ethtool, "monitor")
      {:ok, [event], _origin} = Conn.recv(conn, 5000)
      # All events of ethtool have this attribute.
      schema = Map.take(schema, [:header])
      {:ok, %{command: command, attributes: attributes}} = Genetlink.decode(event, schema)

  ## WireGuard

  This is a schema for the devices of the family `wireguard`, from `linux/wireguard.h`:

      schema = %{
        ifindex: {1, :u32},
        ifname: {2, :string},
        private_key: {3, :binary},
        public_key: {4, :binary},
        flags: {5, {:bits, :u32, [replace_peers: 1]}},
        listen_port: {6, :u16},
        fwmark: {7, :u32},
        peers:
          {8,
           {:list,
            {:nested,
             %{
               public_key: {1, :binary},
               preshared_key: {2, :binary},
               flags: {3, {:bits, :u32, [remove_me: 1, replace_allowedips: 2, update_only: 4]}},
               endpoint: {4, :binary},
               persistent_keepalive_interval: {5, :u16},
               last_handshake_time: {6, :binary},
               rx_bytes: {7, :u64},
               tx_bytes: {8, :u64},
               allowedips:
                 {9,
                  {:list,
                   {:nested,
                    %{
                      family: {1, {:enum, :u16, [inet: 2, inet6: 10]}},
                      ipaddr: {2, :ip},
                      cidr_mask: {3, :u8}
                    }}}},
               protocol_version: {10, :u32}
             }}}}
      }

  With this schema, `Genetlink.message(wireguard, 0, flags: [:dump], attributes: [ifname: "wg0"], schema: schema)` asks for a
  device (`WG_CMD_GET_DEVICE`), and the command 1 sets up a device (`WG_CMD_SET_DEVICE`).
  """

  alias LinxNative.{Attributes, Conn, Error, Message}
  alias LinxNative.Genetlink.Family

  # GENL_ID_CTRL and CTRL_CMD_* of linux/genetlink.h
  @nlctrl 16
  @nlctrl_version 2
  @getfamily 3

  # GENL_NAMSIZ without the NUL at the end.
  @max_name 15

  @header 4

  # GENL_ADMIN_PERM, GENL_UNS_ADMIN_PERM, GENL_CMD_CAP_*
  @capabilities [admin: 0x1, do: 0x2, dump: 0x4, policy: 0x8, namespace_admin: 0x10]

  # CTRL_ATTR_*, CTRL_ATTR_OP_*, CTRL_ATTR_MCAST_GRP_*
  @schema Attributes.schema(%{
            family_id: {1, :u16},
            family_name: {2, :string},
            version: {3, :u32},
            hdrsize: {4, :u32},
            maxattr: {5, :u32},
            ops:
              {6, {:list, {:nested, %{id: {1, :u32}, flags: {2, {:bits, :u32, @capabilities}}}}}},
            mcast_groups: {7, {:list, {:nested, %{name: {1, :string}, id: {2, :u32}}}}}
          })

  @typedoc "A decoded message, as `decode/3` returns it."
  @type decoded :: %{
          command: 0..255,
          version: 0..255,
          header: binary,
          attributes: [{Attributes.key(), Attributes.decoded()}]
        }

  @doc """
  Returns a family by its name.

  If necessary, the kernel loads the module of the family, if there is one and it may be loaded. Some families exist only in the
  initial network namespace.

  Options: the options of `LinxNative.Conn.request/3`.

  Errors: the errors of `LinxNative.Conn.request/3`, and the reason `:unknown_family`, whose message lists the known families.
  """
  @spec family(Conn.t(), String.t(), keyword) :: {:ok, Family.t()} | {:error, Error.t()}
  def family(conn, name, options \\ []) when is_binary(name) do
    case ask(conn, name, options) do
      {:ok, [reply]} -> read(reply)
      {:error, %Error{reason: :enoent}} -> unknown(conn, name, options)
      {:error, error} -> {:error, error}
    end
  end

  # A longer name cannot exist, and the kernel would return another error for it.
  defp ask(_conn, name, _options) when byte_size(name) > @max_name do
    {:error, Error.from_errno(:request, 2)}
  end

  defp ask(conn, name, options) do
    Conn.request(conn, controller(attributes: [family_name: name]), options)
  end

  defp unknown(conn, name, options) do
    with {:ok, families} <- families(conn, options) do
      known = for family <- families, do: family.name
      {:error, %Error{reason: :unknown_family, detail: {name, known}}}
    end
  end

  @doc """
  Returns all families that the kernel has in the namespace of the connection. The kernel loads no modules for this.

  Options and errors: as for `LinxNative.Conn.request/3`.
  """
  @spec families(Conn.t(), keyword) :: {:ok, [Family.t()]} | {:error, Error.t()}
  def families(conn, options \\ []) do
    with {:ok, replies} <- Conn.request(conn, controller(flags: [:dump]), options) do
      Enum.reduce_while(Enum.reverse(replies), {:ok, []}, fn reply, {:ok, families} ->
        case read(reply) do
          {:ok, family} -> {:cont, {:ok, [family | families]}}
          {:error, error} -> {:halt, {:error, error}}
        end
      end)
    end
  end

  defp controller(options) do
    message(@nlctrl, @nlctrl_version, @getfamily, [schema: @schema] ++ options)
  end

  defp read(reply) do
    with {:ok, %{attributes: attributes}} <- decode(reply, @schema) do
      {:ok,
       %Family{
         name: attributes[:family_name],
         id: attributes[:family_id],
         version: attributes[:version],
         header_size: attributes[:hdrsize],
         max_attribute: attributes[:maxattr],
         commands: Map.new(attributes[:ops] || [], &{&1[:id], &1[:flags]}),
         groups: Map.new(attributes[:mcast_groups] || [], &{&1[:name], &1[:id]})
       }}
    end
  end

  @doc false
  # Returns the schema of a message of nlctrl; an empty one for other families, which are not known here.
  @spec schema(Message.t()) :: Attributes.schema()
  def schema(%Message{type: @nlctrl}), do: @schema
  def schema(%Message{}), do: %{}

  @doc """
  Joins a multicast group of a family. The family is a name or a result of `family/2`.

  Errors: the errors of `family/2` and `LinxNative.Conn.join_group/2`, and the reason `:unknown_group`, whose message lists the
  known groups.
  """
  @spec join_group(Conn.t(), Family.t() | String.t(), String.t()) :: :ok | {:error, Error.t()}
  def join_group(conn, family, group), do: with_group(conn, family, group, &Conn.join_group/2)

  @doc """
  Leaves a multicast group of a family. Arguments and errors are those of `join_group/3`.
  """
  @spec leave_group(Conn.t(), Family.t() | String.t(), String.t()) :: :ok | {:error, Error.t()}
  def leave_group(conn, family, group), do: with_group(conn, family, group, &Conn.leave_group/2)

  defp with_group(conn, name, group, change) when is_binary(name) do
    with {:ok, family} <- family(conn, name), do: with_group(conn, family, group, change)
  end

  defp with_group(conn, %Family{groups: groups} = family, group, change) when is_binary(group) do
    case groups do
      %{^group => number} ->
        change.(conn, number)

      _ ->
        detail = {family.name, group, Map.keys(groups)}
        {:error, %Error{reason: :unknown_group, detail: detail}}
    end
  end

  @doc """
  Returns a message of a family: a command with attributes.

  ## Options

    * `:flags` - a list of `t:LinxNative.Message.flag/0`, or their number; default `[]`. `LinxNative.Conn.request/3` adds
      `:request` and `:ack`
    * `:attributes` - as for `LinxNative.Attributes.encode/2`; default `[]`
    * `:schema` - the schema of the attributes; default `%{}`
    * `:header` - the header of the family as a binary of `header_size` bytes; default zeros
    * `:version` - 0 to 255; default the version of the family

  Raises `ArgumentError` if an option is unknown or a value is out of its range.
  """
  @spec message(Family.t(), 0..255, keyword) :: Message.t()
  def message(%Family{} = family, command, options \\ []) do
    options = Keyword.put_new(options, :header, <<0::size(family.header_size)-unit(8)>>)

    if byte_size(options[:header]) != family.header_size do
      raise ArgumentError,
            "the header of #{family.name} has #{family.header_size} bytes, not #{byte_size(options[:header])}"
    end

    message(family.id, family.version, command, options)
  end

  defp message(id, version, command, options) do
    defaults = [flags: [], attributes: [], schema: %{}, header: <<>>, version: version]
    options = Keyword.validate!(options, defaults)
    byte!("command", command)
    byte!("version", options[:version])
    attributes = Attributes.encode(options[:attributes], options[:schema])

    %Message{
      type: id,
      flags: Message.flags(options[:flags]),
      body: <<command, options[:version], 0::16, options[:header]::binary, attributes::binary>>,
      protocol: :generic
    }
  end

  defp byte!(_what, byte) when byte in 0..255, do: :ok

  defp byte!(what, other) do
    raise ArgumentError, "a #{what} of generic netlink is in 0..255, not #{inspect(other)}"
  end

  @doc """
  Decodes a message of a family.

  If the `header_size` of the family is not 0, give it as the option `:header_size`. The header is returned as a binary.

  Errors: the reason `:malformed`. The `offset` of the error counts from the start of the body.
  """
  @spec decode(Message.t(), Attributes.schema(), keyword) ::
          {:ok, decoded} | {:error, Error.t()}
  def decode(%Message{body: body}, schema \\ %{}, options \\ []) do
    size = Keyword.validate!(options, header_size: 0)[:header_size]

    case IO.iodata_to_binary(body) do
      <<command, version, _::16, rest::binary>> when byte_size(rest) >= size ->
        {header, attributes} = :erlang.split_binary(rest, size)

        with {:ok, attributes} <- attributes(attributes, schema, @header + size) do
          {:ok, %{command: command, version: version, header: header, attributes: attributes}}
        end

      _ ->
        {:error, Error.malformed({:short_header, 0})}
    end
  end

  defp attributes(bytes, schema, start) do
    with {:error, %Error{} = error} <- Attributes.decode(bytes, schema) do
      {:error, %{error | offset: error.offset + start}}
    end
  end

  @doc """
  Decodes a message as `decode/3` does and returns the result, or raises the error.
  """
  @spec decode!(Message.t(), Attributes.schema(), keyword) :: decoded
  def decode!(message, schema \\ %{}, options \\ []) do
    case decode(message, schema, options) do
      {:ok, decoded} -> decoded
      {:error, error} -> raise error
    end
  end
end
