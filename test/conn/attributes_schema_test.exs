defmodule LinxNative.AttributesSchemaTest do
  @moduledoc """
  Attributes by the kinds and names of a schema.
  """

  use ExUnit.Case, async: true

  import LinxNative.Test.Attributes

  alias LinxNative.Attributes

  @moduletag :conn

  @max_type 16_383

  describe "decode with a schema" do
    test "numbers in their order and with their sign" do
      binary =
        raw(1, <<0xFE>>) <>
          raw(2, <<0xFE>>) <>
          raw(3, <<0xFFFE::native-16>>) <>
          raw(4, <<0xFFFE::native-16>>) <> raw(5, <<1, 2>>)

      schema = %{1 => :u8, 2 => :s8, 3 => :u16, 4 => :s16, 5 => :be16}

      assert Attributes.decode(binary, schema) ==
               {:ok, [{1, 0xFE}, {2, -2}, {3, 0xFFFE}, {4, -2}, {5, 0x0102}]}
    end

    test "numbers of another size" do
      for {kind, range} <- integers() do
        size = size(range)

        for bytes <- [<<>>, <<0::size(size - 1)-unit(8)>>, <<0::size(size + 1)-unit(8)>>] do
          assert Attributes.decode(raw(7, bytes), %{7 => kind}) ==
                   malformed({:bad_value, 7}, 0)
        end
      end
    end

    test "strings up to the first NUL or the end" do
      for {bytes, string} <- [
            {"", ""},
            {<<0>>, ""},
            {"eth0", "eth0"},
            {<<"eth0", 0>>, "eth0"},
            {<<"eth0", 0, 0, 0, 0, 0>>, "eth0"},
            {<<255, 254>>, <<255, 254>>}
          ] do
        assert Attributes.decode(raw(3, bytes), %{3 => :string}) == {:ok, [{3, string}]}
      end

      for bytes <- [<<0, 1>>, <<"eth0", 0, "x">>, <<"eth0", 0, 0, "x", 0>>] do
        assert Attributes.decode(raw(3, bytes), %{3 => :string}) ==
                 malformed({:bad_value, 3}, 0)
      end
    end

    test "flags, which are empty" do
      assert Attributes.decode(raw(3, ""), %{3 => :flag}) == {:ok, [{3, true}]}

      for bytes <- [<<0>>, <<1::native-32>>] do
        assert Attributes.decode(raw(3, bytes), %{3 => :flag}) == malformed({:bad_value, 3}, 0)
      end
    end

    test "bytes for unknown types, and for the kind :binary" do
      binary = raw(1, "one") <> raw(0x8002, "two")
      assert Attributes.decode(binary, %{1 => :binary}) == {:ok, [{1, "one"}, {2, "two"}]}
    end

    test "attributes of attributes" do
      binary = raw(0x8001, raw(2, <<9>>) <> raw(3, raw(4, "deep") <> raw(5, "")) <> raw(2, <<8>>))
      schema = %{1 => {:nested, %{2 => :u8, 3 => {:nested, %{5 => :flag}}}}}
      expected = [{1, [{2, 9}, {3, [{4, "deep"}, {5, true}]}, {2, 8}]}]
      assert Attributes.decode(binary, schema) == {:ok, expected}
      assert Attributes.decode(raw(1, ""), schema) == {:ok, [{1, []}]}
    end

    test "lists, whatever the types in them" do
      binary = raw(1, raw(0, <<7>>) <> raw(1, <<8>>) <> raw(1, <<9>>))
      assert Attributes.decode(binary, %{1 => {:list, :u8}}) == {:ok, [{1, [7, 8, 9]}]}
      assert Attributes.decode(raw(1, ""), %{1 => {:list, :u8}}) == {:ok, [{1, []}]}

      binary = raw(1, raw(0, raw(2, <<7>>)) <> raw(1, raw(2, <<8>>) <> raw(3, "x")))

      assert Attributes.decode(binary, %{1 => {:list, {:nested, %{2 => :u8}}}}) ==
               {:ok, [{1, [[{2, 7}], [{2, 8}, {3, "x"}]]}]}

      assert Attributes.decode(binary, %{1 => {:list, {:list, :binary}}}) ==
               {:ok, [{1, [[<<7>>], [<<8>>, "x"]]}]}
    end

    test "every error has its offset in the whole input, however deep it is nested" do
      # 8 bytes of another, the header of 1, 8 bytes in it, the header of 2: then what is wrong.
      deep = fn bad -> raw(9, "1234") <> raw(1, raw(8, "1") <> raw(2, bad)) end
      schema = %{1 => {:nested, %{2 => {:list, :u16}}}}

      for {bad, reason} <- [
            {<<1>>, :short_header},
            {<<3::native-16, 0::16>>, :bad_length},
            {<<9::native-16, 0::16, 1>>, :truncated},
            {raw(6, <<1>>), {:bad_value, 6}}
          ] do
        assert Attributes.decode(deep.(bad), schema) == malformed(reason, 24)

        after_one = raw(0, <<1::16>>) <> bad
        assert Attributes.decode(deep.(after_one), schema) == malformed(reason, 32)
      end
    end

    test "the first error is returned" do
      binary = raw(1, "bad") <> <<1>>
      assert Attributes.decode(binary, %{1 => :u8}) == malformed({:bad_value, 1}, 0)
    end

    test "attributes have the names of the schema, others their types" do
      binary = raw(3, <<"eth0", 0>>) <> raw(4, <<1500::native-32>>) <> raw(5, "a") <> raw(6, "b")
      schema = %{:ifname => {3, :string}, :mtu => {4, :u32}, 6 => :string}

      assert Attributes.decode(binary, schema) ==
               {:ok, [{:ifname, "eth0"}, {:mtu, 1500}, {5, "a"}, {6, "b"}]}

      assert Attributes.decode(raw(4, "12345"), schema) == malformed({:bad_value, :mtu}, 0)
    end

    test "addresses, of 4 and of 16 bytes" do
      schema = %{1 => :ip}
      six = {0x2001, 0xDB8, 0, 0, 0, 0, 0, 1}

      for {bytes, address} <- [
            {<<192, 0, 2, 1>>, {192, 0, 2, 1}},
            {<<0x20010DB8::32, 1::96>>, six}
          ] do
        assert Attributes.decode(raw(1, bytes), schema) == {:ok, [{1, address}]}
      end

      for size <- [0, 3, 5, 15, 17], bytes = <<0::size(size)-unit(8)>> do
        assert Attributes.decode(raw(1, bytes), schema) == malformed({:bad_value, 1}, 0)
      end
    end

    test "names of numbers, and numbers without a name" do
      schema = %{1 => {:enum, :u8, [down: 2, up: 6]}}
      binary = raw(1, <<6>>) <> raw(1, <<2>>) <> raw(1, <<7>>)
      assert Attributes.decode(binary, schema) == {:ok, [{1, :up}, {1, :down}, {1, 7}]}
      assert Attributes.decode(raw(1, <<0, 6>>), schema) == malformed({:bad_value, 1}, 0)
    end

    test "names of bits, in order, and bits without a name" do
      # A name for no bit is never one of those that are set.
      schema = %{1 => {:bits, :u32, %{none: 0, up: 1, running: 0x40, loopback: 8}}}

      for {number, names} <- [
            {0, []},
            {1, [:up]},
            {0x49, [:up, :loopback, :running]},
            {0x80000009, [:up, :loopback, 0x80000000]},
            {0x06, [0x06]}
          ] do
        assert Attributes.decode(raw(1, <<number::native-32>>), schema) == {:ok, [{1, names}]}
        assert Attributes.encode([{1, names}], schema) == raw(1, <<number::native-32>>)
      end
    end

    test "random attributes decode to what was encoded" do
      :rand.seed(:exsss, {2026, 11, 23})

      for _ <- 1..2_000 do
        given = for _ <- 1..:rand.uniform(6), do: random(3)
        schema = Map.new(given, fn {type, _value, kind, _decoded} -> {type, kind} end)
        # Leaves out attributes whose type another one has in the schema.
        given = Enum.filter(given, fn {type, _, kind, _} -> schema[type] == kind end)
        binary = Attributes.encode(for {type, value, _kind, _} <- given, do: {type, value})
        decoded = for {type, _value, _kind, decoded} <- given, do: {type, decoded}
        assert Attributes.decode(binary, schema) == {:ok, decoded}
      end
    end
  end

  describe "encode with a schema" do
    @schema %{
      name: {3, :string},
      mtu: {4, :u32},
      mac: {1, :binary},
      up: {5, :flag},
      address: {6, :ip},
      state: {16, {:enum, :u8, [down: 2, up: 6]}},
      flags: {8, {:bits, :u32, [up: 1, running: 0x40]}},
      info: {18, {:nested, %{kind: {1, :string}, more: {2, {:nested, %{}}}}}},
      names: {9, {:list, :string}}
    }

    test "is the inverse of decode" do
      attributes = [
        name: "eth0",
        mtu: 1500,
        mac: <<1, 2, 3, 4, 5, 6>>,
        up: true,
        address: {192, 0, 2, 1},
        address: {0x2001, 0xDB8, 0, 0, 0, 0, 0, 0xFFFF},
        state: :up,
        state: 7,
        flags: [:up, :running, 0x100],
        info: [kind: "bridge", more: []],
        names: ["a", "b"],
        names: []
      ]

      binary = Attributes.encode(attributes, @schema)
      assert Attributes.decode(binary, @schema) == {:ok, attributes}
      assert Attributes.decode(binary, Attributes.schema(@schema)) == {:ok, attributes}
      assert Attributes.encode(attributes, Attributes.schema(@schema)) == binary
    end

    test "lays attributes out as the kernel does" do
      for {attribute, bytes} <- [
            {{:name, "eth0"}, raw(3, <<"eth0", 0>>)},
            {{:mtu, 1500}, raw(4, <<1500::native-32>>)},
            {{:up, true}, raw(5, "")},
            {{:address, {192, 0, 2, 1}}, raw(6, <<192, 0, 2, 1>>)},
            {{:address, {1, 2, 3, 4, 5, 6, 7, 0x8000}},
             raw(6, <<1::16, 2::16, 3::16, 4::16, 5::16, 6::16, 7::16, 0x8000::16>>)},
            {{:state, :down}, raw(16, <<2>>)},
            {{:flags, 0x41}, raw(8, <<0x41::native-32>>)},
            {{:info, [kind: "veth"]}, raw(0x8012, raw(1, <<"veth", 0>>))},
            {{:names, ["a", "b"]}, raw(0x8009, raw(1, <<"a", 0>>) <> raw(2, <<"b", 0>>))}
          ] do
        assert {attribute, Attributes.encode([attribute], @schema)} == {attribute, bytes}
      end
    end

    test "takes the type instead of the name, and unknown types with their kinds" do
      assert Attributes.encode([{3, "eth0"}], @schema) ==
               Attributes.encode([name: "eth0"], @schema)

      assert Attributes.encode([{99, {:u16, 1}}], @schema) == raw(99, <<1::native-16>>)

      assert Attributes.encode([info: [more: [{1, {:u8, 5}}]]], @schema) ==
               raw(0x8012, raw(0x8002, raw(1, <<5>>)))
    end

    test "refuses an unknown name, with the known names" do
      said =
        "no attribute is named :nmae, did you mean :name? There are: " <>
          ":address, :flags, :info, :mac, :mtu, :name, :names, :state, :up"

      assert_raise ArgumentError, said, fn -> Attributes.encode([nmae: "eth0"], @schema) end

      said = "no attribute of attribute :info is named :type. There are: :kind, :more"

      assert_raise ArgumentError, said, fn ->
        Attributes.encode([info: [type: "veth"]], @schema)
      end
    end

    test "refuses a value of another kind, with the valid ones" do
      for {attribute, said} <- [
            {{:name, 5}, "attribute :name cannot hold 5, only a string"},
            {{:name, {:string, "a"}},
             ~s(attribute :name cannot hold {:string, "a"}, only a string)},
            {{:name, <<"a", 0>>}, "attribute :name has a NUL in its string"},
            {{:mtu, -1}, "attribute :mtu is -1, not in 0..4294967295"},
            {{:mac, [1, 2]}, "attribute :mac cannot hold [1, 2], only a binary"},
            {{:up, false}, "attribute :up cannot hold false: a flag is true, or left out"},
            {{:address, "::1"},
             ~s(attribute :address cannot hold "::1", only an address of :inet, for example {127, 0, 0, 1})},
            {{:address, {1, 2, 3, 256}},
             "attribute :address cannot hold {1, 2, 3, 256}, only an address of :inet, for example {127, 0, 0, 1}"},
            {{:address, {1, 2, 3}},
             "attribute :address cannot hold {1, 2, 3}, only an address of :inet, for example {127, 0, 0, 1}"},
            {{:state, :downn},
             "attribute :state cannot hold :downn, did you mean :down? There are: :down, :up"},
            {{:state, 256}, "attribute :state is 256, not in 0..255"},
            {{:flags, [:up, :runing]},
             "attribute :flags cannot hold :runing, did you mean :running? There are: :running, :up"},
            {{:flags, :up},
             "attribute :flags cannot hold :up, only a number or a list of: :running, :up"},
            {{:flags, [0x1_0000_0000]}, "attribute :flags is 4294967296, not in 0..4294967295"},
            {{:info, "x"}, ~s(attribute :info cannot hold "x", only a list of attributes)},
            {{:names, "x"}, ~s(attribute :names cannot hold "x", only a list)},
            {{:names, ["a", 2]}, "attribute 2 of :names cannot hold 2, only a string"},
            {{:info, [kind: 1]}, "attribute :kind of :info cannot hold 1, only a string"}
          ] do
        assert_raise ArgumentError, said, fn -> Attributes.encode([attribute], @schema) end
      end
    end
  end

  describe "a wrong schema is refused, whatever the attributes are:" do
    test "an unknown kind" do
      for {schema, said} <- [
            {%{3 => :sting}, "attribute 3: :sting is no kind, did you mean :string? There are: "},
            {%{name: {3, :u128}}, "attribute :name: :u128 is no kind"},
            {%{3 => {:nested, %{1 => nil}}}, "attribute 1 of 3: nil is no kind"},
            {%{3 => {:list, "u8"}}, ~s(attribute 3: "u8" is no kind)},
            {%{3 => {:enum, :string, []}}, "attribute 3: {:enum, :string, []} is no kind"},
            {%{3 => {:enum, :u8, [up: 256]}},
             "attribute 3: {:up, 256} is no name with its number of the kind :u8"},
            {%{3 => {:bits, :u8, [1]}}, "attribute 3: 1 is no name with its number"},
            {%{3 => {:nested, []}}, "attribute 3: a schema is a map of types or names, not []"},
            {%{-1 => :u8}, "a schema has types in 0..16383"},
            {%{0x4000 => :u8}, "a schema has types in 0..16383"},
            {%{"ifname" => {3, :string}}, "a schema has types in 0..16383"},
            {%{ifname: :string}, "a schema has types in 0..16383"},
            {%{:name => {3, :string}, 3 => :u8}, "attribute 3 is in the schema twice: 3, :name"},
            {[ifname: {3, :string}],
             "a schema is a map of types or names, not [ifname: {3, :string}]"}
          ] do
        for call <- [
              fn -> Attributes.schema(schema) end,
              fn -> Attributes.decode("", schema) end,
              fn -> Attributes.encode([], schema) end
            ] do
          error = assert_raise ArgumentError, call
          assert String.starts_with?(error.message, said), error.message
        end
      end
    end
  end

  defp size(first..last//1), do: div(length(Integer.digits(last - first, 2)), 8)

  # {type, value to encode, kind, what it is decoded to}
  defp random(depth) do
    type = :rand.uniform(@max_type + 1) - 1
    {value, kind, decoded} = random_value(:rand.uniform(if depth == 0, do: 4, else: 6), depth)
    {type, value, kind, decoded}
  end

  defp random_value(1, _depth) do
    {kind, first..last//1} = Enum.random(integers())
    n = first + :rand.uniform(last - first + 1) - 1
    {{kind, n}, kind, n}
  end

  defp random_value(2, _depth) do
    string = for <<byte <- :rand.bytes(:rand.uniform(20))>>, byte != 0, into: "", do: <<byte>>
    {{:string, string}, :string, string}
  end

  defp random_value(3, _depth) do
    bytes = :rand.bytes(:rand.uniform(20) - 1)
    {{:net_byteorder, bytes}, :binary, bytes}
  end

  defp random_value(4, _depth), do: {:flag, :flag, true}

  defp random_value(5, depth) do
    {type, value, kind, decoded} = random(depth - 1)
    {{:nested, [{type, value}]}, {:nested, %{type => kind}}, [{type, decoded}]}
  end

  defp random_value(6, depth) do
    {type, value, kind, decoded} = random(depth - 1)
    {{:nested, [{type, value}, {0, value}]}, {:list, kind}, [decoded, decoded]}
  end
end
