defmodule LinxNative.Attributes do
  @moduledoc """
  The attributes of a netlink message: `struct nlattr` of `linux/netlink.h`.

  They follow the header that a family has of its own, as `struct ifinfomsg` for links; see
  `rtnetlink(7)`.

      attributes = Attributes.encode([{3, {:string, "eth0"}}, {4, {:u32, 1500}}])
      {:ok, [{3, "eth0"}, {4, 1500}]} = Attributes.decode(attributes, %{3 => :string, 4 => :u32})

  Numbers are in the byte order of the machine unless the kernel's documentation of an attribute
  says otherwise: `:be16`, `:be32` and `:be64` are in network order.
  """

  alias LinxNative.{Alignment, Error}

  @typedoc "The type of an attribute without its two flag bits: `nla_type` and `NLA_TYPE_MASK`."
  @type type :: 0..0x3FFF

  @typedoc """
  A kind of number: `u` unsigned and `s` signed in the order of the machine, `be` unsigned in
  network order, each with its bits.
  """
  @type integer_kind ::
          :u8 | :u16 | :u32 | :u64 | :s8 | :s16 | :s32 | :s64 | :be16 | :be32 | :be64

  @typedoc """
  A value that is no attributes.

    * a binary - these bytes
    * `:flag` - nothing: to be there is all it says
    * `{:string, string}` - these bytes, none of them NUL, and a NUL after them
    * `{kind, integer}` - a number; see `t:integer_kind/0`
  """
  @type plain :: binary | :flag | {:string, binary} | {integer_kind, integer}

  @typedoc """
  What an attribute is to hold: a plain value, or

    * `{:nested, attributes}` - attributes; the type gets `NLA_F_NESTED` (0x8000)
    * `{:net_byteorder, plain}` - a plain value, written as it is without this; the type gets
      `NLA_F_NET_BYTEORDER` (0x4000), which excludes `NLA_F_NESTED`
  """
  @type value :: plain | {:nested, [{type, value}]} | {:net_byteorder, plain}

  @typedoc """
  What an attribute is expected to hold, and so which value `decode/2` gives for it.

    * a kind of number - that number, of exactly its size; see `t:integer_kind/0`
    * `:string` - the bytes up to the first NUL or the end; only NULs may follow
    * `:binary` - the bytes
    * `:flag` - `true`; it must be empty
    * `{:nested, schema}` - its attributes, as `decode/2` gives them
    * `{:list, kind}` - a list of values: its attributes are all of this kind, and their types are
      only indexes
  """
  @type kind ::
          integer_kind | :string | :binary | :flag | {:nested, schema} | {:list, kind}

  @typedoc "The kinds by type. A type that is not in it has the kind `:binary`."
  @type schema :: %{optional(type) => kind}

  @typedoc "What `decode/2` gives for an attribute, by its kind."
  @type decoded :: integer | binary | true | [{type, decoded}] | [decoded]

  @typedoc """
  What is wrong with an attribute.

    * `:short_header` - fewer than the 4 bytes of a header are left
    * `:bad_length` - its length field is below 4, which would not count the header
    * `:truncated` - its length field reaches beyond the end
    * `{:bad_value, type}` - it does not hold what the schema says of its type
  """
  @type reason :: :short_header | :bad_length | :truncated | {:bad_value, type}

  @header 4
  @max_length 0xFFFF
  @max_type 0x3FFF
  @nested 0x8000
  @net_byteorder 0x4000

  @ranges %{
    u8: 0..0xFF,
    u16: 0..0xFFFF,
    u32: 0..0xFFFF_FFFF,
    u64: 0..0xFFFF_FFFF_FFFF_FFFF,
    s8: -0x80..0x7F,
    s16: -0x8000..0x7FFF,
    s32: -0x8000_0000..0x7FFF_FFFF,
    s64: -0x8000_0000_0000_0000..0x7FFF_FFFF_FFFF_FFFF,
    be16: 0..0xFFFF,
    be32: 0..0xFFFF_FFFF,
    be64: 0..0xFFFF_FFFF_FFFF_FFFF
  }

  @doc """
  The bytes of attributes, in order, each padded with zeros to a multiple of 4.

  `ArgumentError` is raised for a type that is not in 0..16383, a value that is none (see
  `t:value/0`), a number out of its range, a string with a NUL, and an attribute of more than
  65535 bytes, which are 65531 without its header.
  """
  @spec encode([{type, value}]) :: binary
  def encode(attributes) when is_list(attributes) do
    attributes |> Enum.map(&attribute/1) |> IO.iodata_to_binary()
  end

  defp attribute({type, value}) when type in 0..@max_type do
    {flags, payload} = payload(type, value)
    length = @header + byte_size(payload)
    if length > @max_length, do: refuse!(type, "has #{length} bytes, and 65535 is the most")
    [<<length::native-16, type + flags::native-16>>, payload, Alignment.padding(length)]
  end

  defp attribute({type, _value}) do
    raise ArgumentError, "type of an attribute is #{inspect(type)}, not in 0..#{@max_type}"
  end

  defp payload(_type, {:nested, attributes}), do: {@nested, encode(attributes)}
  defp payload(type, {:net_byteorder, value}), do: {@net_byteorder, plain(type, value)}
  defp payload(type, value), do: {0, plain(type, value)}

  defp plain(_type, value) when is_binary(value), do: value
  defp plain(_type, :flag), do: <<>>

  defp plain(type, {:string, string}) when is_binary(string) do
    if :binary.match(string, <<0>>) != :nomatch, do: refuse!(type, "has a NUL in its string")
    string <> <<0>>
  end

  defp plain(type, {kind, integer}) when is_map_key(@ranges, kind) do
    range = Map.fetch!(@ranges, kind)
    if integer not in range, do: refuse!(type, "is #{inspect(integer)}, not in #{inspect(range)}")
    write(kind, integer)
  end

  defp plain(type, value), do: refuse!(type, "cannot hold #{inspect(value)}")

  defp write(:u8, n), do: <<n>>
  defp write(:u16, n), do: <<n::native-16>>
  defp write(:u32, n), do: <<n::native-32>>
  defp write(:u64, n), do: <<n::native-64>>
  defp write(:s8, n), do: <<n>>
  defp write(:s16, n), do: <<n::native-16>>
  defp write(:s32, n), do: <<n::native-32>>
  defp write(:s64, n), do: <<n::native-64>>
  defp write(:be16, n), do: <<n::big-16>>
  defp write(:be32, n), do: <<n::big-32>>
  defp write(:be64, n), do: <<n::big-64>>

  @spec refuse!(type, String.t()) :: no_return
  defp refuse!(type, what), do: raise(ArgumentError, "attribute #{type} #{what}")

  @doc """
  The attributes of a binary, in order: `decode/2` with a schema that knows no type.
  """
  @spec decode(binary) :: {:ok, [{type, payload :: binary}]} | {:error, Error.t()}
  def decode(binary), do: decode(binary, %{})

  @doc """
  The attributes of a binary with their values, in order; none for an empty one.

  A type that is there more than once is given as often. The flag bits are taken off the types. An
  attribute that the schema does not know has its bytes as its value. The last attribute may lack
  its padding. Strings and bytes are parts of `binary` and keep it in memory: copy
  (`:binary.copy/1`) what is to be kept for long.

  ## Errors

  A `LinxNative.Error` with the reason `:malformed`: its `offset` is where in `binary` the first wrong attribute begins, in
  bytes, also for a nested one, and its `detail` what is wrong with it, see `t:reason/0`. Nothing raises, whatever the
  bytes.
  """
  @spec decode(binary, schema) :: {:ok, [{type, decoded}]} | {:error, Error.t()}
  def decode(binary, schema) when is_binary(binary) and is_map(schema) do
    with {:error, wrong} <- decode(binary, byte_size(binary), schema, []),
         do: {:error, Error.malformed(wrong)}
  end

  @doc """
  Returns the attributes of a binary as `decode/2` does, or raises its error.
  """
  @spec decode!(binary, schema) :: [{type, decoded}]
  def decode!(binary, schema \\ %{}) do
    case decode(binary, schema) do
      {:ok, attributes} -> attributes
      {:error, error} -> raise error
    end
  end

  # `stop` is where `left` ends in the binary that decode/2 was given.
  defp decode(<<>>, _stop, _schema, attributes), do: {:ok, Enum.reverse(attributes)}

  defp decode(left, stop, schema, attributes) do
    offset = stop - byte_size(left)

    with {:ok, type, payload, left} <- first(left, offset),
         {:ok, value} <- value(kind(schema, type), type, payload, offset) do
      decode(left, stop, schema, [{type, value} | attributes])
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

  defp kind({:every, kind}, _type), do: kind
  defp kind(schema, type), do: Map.get(schema, type, :binary)

  defp value({:nested, schema}, _type, payload, offset), do: nested(payload, offset, schema)

  defp value({:list, kind}, _type, payload, offset) do
    with {:ok, attributes} <- nested(payload, offset, {:every, kind}) do
      {:ok, Enum.map(attributes, &elem(&1, 1))}
    end
  end

  defp value(kind, type, payload, offset) do
    with :error <- read(kind, payload), do: {:error, {{:bad_value, type}, offset}}
  end

  defp nested(payload, offset, schema) do
    decode(payload, offset + @header + byte_size(payload), schema, [])
  end

  defp read(:binary, bytes), do: {:ok, bytes}
  defp read(:flag, <<>>), do: {:ok, true}
  defp read(:string, bytes), do: string(bytes)
  defp read(:u8, <<n>>), do: {:ok, n}
  defp read(:u16, <<n::native-16>>), do: {:ok, n}
  defp read(:u32, <<n::native-32>>), do: {:ok, n}
  defp read(:u64, <<n::native-64>>), do: {:ok, n}
  defp read(:s8, <<n::signed>>), do: {:ok, n}
  defp read(:s16, <<n::native-signed-16>>), do: {:ok, n}
  defp read(:s32, <<n::native-signed-32>>), do: {:ok, n}
  defp read(:s64, <<n::native-signed-64>>), do: {:ok, n}
  defp read(:be16, <<n::big-16>>), do: {:ok, n}
  defp read(:be32, <<n::big-32>>), do: {:ok, n}
  defp read(:be64, <<n::big-64>>), do: {:ok, n}
  defp read(kind, _bytes) when kind == :flag or is_map_key(@ranges, kind), do: :error

  defp string(bytes) do
    case :binary.split(bytes, <<0>>) do
      [string] -> {:ok, string}
      [string, rest] -> if zeros?(rest), do: {:ok, string}, else: :error
    end
  end

  defp zeros?(bytes), do: bytes == <<0::size(byte_size(bytes))-unit(8)>>

  @doc """
  The value of the first attribute of a type, or `default` where there is none.
  """
  @spec get([{type, held}], type, default) :: held | default when held: term, default: term
  def get(attributes, type, default \\ nil) do
    case List.keyfind(attributes, type, 0) do
      {_type, value} -> value
      nil -> default
    end
  end
end
