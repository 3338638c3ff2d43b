defmodule LinxNative.MessageTest do
  use ExUnit.Case, async: true

  alias LinxNative.{Alignment, Error, Message}

  @moduletag :conn

  @max16 0xFFFF
  @max32 0xFFFF_FFFF
  @header 16

  # The constants of linux/netlink.h.
  @constants [
    request: 0x01,
    multi: 0x02,
    ack: 0x04,
    echo: 0x08,
    dump_intr: 0x10,
    dump_filtered: 0x20,
    root: 0x100,
    match: 0x200,
    atomic: 0x400,
    dump: 0x300,
    replace: 0x100,
    excl: 0x200,
    create: 0x400,
    append: 0x800,
    nonrec: 0x100,
    bulk: 0x200,
    capped: 0x100,
    ack_tlvs: 0x200
  ]

  doctest Message

  defp malformed(what, offset) do
    {:error, %Error{reason: :malformed, detail: what, offset: offset}}
  end

  describe "encode" do
    test "a header in native order, then the body" do
      message = %Message{type: 1, flags: 2, sequence: 3, port_id: 4, body: "body"}

      assert Message.encode(message) ==
               <<20::native-32, 1::native-16, 2::native-16, 3::native-32, 4::native-32, "body">>
    end

    test "a message of nothing is a header of zeros with its length" do
      assert Message.encode(%Message{}) == <<16::native-32, 0::96>>
    end

    test "pads with zeros to a multiple of 4, which the length does not count" do
      for {body, padding} <- [{"", ""}, {"1", <<0::24>>}, {"12", <<0::16>>}, {"123", <<0>>}] do
        length = @header + byte_size(body)
        assert <<^length::native-32, _::96, rest::binary>> = Message.encode(%Message{body: body})
        assert rest == body <> padding
      end
    end

    test "takes iodata as a body" do
      assert Message.encode(%Message{body: [?a, ["b", [] | "c"]]}) ==
               Message.encode(%Message{body: "abc"})
    end

    test "takes both ends of every range, and nothing beyond" do
      for {field, max} <- [type: @max16, flags: @max16, sequence: @max32, port_id: @max32] do
        for value <- [0, max] do
          message = struct!(Message, [{field, value}])
          assert Message.decode(Message.encode(message)) == {:ok, [message]}
        end

        for value <- [-1, max + 1, 1.0, nil, "1"] do
          message = struct!(Message, [{field, value}])
          said = "#{field} of a message is #{inspect(value)}, not in 0..#{max}"
          assert_raise ArgumentError, said, fn -> Message.encode(message) end
        end
      end
    end

    test "refuses a length that does not fit, before it copies the body" do
      mebibyte = String.duplicate("x", 1_048_576)
      body = List.duplicate(mebibyte, 4096)
      said = "length of a message is 4294967312, not in 0..4294967295"
      assert_raise ArgumentError, said, fn -> Message.encode(%Message{body: body}) end
    end

    test "refuses a body that is not iodata" do
      for body <- [nil, 1, [256], :atom] do
        assert_raise ArgumentError, fn -> Message.encode(%Message{body: body}) end
      end
    end
  end

  describe "decode" do
    test "no message" do
      assert Message.decode("") == {:ok, []}
    end

    test "all messages of a datagram, in order" do
      messages = for n <- 0..9, do: %Message{type: n, body: String.duplicate("x", n)}
      datagram = Enum.map_join(messages, &Message.encode/1)
      assert Message.decode(datagram) == {:ok, messages}
    end

    test "the last message may lack a part of its padding, or all of it" do
      message = %Message{type: 7, body: "12345"}
      first = Message.encode(message)

      for size <- [@header + 5, @header + 6, @header + 7, @header + 8] do
        datagram = first <> binary_part(first, 0, size)
        assert Message.decode(datagram) == {:ok, [message, message]}
      end
    end

    test "ignores the content of the padding" do
      assert {:ok, [%{body: "1"}, %{body: ""}]} =
               Message.decode(<<17::native-32, 0::96, "1xyz", 16::native-32, 0::96>>)
    end

    test "short_header: fewer bytes than a header, at its offset" do
      for size <- 1..15, left = String.duplicate("x", size) do
        assert Message.decode(left) == malformed(:short_header, 0)

        after_one = Message.encode(%Message{body: "1"}) <> left
        assert Message.decode(after_one) == malformed(:short_header, 20)
      end
    end

    test "bad_length: below that of a header, at its offset" do
      for length <- [0, 1, 15] do
        bad = <<length::native-32, 0::96>>
        assert Message.decode(bad) == malformed(:bad_length, 0)

        after_two = String.duplicate(Message.encode(%Message{body: "1234"}), 2) <> bad
        assert Message.decode(after_two) == malformed(:bad_length, 40)
      end
    end

    test "truncated: beyond the end, at its offset" do
      for length <- [17, 18, 0x7FFF_FFFF, 0x8000_0000, @max32] do
        bad = <<length::native-32, 0::96>>
        assert Message.decode(bad) == malformed(:truncated, 0)
        after_one = Message.encode(%Message{}) <> bad
        assert Message.decode(after_one) == malformed(:truncated, 16)
      end
    end

    test "random datagrams decode to what was encoded" do
      :rand.seed(:exsss, {2026, 11, 23})

      for _ <- 1..2_000 do
        messages = for _ <- 1..:rand.uniform(5), do: random_message()
        datagram = Enum.map_join(messages, &Message.encode/1)
        assert Message.decode(datagram) == {:ok, messages}
      end
    end
  end

  describe "flags" do
    test "are those of the kernel" do
      for {name, bits} <- @constants, do: assert({name, Message.flags([name])} == {name, bits})
    end

    test "add up, each once" do
      assert Message.flags([]) == 0
      assert Message.flags([:request, :ack, :request]) == 0x05
      assert Message.flags([:dump, :root, :create, :append]) == 0xF00
    end

    test "are set if all their bits are set" do
      for {name, bits} <- @constants do
        assert Message.flag?(%Message{flags: bits}, name)
        assert Message.flag?(%Message{flags: @max16}, name)
        refute Message.flag?(%Message{flags: @max16 - bits}, name)
      end

      refute Message.flag?(%Message{flags: Message.flags([:root])}, :dump)
      refute Message.flag?(%Message{flags: Message.flags([:match])}, :dump)
    end

    test "raise for unknown names" do
      said =
        "no flag of a message is named :req, did you mean :request? There are: :ack, :ack_tlvs, :append, :atomic, :bulk, :capped, :create, " <>
          ":dump, :dump_filtered, :dump_intr, :echo, :excl, :match, :multi, :nonrec, :replace, :request, :root"

      assert_raise ArgumentError, said, fn -> Message.flags([:ack, :req]) end
      assert_raise ArgumentError, said, fn -> Message.flag?(%Message{}, :req) end
      assert_raise ArgumentError, fn -> Message.flags(["ack"]) end
    end
  end

  describe "validate" do
    test "same sequence and port id" do
      for id <- [0, 1, @max32] do
        message = %Message{sequence: id, port_id: id}
        assert Message.validate(message, %{message | type: 3, body: "other"}) == :ok
      end
    end

    test "another sequence number is the first error" do
      request = %Message{sequence: 1, port_id: 5}

      assert {:error, %Error{reason: :sequence}} =
               Message.validate(request, %{request | sequence: 2})

      assert {:error, %Error{reason: :sequence}} =
               Message.validate(request, %{request | sequence: 0})

      assert {:error, %Error{reason: :sequence}} = Message.validate(request, %Message{})

      assert {:error, %Error{reason: :sequence}} =
               Message.validate(%{request | sequence: 0}, request)
    end

    test "another port id" do
      request = %Message{sequence: 1, port_id: 5}

      assert {:error, %Error{reason: :port_id}} =
               Message.validate(request, %{request | port_id: 6})

      assert {:error, %Error{reason: :port_id}} =
               Message.validate(request, %{request | port_id: 0})
    end

    test "any port id if the request has port id 0" do
      request = %Message{sequence: 1, port_id: 0}

      for id <- [0, 5, @max32],
          do: assert(Message.validate(request, %{request | port_id: id}) == :ok)
    end
  end

  describe "inspect" do
    test "names type and flags, and shows their numbers" do
      for {protocol, type, flags, said} <- [
            {:route, 16, [:request, :ack, :create, :excl],
             ":newlink (16), flags: [:request, :ack, :excl, :create] (0x605)"},
            {:route, 16, [:multi], ":newlink (16), flags: [:multi] (0x2)"},
            {:route, 18, [:request, :dump], ":getlink (18), flags: [:request, :dump] (0x301)"},
            {:route, 18, [:root, :atomic], ":getlink (18), flags: [:root, :atomic] (0x500)"},
            {:route, 17, [:nonrec, :bulk], ":dellink (17), flags: [:nonrec, :bulk] (0x300)"},
            {:route, 19, [:replace], ":setlink (19), flags: [:replace] (0x100)"},
            {:route, 23, [], "type: 23, flags: [] (0x0)"},
            {:route, 2, [:capped, :ack_tlvs], ":error (2), flags: [:capped, :ack_tlvs] (0x300)"},
            {nil, 3, [:multi, :dump_intr], ":done (3), flags: [:multi, :dump_intr] (0x12)"},
            {:generic, 16, [:request, :dump], ":nlctrl (16), flags: [:request, :dump] (0x301)"},
            {:generic, 21, [:echo, :dump_filtered],
             "type: 21, flags: [:echo, :dump_filtered] (0x28)"},
            {nil, 16, [:request, :dump], "type: 16, flags: [:request, :dump] (0x301)"},
            # For an unknown type the meaning of these bits is unknown too.
            {nil, 16, [:create, :excl], "type: 16, flags: [0x600] (0x600)"},
            {nil, 16, [:create, :excl, :replace], "type: 16, flags: [0x700] (0x700)"}
          ] do
        message = %Message{protocol: protocol, type: type, flags: Message.flags(flags)}

        assert inspect(message, width: :infinity) ==
                 "#LinxNative.Message<#{said}, sequence: 0, port_id: 0, body: \"\">"
      end

      assert inspect(%Message{flags: 0x8040}) =~ "flags: [0x8040] (0x8040)"
    end

    test "every type of rtnetlink has its name" do
      for {name, number} <- LinxNative.Rtnetlink.Types.types() do
        assert inspect(%Message{protocol: :route, type: number}) =~
                 "<#{inspect(name)} (#{number}),"
      end
    end

    test "shows the other fields, within the given limits" do
      message = %Message{type: 16, sequence: 1, port_id: 2, body: [<<1, 2, 3>>, "blue"]}
      assert inspect(message) =~ ~s(sequence: 1, port_id: 2, body: [<<1, 2, 3>>, "blue"]>)
      body = String.duplicate(<<255>>, 100)
      assert inspect(%Message{body: body}, limit: 3) =~ "body: <<255, 255, 255, ...>>>"
      assert inspect(%Message{body: body}, pretty: true, width: 40) =~ "\n  body: <<"
    end

    test "shows a struct that is not a valid message too" do
      for odd <- [type: nil, flags: :ack, type: -1, flags: 0x10000] do
        assert inspect(struct!(Message, [odd])) =~ "%LinxNative.Message{"
      end

      assert inspect(%Message{sequence: nil, body: nil}) =~ "sequence: nil, port_id: 0, body: nil"
    end
  end

  test "padding to a multiple of 4" do
    for {size, zeros} <- [{0, 0}, {1, 3}, {2, 2}, {3, 1}, {4, 0}, {5, 3}] do
      assert Alignment.padding(size) == <<0::size(zeros)-unit(8)>>
    end

    assert Alignment.take("1___56", 1) == {"1", "56"}
    assert Alignment.take("1234", 4) == {"1234", ""}
    for left <- ["", "_", "__", "___"], do: assert(Alignment.take("1" <> left, 1) == {"1", ""})
  end

  defp random_message do
    %Message{
      type: :rand.uniform(@max16 + 1) - 1,
      flags: :rand.uniform(@max16 + 1) - 1,
      sequence: :rand.uniform(@max32 + 1) - 1,
      port_id: :rand.uniform(@max32 + 1) - 1,
      body: :rand.bytes(:rand.uniform(40) - 1)
    }
  end
end
