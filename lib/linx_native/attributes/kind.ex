defmodule LinxNative.Attributes.Kind do
  @moduledoc false

  # Converts one value of an attribute or of a field of a header to its bytes and back, according to its kind.

  alias LinxNative.Names

  @typedoc "A kind as `compile/1` returns it."
  @type t ::
          atom
          | {:enum, atom, names :: %{atom => integer}, numbers :: %{integer => atom}}
          | {:bits, atom, names :: %{atom => integer}, ordered :: [{integer, atom}]}

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

  @numbers Map.keys(@ranges)
  @others [:string, :binary, :flag, :ip]

  @doc "Reports whether a kind is a kind of number."
  defguard is_number_kind(kind) when is_map_key(@ranges, kind)

  @doc "Returns the kinds of numbers."
  @spec numbers() :: [atom]
  def numbers, do: @numbers

  @doc "Returns the kinds that are atoms."
  @spec names() :: [atom]
  def names, do: @others ++ @numbers

  @doc """
  Checks a kind without nested attributes, and returns it for use in the other functions. Returns `:error` if it is not a kind.
  """
  @spec compile(term) :: {:ok, t} | {:error, String.t()} | :error
  def compile(kind) when is_number_kind(kind) or kind in @others, do: {:ok, kind}

  def compile({form, kind, names}) when form in [:enum, :bits] and is_number_kind(kind) do
    names = if is_list(names) or is_map(names), do: Enum.to_list(names), else: [names]

    case Enum.reject(names, &name?(kind, &1)) do
      [] ->
        {:ok, compiled(form, kind, Map.new(names))}

      [odd | _] ->
        {:error, "#{inspect(odd)} is no name with its number of the kind #{inspect(kind)}"}
    end
  end

  def compile(_other), do: :error

  defp name?(kind, {name, number}), do: is_atom(name) and in_range?(kind, number)
  defp name?(_kind, _other), do: false

  defp compiled(:enum, kind, names) do
    {:enum, kind, names, Map.new(names, fn {name, number} -> {number, name} end)}
  end

  # Leaves out names without a bit, because such a name would always be set.
  defp compiled(:bits, kind, names) do
    ordered = for {name, bits} <- names, bits != 0, do: {bits, name}
    {:bits, kind, names, Enum.sort(ordered)}
  end

  defp in_range?(kind, number), do: is_integer(number) and number in Map.fetch!(@ranges, kind)

  @doc "Returns the size of a kind of number in bytes."
  @spec size(t) :: 1 | 2 | 4 | 8
  def size({:enum, kind, _names, _numbers}), do: size(kind)
  def size({:bits, kind, _names, _ordered}), do: size(kind)
  def size(kind) when kind in [:u8, :s8], do: 1
  def size(kind) when kind in [:u16, :s16, :be16], do: 2
  def size(kind) when kind in [:u32, :s32, :be32], do: 4
  def size(kind) when kind in [:u64, :s64, :be64], do: 8

  @doc """
  Returns the value of these bytes.
  """
  @spec read(t, binary) :: {:ok, term} | :error
  def read(:binary, bytes), do: {:ok, bytes}
  def read(:flag, <<>>), do: {:ok, true}
  def read(:string, bytes), do: string(bytes)
  def read(:u8, <<n>>), do: {:ok, n}
  def read(:u16, <<n::native-16>>), do: {:ok, n}
  def read(:u32, <<n::native-32>>), do: {:ok, n}
  def read(:u64, <<n::native-64>>), do: {:ok, n}
  def read(:s8, <<n::signed>>), do: {:ok, n}
  def read(:s16, <<n::native-signed-16>>), do: {:ok, n}
  def read(:s32, <<n::native-signed-32>>), do: {:ok, n}
  def read(:s64, <<n::native-signed-64>>), do: {:ok, n}
  def read(:be16, <<n::big-16>>), do: {:ok, n}
  def read(:be32, <<n::big-32>>), do: {:ok, n}
  def read(:be64, <<n::big-64>>), do: {:ok, n}
  def read(:ip, <<a, b, c, d>>), do: {:ok, {a, b, c, d}}

  def read(:ip, <<a::16, b::16, c::16, d::16, e::16, f::16, g::16, h::16>>) do
    {:ok, {a, b, c, d, e, f, g, h}}
  end

  def read({:enum, kind, _names, numbers}, bytes) do
    with {:ok, number} <- read(kind, bytes), do: {:ok, Map.get(numbers, number, number)}
  end

  def read({:bits, kind, _names, ordered}, bytes) do
    with {:ok, number} <- read(kind, bytes), do: {:ok, bits(number, ordered)}
  end

  def read(_kind, _bytes), do: :error

  defp string(bytes) do
    case :binary.split(bytes, <<0>>) do
      [string] -> {:ok, string}
      [string, rest] -> if zeros?(rest), do: {:ok, string}, else: :error
    end
  end

  defp zeros?(bytes), do: bytes == <<0::size(byte_size(bytes))-unit(8)>>

  # Returns the names of the bits that are set. Bits without a name are one number at the end.
  defp bits(0, _ordered), do: []
  defp bits(number, []), do: [number]

  defp bits(number, [{bits, name} | ordered]) do
    if Bitwise.band(number, bits) == bits,
      do: [name | bits(number - bits, ordered)],
      else: bits(number, ordered)
  end

  @doc """
  Returns the bytes of a value, or the end of a sentence that says why the value is wrong.
  """
  @spec write(t, term) :: {:ok, binary} | {:error, String.t()}
  def write(:binary, bytes) when is_binary(bytes), do: {:ok, bytes}
  def write(:binary, value), do: {:error, "cannot hold #{inspect(value)}, only a binary"}
  def write(:flag, true), do: {:ok, <<>>}

  def write(:flag, value),
    do: {:error, "cannot hold #{inspect(value)}: a flag is true, or left out"}

  def write(:string, string) when is_binary(string) do
    if :binary.match(string, <<0>>) == :nomatch,
      do: {:ok, string <> <<0>>},
      else: {:error, "has a NUL in its string"}
  end

  def write(:string, value), do: {:error, "cannot hold #{inspect(value)}, only a string"}

  def write(:ip, address) do
    case address do
      {_, _, _, _} -> ip(address, 8)
      {_, _, _, _, _, _, _, _} -> ip(address, 16)
      _ -> no_ip(address)
    end
  end

  def write({:enum, kind, names, _numbers}, value) do
    case names do
      %{^value => number} -> {:ok, bytes(kind, number)}
      _ -> enum(kind, value, names)
    end
  end

  def write({:bits, kind, names, _ordered}, values) when is_list(values) do
    case Enum.reject(values, &(is_map_key(names, &1) or (is_integer(&1) and &1 >= 0))) do
      [] -> write(kind, Enum.reduce(values, 0, &Bitwise.bor(Map.get(names, &1, &1), &2)))
      [odd | _] -> no_name(odd, names)
    end
  end

  def write({:bits, kind, _names, _ordered}, number) when is_integer(number),
    do: write(kind, number)

  def write({:bits, _kind, names, _ordered}, value) do
    {:error,
     "cannot hold #{inspect(value)}, only a number or a list of: #{Names.list(Map.keys(names))}"}
  end

  def write(kind, number) when is_number_kind(kind) do
    if in_range?(kind, number),
      do: {:ok, bytes(kind, number)},
      else: {:error, "is #{inspect(number)}, not in #{inspect(Map.fetch!(@ranges, kind))}"}
  end

  defp enum(kind, value, _names) when is_integer(value), do: write(kind, value)
  defp enum(_kind, value, names), do: no_name(value, names)

  defp no_name(value, names) do
    {:error, "cannot hold #{inspect(value)}#{Names.choice(value, Map.keys(names))}"}
  end

  defp ip(address, bits) do
    parts = Tuple.to_list(address)

    if Enum.all?(parts, &(is_integer(&1) and &1 in 0..(2 ** bits - 1))),
      do: {:ok, for(part <- parts, into: <<>>, do: <<part::size(bits)>>)},
      else: no_ip(address)
  end

  defp no_ip(address) do
    {:error,
     "cannot hold #{inspect(address)}, only an address of :inet, for example {127, 0, 0, 1}"}
  end

  defp bytes(:u8, n), do: <<n>>
  defp bytes(:u16, n), do: <<n::native-16>>
  defp bytes(:u32, n), do: <<n::native-32>>
  defp bytes(:u64, n), do: <<n::native-64>>
  defp bytes(:s8, n), do: <<n>>
  defp bytes(:s16, n), do: <<n::native-16>>
  defp bytes(:s32, n), do: <<n::native-32>>
  defp bytes(:s64, n), do: <<n::native-64>>
  defp bytes(:be16, n), do: <<n::big-16>>
  defp bytes(:be32, n), do: <<n::big-32>>
  defp bytes(:be64, n), do: <<n::big-64>>
end
