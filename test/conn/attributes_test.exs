defmodule LinxNative.AttributesTest do
  @moduledoc """
  Attributes as bytes, and back, without a schema.
  """

  use ExUnit.Case, async: true

  import LinxNative.Test.Attributes

  alias LinxNative.Attributes

  @moduletag :conn

  @max_type 16_383
  @max_payload 65_531

  describe "encode" do
    test "nothing" do
      assert Attributes.encode([]) == ""
    end

    test "a header in native order, the value, and zeros that the length does not count" do
      for {value, padding} <- [{"", ""}, {"1", <<0::24>>}, {"12", <<0::16>>}, {"123", <<0>>}] do
        length = 4 + byte_size(value)

        assert Attributes.encode([{5, value}, {6, "next"}]) ==
                 <<length::native-16, 5::native-16>> <>
                   value <> padding <> <<8::native-16, 6::native-16, "next">>
      end
    end

    test "values" do
      for {value, payload} <- [
            {"bytes" <> <<0>>, "bytes" <> <<0>>},
            {:flag, ""},
            {{:string, "eth0"}, <<"eth0", 0>>},
            {{:string, ""}, <<0>>},
            {{:u8, 0xF1}, <<0xF1>>},
            {{:u16, 0xF102}, <<0xF102::native-16>>},
            {{:u32, 0xF1020304}, <<0xF1020304::native-32>>},
            {{:u64, 0xF102030405060708}, <<0xF102030405060708::native-64>>},
            {{:s8, -2}, <<0xFE>>},
            {{:s16, -2}, <<0xFFFE::native-16>>},
            {{:s32, -2}, <<0xFFFFFFFE::native-32>>},
            {{:s64, -2}, <<0xFFFFFFFFFFFFFFFE::native-64>>},
            {{:be16, 0x0102}, <<1, 2>>},
            {{:be32, 0x01020304}, <<1, 2, 3, 4>>},
            {{:be64, 0x0102030405060708}, <<1, 2, 3, 4, 5, 6, 7, 8>>}
          ] do
        assert {value, Attributes.encode([{1, value}])} == {value, raw(1, payload)}
        ordered = {:net_byteorder, value}
        assert {ordered, Attributes.encode([{1, ordered}])} == {ordered, raw(0x4001, payload)}
      end
    end

    test "attributes of attributes" do
      assert Attributes.encode([{1, {:nested, []}}]) == raw(0x8001, "")

      assert Attributes.encode([{1, {:nested, [{2, {:nested, [{3, "a"}]}}, {4, "b"}]}}]) ==
               raw(0x8001, raw(0x8002, raw(3, "a")) <> raw(4, "b"))
    end

    test "both ends of the types" do
      for type <- [0, @max_type] do
        assert Attributes.encode([{type, "1"}]) == raw(type, "1")
        assert Attributes.encode([{type, {:nested, []}}]) == raw(0x8000 + type, "")
      end

      for type <- [-1, @max_type + 1, 0x8001, 1.0, nil] do
        said = "type of an attribute is #{inspect(type)}, not in 0..16383"
        assert_raise ArgumentError, said, fn -> Attributes.encode([{type, "1"}]) end
      end

      said = "type of an attribute is :one, not in 0..16383; a name takes a schema that has it"
      assert_raise ArgumentError, said, fn -> Attributes.encode([{:one, "1"}]) end
    end

    test "both ends of the numbers" do
      for {kind, first..last//1} <- integers() do
        for n <- [first, last], schema = %{7 => kind} do
          assert Attributes.decode(Attributes.encode([{7, {kind, n}}]), schema) == {:ok, [{7, n}]}
        end

        for n <- [first - 1, last + 1, 1.0, nil, "1"] do
          said = "attribute 7 is #{inspect(n)}, not in #{first}..#{last}"
          assert_raise ArgumentError, said, fn -> Attributes.encode([{7, {kind, n}}]) end
        end
      end
    end

    test "both ends of the lengths" do
      longest = String.duplicate("x", @max_payload)
      assert Attributes.decode(Attributes.encode([{1, longest}])) == {:ok, [{1, longest}]}
      said = "attribute 1 has 65536 bytes, and 65535 is the most"
      assert_raise ArgumentError, said, fn -> Attributes.encode([{1, longest <> "x"}]) end
      assert_raise ArgumentError, said, fn -> Attributes.encode([{1, {:string, longest}}]) end

      # The length of the outer one: 65536 bytes of padded content, and its header.
      said = "attribute 2 has 65540 bytes, and 65535 is the most"
      nested = {:nested, [{1, longest}]}
      assert_raise ArgumentError, said, fn -> Attributes.encode([{2, nested}]) end
    end

    test "refuses a NUL in a string" do
      said = "attribute 3 has a NUL in its string"

      for string <- [<<0>>, <<"eth0", 0>>, <<"e", 0, "h">>] do
        assert_raise ArgumentError, said, fn -> Attributes.encode([{3, {:string, string}}]) end
      end
    end

    test "refuses what is not a value" do
      for value <- [
            nil,
            1,
            :flags,
            ["iodata"],
            {:string, ~c"eth0"},
            {:u128, 1},
            {:list, []},
            {:net_byteorder, {:nested, []}},
            {:net_byteorder, {:net_byteorder, "1"}}
          ] do
        assert_raise ArgumentError, ~r/^attribute 3 cannot hold /, fn ->
          Attributes.encode([{3, value}])
        end
      end
    end

    test "refuses a value without its kind, with a suggestion" do
      for {value, meant} <- [
            {1500, "cannot hold 1500: a number is given with its kind, as {:u32, 1500}"},
            {true, "cannot hold true: a flag is given as :flag"},
            {[{1, "a"}],
             ~s(cannot hold [{1, "a"}]: attributes are given as {:nested, attributes})},
            {{:u322, 5}, "cannot hold {:u322, 5}: :u322 is no kind of number, did you mean :u32?"}
          ] do
        error = assert_raise ArgumentError, fn -> Attributes.encode([{4, value}]) end
        assert String.starts_with?(error.message, "attribute 4 " <> meant)
      end
    end

    test "refuses a nested value, with its path" do
      attributes = [{18, {:nested, [{2, {:nested, [{1, 5}]}}]}}]

      assert_raise ArgumentError, ~r/^attribute 1 of 2 of 18 cannot hold 5: /, fn ->
        Attributes.encode(attributes)
      end
    end

    test "refuses what is not an attribute" do
      said = ~s(an attribute is {type or name, value}, not "eth0")
      assert_raise ArgumentError, said, fn -> Attributes.encode(["eth0"]) end
    end
  end

  describe "decode" do
    test "nothing" do
      assert Attributes.decode("") == {:ok, []}
      assert Attributes.decode("", %{1 => :u8}) == {:ok, []}
    end

    test "in order, with repeated types, without flag bits" do
      binary = raw(2, "a") <> raw(0x8001, "bb") <> raw(0x4002, "ccc") <> raw(0xFFFF, "")
      expected = [{2, "a"}, {1, "bb"}, {2, "ccc"}, {@max_type, ""}]
      assert Attributes.decode(binary) == {:ok, expected}
    end

    test "the last attribute may lack a part of its padding, or all of it" do
      for size <- 5..8, binary = binary_part(raw(1, "x"), 0, size) do
        assert Attributes.decode(binary) == {:ok, [{1, "x"}]}
        assert Attributes.decode(raw(2, "y") <> binary) == {:ok, [{2, "y"}, {1, "x"}]}
      end
    end

    test "short_header: fewer bytes than a header, at its offset" do
      for size <- 1..3, left = String.duplicate("x", size) do
        assert Attributes.decode(left) == malformed(:short_header, 0)
        assert Attributes.decode(raw(1, "12345") <> left) == malformed(:short_header, 12)
      end
    end

    test "bad_length: below that of a header, at its offset" do
      for length <- 0..3, bad = <<length::native-16, 0::16>> do
        assert Attributes.decode(bad) == malformed(:bad_length, 0)
        assert Attributes.decode(raw(1, "12345") <> bad) == malformed(:bad_length, 12)
      end
    end

    test "truncated: beyond the end, at its offset" do
      for length <- [5, 6, 0xFFFF], bad = <<length::native-16, 0::16>> do
        assert Attributes.decode(bad) == malformed(:truncated, 0)
        assert Attributes.decode(raw(1, "12345") <> bad) == malformed(:truncated, 12)
      end
    end
  end

  test "get returns the first attribute of a type" do
    attributes = [{1, "a"}, {2, false}, {1, "b"}, {3, nil}]
    assert Attributes.get(attributes, 1) == "a"
    assert Attributes.get(attributes, 2, true) == false
    assert Attributes.get(attributes, 3, :default) == nil
    assert Attributes.get(attributes, 4) == nil
    assert Attributes.get(attributes, 4, :default) == :default
    assert Attributes.get([], 1, 5) == 5
    assert Attributes.get([{1, "a"}, {:name, "b"}], :name) == "b"
  end
end
