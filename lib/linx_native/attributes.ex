defmodule LinxNative.Attributes do
  @moduledoc """
  Attributes of netlink messages: `struct nlattr` of `linux/netlink.h`.

  In a message they follow the header of its family, for example `struct ifinfomsg` for links; see
  `rtnetlink(7)`.

      schema = %{ifname: {3, :string}, mtu: {4, :u32}}
      attributes = Attributes.encode([ifname: "eth0", mtu: 1500], schema)
      {:ok, [ifname: "eth0", mtu: 1500]} = Attributes.decode(attributes, schema)

  A schema gives attributes names and kinds. The same schema encodes and decodes. `LinxNative.Rtnetlink` has the schemas of
  rtnetlink. Without a schema attributes have numbers, and each value names its kind:

      attributes = Attributes.encode([{3, {:string, "eth0"}}, {4, {:u32, 1500}}])
      {:ok, [{3, "eth0\\0"}, {4, _bytes}]} = Attributes.decode(attributes)

  Numbers are in the byte order of the machine unless the kernel's documentation of an attribute
  says otherwise: `:be16`, `:be32` and `:be64` are in network order.
  """

  import LinxNative.Attributes.Kind, only: [is_number_kind: 1]

  alias LinxNative.{Alignment, Error, Names}
  alias LinxNative.Attributes.{Kind, Schema}

  @typedoc "The type of an attribute without its two flag bits: `nla_type` and `NLA_TYPE_MASK`."
  @type type :: 0..0x3FFF

  @typedoc """
  A kind of number, with its size in bits: `u` is unsigned and `s` is signed, both in the byte order of
  the machine; `be` is unsigned in network order.
  """
  @type integer_kind ::
          :u8 | :u16 | :u32 | :u64 | :s8 | :s16 | :s32 | :s64 | :be16 | :be32 | :be64

  @typedoc "The key of an attribute in a list: its name if the schema has one for it, else its type."
  @type key :: atom | type

  @typedoc """
  A value without nested attributes, for an attribute that is not in the schema.

    * a binary - these bytes
    * `:flag` - no bytes: only the presence of the attribute counts
    * `{:string, string}` - these bytes, none of them NUL, followed by a NUL
    * `{kind, integer}` - a number; see `t:integer_kind/0`
  """
  @type plain :: binary | :flag | {:string, binary} | {integer_kind, integer}

  @typedoc """
  The value of an attribute that is not in the schema: a plain value, or

    * `{:nested, attributes}` - attributes; the type gets `NLA_F_NESTED` (0x8000)
    * `{:net_byteorder, plain}` - a plain value; only the type changes: it gets
      `NLA_F_NET_BYTEORDER` (0x4000), which excludes `NLA_F_NESTED`
  """
  @type value :: plain | {:nested, [{type, value}]} | {:net_byteorder, plain}

  @typedoc """
  The kind of an attribute, which decides the value that `decode/2` returns and `encode/2` takes.

    * a kind of number - a number of exactly that size; see `t:integer_kind/0`
    * `:string` - the bytes up to the first NUL or the end; only NULs may follow. `encode/2` adds one NUL
    * `:binary` - the bytes
    * `:flag` - `true`; the attribute is empty
    * `:ip` - a `t::inet.ip_address/0`, of 4 or 16 bytes
    * `{:enum, number, names}` - the name of a number of that kind, or the number if it has no name. `names` is a map or list of
      names with their numbers
    * `{:bits, number, names}` - a list of the names of the bits that are set in a number of that kind. Bits without a name are
      one number at its end. `encode/2` also takes the number
    * `{:nested, schema}` - nested attributes, as `decode/2` returns them
    * `{:list, kind}` - a list of values: all nested attributes are of this kind, and their types are
      only indexes, which `encode/2` counts from 1
  """
  @type kind ::
          integer_kind
          | :string
          | :binary
          | :flag
          | :ip
          | {:enum, integer_kind, names}
          | {:bits, integer_kind, names}
          | {:nested, schema}
          | {:list, kind}

  @typedoc "Names with their numbers."
  @type names :: %{optional(atom) => integer} | [{atom, integer}]

  @typedoc """
  Attributes by type with their kind, for example `3 => :string`, or by name with type and kind, for example
  `ifname: {3, :string}`.

  The whole schema is checked whenever it is used. `schema/1` checks it once for many uses.
  """
  @type schema :: %{optional(type) => kind, optional(atom) => {type, kind}} | compiled

  @typedoc "A schema that `schema/1` has checked. Its fields may change."
  @type compiled :: %Schema{}

  @typedoc "The value that `decode/2` returns for an attribute. It depends on the kind."
  @type decoded :: integer | binary | atom | tuple | [{key, decoded}] | [decoded]

  @typedoc """
  Why an attribute is malformed.

    * `:short_header` - fewer than the 4 bytes of a header are left
    * `:bad_length` - its length field is below 4, the length of the header
    * `:truncated` - its length field reaches beyond the end
    * `{:bad_value, key}` - its value does not match the schema
  """
  @type reason :: :short_header | :bad_length | :truncated | {:bad_value, key}

  @header 4
  @max_length 0xFFFF
  @max_type 0x3FFF
  @nested 0x8000
  @net_byteorder 0x4000

  @doc """
  Checks a schema once and returns it in a form for many calls. The result can be kept in a module attribute.

      @schema LinxNative.Attributes.schema(%{ifname: {3, :string}, mtu: {4, :u32}})

  An invalid kind or type, or a type that occurs twice, raises `ArgumentError`.
  """
  @spec schema(schema) :: compiled
  def schema(schema), do: Schema.compile(schema)

  @doc """
  Returns the bytes of attributes, in order, each padded with zeros to a multiple of 4.

  An attribute of the schema is given by its name or type, with a value as `decode/2` returns it. Any other attribute is given
  by its type, with a `t:value/0`.

      Attributes.encode([ifname: "eth0"], %{ifname: {3, :string}})
      Attributes.encode([{3, {:string, "eth0"}}])

  Raises `ArgumentError` for a name that the schema does not have, a type that is not in 0..16383, a value of another kind, a
  number out of its range, a string with a NUL, and an attribute of more than 65535 bytes (65531 without its header).
  """
  @spec encode([{key, value | decoded}], schema) :: binary
  def encode(attributes, schema \\ %{}) when is_list(attributes) do
    encode(attributes, Schema.compile(schema), [])
  end

  # `path` has the keys of the enclosing attributes, the innermost first.
  defp encode(attributes, schema, path) do
    attributes |> Enum.map(&attribute(&1, schema, path)) |> IO.iodata_to_binary()
  end

  defp attribute({key, value}, schema, path) do
    type = type!(key, schema, path)
    path = [key | path]

    {flags, payload} =
      case schema.types do
        %{^type => {_key, kind}} -> known(kind, value, path)
        _ -> unknown(value, path)
      end

    length = @header + byte_size(payload)
    if length > @max_length, do: refuse!(path, "has #{length} bytes, and 65535 is the most")
    [<<length::native-16, type + flags::native-16>>, payload, Alignment.padding(length)]
  end

  defp attribute(other, _schema, path) do
    where = if path == [], do: "", else: " of " <> Schema.label(path)
    raise ArgumentError, "an attribute#{where} is {type or name, value}, not #{inspect(other)}"
  end

  defp type!(type, _schema, _path) when type in 0..@max_type, do: type

  defp type!(name, %{names: names}, path) when is_atom(name) and names != %{} do
    where = if path == [], do: "", else: " of " <> Schema.label(path)
    Names.fetch!(names, name, "no attribute#{where}")
  end

  defp type!(name, _schema, _path) when is_atom(name) and name not in [nil, true, false] do
    raise ArgumentError,
          "type of an attribute is #{inspect(name)}, not in 0..#{@max_type}; a name takes a schema that has it"
  end

  defp type!(other, _schema, _path) do
    raise ArgumentError, "type of an attribute is #{inspect(other)}, not in 0..#{@max_type}"
  end

  defp known({:nested, schema}, attributes, path) when is_list(attributes) do
    {@nested, encode(attributes, schema, path)}
  end

  defp known({:nested, _schema}, value, path) do
    refuse!(path, "cannot hold #{inspect(value)}, only a list of attributes")
  end

  defp known({:list, kind}, values, path) when is_list(values) do
    schema = %Schema{types: Map.new(1..length(values)//1, &{&1, {&1, kind}})}
    {@nested, values |> Enum.with_index(&{&2 + 1, &1}) |> encode(schema, path)}
  end

  defp known({:list, _kind}, value, path) do
    refuse!(path, "cannot hold #{inspect(value)}, only a list")
  end

  defp known(kind, value, path), do: {0, write(kind, value, path)}

  defp unknown({:nested, attributes}, path) when is_list(attributes) do
    {@nested, encode(attributes, %Schema{}, path)}
  end

  defp unknown({:net_byteorder, value}, path), do: {@net_byteorder, plain(value, path)}
  defp unknown(value, path), do: {0, plain(value, path)}

  defp plain(value, _path) when is_binary(value), do: value
  defp plain(:flag, _path), do: <<>>

  defp plain({kind, value}, path) when kind == :string or is_number_kind(kind),
    do: write(kind, value, path)

  defp plain(value, path), do: refuse!(path, "cannot hold #{inspect(value)}#{hint(value)}")

  defp write(kind, value, path) do
    case Kind.write(kind, value) do
      {:ok, bytes} -> bytes
      {:error, what} -> refuse!(path, what)
    end
  end

  # Suggests the right form for a value that no schema describes.
  defp hint(n) when is_integer(n), do: ": a number is given with its kind, as {:u32, #{n}}"
  defp hint(list) when is_list(list), do: ": attributes are given as {:nested, attributes}"
  defp hint(true), do: ": a flag is given as :flag"

  defp hint({kind, n}) when is_atom(kind) and is_integer(n) do
    ": #{inspect(kind)} is no kind of number#{Names.choice(kind, Kind.numbers())}"
  end

  defp hint(_value) do
    ": a value is a binary, :flag, {:string, binary}, {kind, number}, {:nested, attributes} or {:net_byteorder, plain}"
  end

  @spec refuse!([key], String.t()) :: no_return
  defp refuse!(path, what), do: raise(ArgumentError, "#{Schema.label(path)} #{what}")

  @doc """
  Returns the attributes of a binary, in order, by type and as bytes: `decode/2` with an empty schema.
  """
  @spec decode(binary) :: {:ok, [{type, payload :: binary}]} | {:error, Error.t()}
  def decode(binary), do: decode(binary, %{})

  @doc """
  Returns the attributes of a binary with their values, in order. An empty binary has none.

  An attribute has the key and the value that the schema describes. An attribute that is not in the schema has its type as its
  key and its bytes as its value. The flag bits are removed from the type. A type that occurs several times is returned
  several times. The last attribute may lack its padding. Strings and bytes are parts of `binary` and keep it in memory, so copy
  (`:binary.copy/1`) what you keep for long.

  ## Errors

  A `LinxNative.Error` with the reason `:malformed`. Its `offset` is the offset in bytes of the first malformed attribute in
  `binary`, also if the attribute is nested, and its `detail` is a `t:reason/0`. No input raises.
  """
  @spec decode(binary, schema) :: {:ok, [{key, decoded}]} | {:error, Error.t()}
  def decode(binary, schema) when is_binary(binary) do
    with {:error, wrong} <- decode(binary, byte_size(binary), Schema.compile(schema), []),
         do: {:error, Error.malformed(wrong)}
  end

  @doc """
  Returns the attributes of a binary as `decode/2` does, or raises the error.
  """
  @spec decode!(binary, schema) :: [{key, decoded}]
  def decode!(binary, schema \\ %{}) do
    case decode(binary, schema) do
      {:ok, attributes} -> attributes
      {:error, error} -> raise error
    end
  end

  # `stop` is the offset of the end of `left` in the binary that decode/2 was given.
  defp decode(<<>>, _stop, _schema, attributes), do: {:ok, Enum.reverse(attributes)}

  defp decode(left, stop, schema, attributes) do
    offset = stop - byte_size(left)

    with {:ok, type, payload, left} <- first(left, offset),
         {key, kind} = entry(schema, type),
         {:ok, value} <- value(kind, key, payload, offset) do
      decode(left, stop, schema, [{key, value} | attributes])
    end
  end

  defp first(left, offset) when byte_size(left) < @header do
    {:error, {:short_header, offset}}
  end

  defp first(<<length::native-16, _::binary>>, offset) when length < @header do
    {:error, {:bad_length, offset}}
  end

  defp first(<<length::native-16, _::binary>> = left, offset) when length > byte_size(left) do
    {:error, {:truncated, offset}}
  end

  defp first(<<length::native-16, type::native-16, left::binary>>, _offset) do
    {payload, left} = Alignment.take(left, length - @header)
    {:ok, Bitwise.band(type, @max_type), payload, left}
  end

  defp entry({:every, kind}, type), do: {type, kind}

  defp entry(schema, type) do
    case schema.types do
      %{^type => entry} -> entry
      _ -> {type, :binary}
    end
  end

  defp value({:nested, schema}, _key, payload, offset), do: nested(payload, offset, schema)

  defp value({:list, kind}, _key, payload, offset) do
    with {:ok, attributes} <- nested(payload, offset, {:every, kind}) do
      {:ok, Enum.map(attributes, &elem(&1, 1))}
    end
  end

  defp value(kind, key, payload, offset) do
    with :error <- Kind.read(kind, payload), do: {:error, {{:bad_value, key}, offset}}
  end

  defp nested(payload, offset, schema) do
    decode(payload, offset + @header + byte_size(payload), schema, [])
  end

  @doc """
  Returns the value of the first attribute with that name or type, or `default` if there is none.
  """
  @spec get([{key, held}], key, default) :: held | default when held: term, default: term
  def get(attributes, key, default \\ nil) do
    case List.keyfind(attributes, key, 0) do
      {_key, value} -> value
      nil -> default
    end
  end
end
