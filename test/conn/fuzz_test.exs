defmodule LinxNative.Conn.FuzzTest do
  @moduledoc """
  Decodes a million netlink messages and attributes: random bytes, valid ones, and valid ones with
  flipped bits, cut, spliced, or with other lengths.
  """

  # Not async: the atoms are those of the whole VM.
  use ExUnit.Case

  alias LinxNative.{Attributes, Error, Message}

  @moduletag :conn
  @inputs 1_000_000
  @warm_up 10_000
  @valid 2_000
  @longest 200
  @seed {2026, 11, 23}

  @inner %{1 => :u8, 2 => :string, 3 => :flag, 4 => {:list, :s16}}
  @schema %{
    0 => :binary,
    1 => :u8,
    2 => :u16,
    3 => :u32,
    4 => :u64,
    5 => :s8,
    6 => :s16,
    7 => :s32,
    8 => :s64,
    9 => :be16,
    10 => :be32,
    11 => :be64,
    12 => :string,
    13 => :flag,
    14 => {:nested, @inner},
    15 => {:nested, %{1 => {:nested, @inner}, 2 => :u32}},
    16 => {:list, :be32},
    17 => {:list, {:nested, @inner}},
    18 => {:list, {:list, :string}}
  }
  @kinds Enum.to_list(@schema)

  @unsigned %{u8: 8, u16: 16, u32: 32, u64: 64, be16: 16, be32: 32, be64: 64}
  @signed %{s8: 8, s16: 16, s32: 32, s64: 64}

  # Edges of what a length field may be compared with.
  @lengths [0, 1, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, 19, 20, 21, 24, 32, 199, 200, 201] ++
             [0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

  test "#{@inputs} inputs are decoded or refused as documented, and make no atom" do
    :rand.seed(:exsss, @seed)
    valid = List.to_tuple(for n <- 1..@valid, do: valid(n))

    take_apart(valid, @warm_up)
    before = :erlang.system_info(:atom_count)
    seen = take_apart(valid, @inputs)
    assert :erlang.system_info(:atom_count) == before

    # Inputs that all fail alike would prove little.
    for function <- [:message, :attributes, :schema],
        outcome <- outcomes(function),
        do: assert({function, outcome, seen[{function, outcome}]} > {function, outcome, 100})
  end

  defp outcomes(:schema), do: [:bad_value | outcomes(:attributes)]
  defp outcomes(_function), do: [:ok, :short_header, :bad_length, :truncated]

  defp take_apart(valid, count) do
    Enum.reduce(1..count, %{}, fn _, seen ->
      original = elem(valid, random(@valid))
      input = input(random(6), original, valid)
      messages = Message.decode(input)
      attributes = Attributes.decode(input)
      typed = Attributes.decode(input, @schema)

      unless messages?(messages, input) and attributes?(attributes, input) and
               typed?(typed, input) and agree?(attributes, typed) and
               same?(original, input, messages, typed) do
        flunk(inspect({input, messages, attributes, typed}, limit: :infinity))
      end

      seen |> see(:message, messages) |> see(:attributes, attributes) |> see(:schema, typed)
    end)
  end

  defp see(seen, function, result) do
    Map.update(seen, {function, outcome(result)}, 1, &(&1 + 1))
  end

  defp outcome({:ok, _}), do: :ok
  defp outcome({:error, %Error{detail: {:bad_value, _type}}}), do: :bad_value
  defp outcome({:error, %Error{detail: what}}), do: what

  ## What an input is made of

  defp input(0, {_form, bytes}, _valid), do: bytes
  defp input(1, _original, _valid), do: :rand.bytes(random(@longest + 1))
  defp input(2, {_form, bytes}, _valid), do: flip(bytes, 1 + random(4))
  defp input(3, {_form, bytes}, _valid), do: binary_part(bytes, 0, random(byte_size(bytes) + 1))
  defp input(4, {_form, bytes}, _valid), do: overwrite(bytes)

  defp input(5, {_form, bytes}, valid) do
    {_form, other} = elem(valid, random(@valid))
    joined = bytes <> other
    start = random(byte_size(joined) + 1)
    binary_part(joined, start, random(min(@longest, byte_size(joined) - start) + 1))
  end

  defp flip(bytes, count) when count == 0 or bytes == "", do: bytes

  defp flip(bytes, count) do
    {head, <<byte, tail::binary>>} = :erlang.split_binary(bytes, random(byte_size(bytes)))
    flipped = Bitwise.bxor(byte, Enum.random([1, 2, 4, 8, 16, 32, 64, 128]))
    flip(<<head::binary, flipped, tail::binary>>, count - 1)
  end

  # Headers begin at multiples of 4.
  defp overwrite(bytes) do
    at = 4 * random(div(byte_size(bytes), 4) + 1)
    bits = Enum.random([16, 32])
    length = Enum.random(@lengths)

    case :erlang.split_binary(bytes, min(at, byte_size(bytes))) do
      {head, <<_::16, tail::binary>>} when bits == 16 ->
        <<head::binary, length::native-16, tail::binary>>

      {head, <<_::32, tail::binary>>} when bits == 32 ->
        <<head::binary, length::native-32, tail::binary>>

      _ ->
        bytes
    end
  end

  ## What is valid

  defp valid(n) do
    form = if rem(n, 2) == 0, do: :messages, else: :attributes

    case valid_bytes(form) do
      bytes when byte_size(bytes) <= @longest -> {form, bytes}
      _too_long -> valid(n)
    end
  end

  defp valid_bytes(:messages) do
    for _ <- 1..random(4)//1, into: "", do: Message.encode(valid_message())
  end

  defp valid_bytes(:attributes), do: Attributes.encode(valid_attributes())

  defp valid_message do
    %Message{
      type: random(0x10000),
      flags: random(0x10000),
      sequence: random(0x100000000),
      port_id: random(0x100000000),
      body: Enum.random([Attributes.encode(valid_attributes()), :rand.bytes(random(20))])
    }
  end

  defp valid_attributes do
    for _ <- 1..random(6)//1 do
      {type, kind} = Enum.random(@kinds)
      {type, encodable(kind, valid_value(kind))}
    end
  end

  defp valid_value({:list, kind}), do: for(_ <- 1..random(4)//1, do: valid_value(kind))

  defp valid_value({:nested, schema}) do
    for {type, kind} <- schema, random(2) == 0, do: {type, valid_value(kind)}
  end

  defp valid_value(:flag), do: true
  defp valid_value(:binary), do: :rand.bytes(random(20))
  defp valid_value(:string), do: String.duplicate("x", random(20))
  defp valid_value(kind) when is_map_key(@unsigned, kind), do: random(2 ** @unsigned[kind])

  defp valid_value(kind) when is_map_key(@signed, kind) do
    random(2 ** @signed[kind]) - 2 ** (@signed[kind] - 1)
  end

  # Converts a result of decode/2 to an argument of encode/1.
  defp encodable({:list, kind}, values) do
    {:nested, for({value, n} <- Enum.with_index(values), do: {n, encodable(kind, value)})}
  end

  defp encodable({:nested, schema}, attributes) do
    {:nested, for({type, value} <- attributes, do: {type, encodable(schema[type], value)})}
  end

  defp encodable(:flag, true), do: :flag
  defp encodable(:binary, bytes), do: bytes
  defp encodable(kind, value), do: {kind, value}

  ## What is documented

  defp messages?({:ok, messages}, _input), do: Enum.all?(messages, &message?/1)
  defp messages?({:error, error}, input), do: error?(error, input)
  defp messages?(_other, _input), do: false

  defp message?(%Message{} = message) do
    message.type in 0..0xFFFF and message.flags in 0..0xFFFF and
      message.sequence in 0..0xFFFFFFFF and message.port_id in 0..0xFFFFFFFF and
      is_binary(message.body)
  end

  defp message?(_other), do: false

  defp attributes?({:ok, attributes}, _input), do: fits?({:nested, %{}}, attributes)
  defp attributes?({:error, error}, input), do: error?(error, input)
  defp attributes?(_other, _input), do: false

  defp typed?({:ok, attributes}, _input), do: fits?({:nested, @schema}, attributes)

  defp typed?({:error, %Error{detail: {:bad_value, type}} = error}, input) do
    type in 0..0x3FFF and error?(%{error | detail: :bad_length}, input)
  end

  defp typed?(other, input), do: attributes?(other, input)

  defp error?(%Error{reason: :malformed, detail: what, offset: offset}, input) do
    what in [:short_header, :bad_length, :truncated] and
      offset in 0..(byte_size(input) - 1)//4
  end

  defp fits?({:nested, schema}, attributes) when is_list(attributes) do
    Enum.all?(attributes, fn {type, value} ->
      type in 0..0x3FFF and fits?(Map.get(schema, type, :binary), value)
    end)
  end

  defp fits?({:list, kind}, values) when is_list(values), do: Enum.all?(values, &fits?(kind, &1))
  defp fits?(:flag, value), do: value == true
  defp fits?(:binary, value), do: is_binary(value)
  defp fits?(:string, value), do: is_binary(value) and :binary.match(value, <<0>>) == :nomatch

  defp fits?(kind, value) when is_map_key(@unsigned, kind) do
    is_integer(value) and value >= 0 and value < 2 ** @unsigned[kind]
  end

  defp fits?(kind, value) when is_map_key(@signed, kind) do
    half = 2 ** (@signed[kind] - 1)
    is_integer(value) and value >= -half and value < half
  end

  defp fits?(_kind, _value), do: false

  # With a schema the same attributes are found, or what is wrong is found earlier.
  defp agree?({:ok, attributes}, {:ok, typed}), do: types(attributes) == types(typed)
  defp agree?({:ok, _attributes}, {:error, _}), do: true
  defp agree?({:error, error}, {:error, typed}), do: typed.offset <= error.offset
  defp agree?({:error, _}, {:ok, _typed}), do: false

  defp types(attributes), do: for({type, _value} <- attributes, do: type)

  # Unchanged input encodes to the same bytes again.
  defp same?({:messages, input}, input, messages, _typed) do
    {:ok, messages} = messages
    for(message <- messages, into: "", do: Message.encode(message)) == input
  end

  defp same?({:attributes, input}, input, _messages, typed) do
    {:ok, attributes} = typed
    {:nested, encodable} = encodable({:nested, @schema}, attributes)
    Attributes.encode(encodable) == input
  end

  defp same?(_original, _mutated, _messages, _typed), do: true

  defp random(count), do: :rand.uniform(count) - 1
end
