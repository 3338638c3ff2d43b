defmodule LinxNative.Conn.FilterTest do
  use ExUnit.Case, async: true

  import LinxNative.Conn.Filter

  alias LinxNative.{Error, Message}

  @moduletag :conn

  # The combinations of linux/filter.h and linux/bpf_common.h.
  @known [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x0C, 0x14, 0x15, 0x16, 0x1C, 0x1D] ++
           [0x20, 0x24, 0x25, 0x28, 0x2C, 0x2D, 0x30, 0x34, 0x35, 0x3C, 0x3D, 0x40, 0x44, 0x45] ++
           [0x48, 0x4C, 0x4D, 0x50, 0x54, 0x5C, 0x60, 0x61, 0x64, 0x6C, 0x74, 0x7C, 0x80, 0x81] ++
           [0x84, 0x87, 0x94, 0x9C, 0xA4, 0xAC, 0xB1]

  @load_absolute [0x20, 0x28, 0x30]
  @load_memory [0x60, 0x61]
  @store [0x02, 0x03]
  @jump 0x05
  @conditional [0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D]
  @max32 0xFFFF_FFFF
  @return {0x06, 0, 0, 0}

  defp refused(refusal), do: {:error, %Error{reason: :filter, detail: refusal}}

  describe "a program" do
    test "has its instructions in native order" do
      program = [{0x28, 0, 0, 4}, {0x15, 0, 1, 0x01020304}, {0x06, 0, 0, @max32}, @return]

      assert assemble(program) ==
               {:ok,
                <<0x28::native-16, 0, 0, 4::native-32, 0x15::native-16, 0, 1,
                  0x01020304::native-32, 0x06::native-16, 0, 0, @max32::native-32,
                  0x06::native-16, 0, 0, 0::native-32>>}
    end

    test "has 1 to 4096 instructions" do
      assert assemble([]) == refused(:empty)

      for count <- [1, 2, 4095, 4096],
          do: assert(size(List.duplicate(@return, count)) == 8 * count)

      assert assemble(List.duplicate(@return, 4097)) == refused(:too_long)
    end

    test "ends with a return" do
      assert size([return(1)]) == 8
      assert size([{0x16, 0, 0, 0}]) == 8
      assert assemble([load_length()]) == refused({0, :no_return})
      assert assemble([@return, {0x07, 0, 0, 0}]) == refused({1, :no_return})
    end

    test "has only known opcodes" do
      for code <- 0..0xFFFF do
        # A cell is written first, and both jumps have their target.
        result = assemble([{0x02, 0, 0, 1}, {code, 0, 0, 1}, @return, @return])

        if code in @known,
          do: assert({code, elem(result, 0)} == {code, :ok}),
          else: assert({code, result} == {code, refused({1, :unknown_opcode})})
      end
    end

    test "has numbers in their ranges" do
      assert size([{0x04, 0xFF, 0xFF, @max32}, @return]) == 16

      for bad <- [
            {-1, 0, 0, 0},
            {0x10000, 0, 0, 0},
            {0x06, -1, 0, 0},
            {0x06, 256, 0, 0},
            {0x06, 0, -1, 0},
            {0x06, 0, 256, 0},
            {0x06, 0, 0, -1},
            {0x06, 0, 0, @max32 + 1},
            {0x06, 0, 0, nil},
            {0x06, 0, 0},
            :return
          ] do
        assert assemble([load_length(), bad, @return]) == refused({1, :bad_instruction})
      end
    end

    test "is refused with its first mistake; a missing return comes before memory" do
      assert assemble([{0x34, 0, 0, 0}, {0xFF, 0, 0, 0}]) == refused({0, :division_by_zero})
      assert assemble([{0x60, 0, 0, 0}, {0xFF, 0, 0, 0}]) == refused({1, :unknown_opcode})
      assert assemble([{0x60, 0, 0, 0}, load_length()]) == refused({1, :no_return})
    end
  end

  describe "a constant" do
    test "cannot be a divisor if it is 0" do
      for code <- [0x34, 0x94] do
        assert assemble([{code, 0, 0, 0}, @return]) == refused({0, :division_by_zero})
        for k <- [1, @max32], do: assert(size([{code, 0, 0, k}, @return]) == 16)
      end

      # The value of X is known only when the program runs.
      for code <- [0x3C, 0x9C], do: assert(size([{code, 0, 0, 0}, @return]) == 16)
    end

    test "shifts by 0 to 31" do
      for code <- [0x64, 0x74] do
        for k <- [0, 31], do: assert(size([{code, 0, 0, k}, @return]) == 16)

        for k <- [32, @max32] do
          assert assemble([{code, 0, 0, k}, @return]) == refused({0, :bad_shift})
        end
      end

      for code <- [0x6C, 0x7C], do: assert(size([{code, 0, 0, 32}, @return]) == 16)
    end

    test "names one of 16 cells" do
      for code <- @store ++ @load_memory do
        for k <- [0, 15], do: assert(size([{0x02, 0, 0, k}, {code, 0, 0, k}, @return]) == 24)

        for k <- [16, @max32] do
          assert assemble([{code, 0, 0, k}, @return]) == refused({0, :bad_memory})
        end
      end
    end

    test "is an offset or an ancillary load" do
      ancillary = 0xFFFF_F000
      known = for n <- 0..15, do: ancillary + 4 * n

      for code <- @load_absolute do
        for k <- [0, 0x8000_0000, ancillary - 1 | known] do
          assert size([{code, 0, 0, k}, @return]) == 16
        end

        for k <- [ancillary + 1, ancillary + 59, ancillary + 61, ancillary + 64, @max32] do
          assert assemble([{code, 0, 0, k}, @return]) == refused({0, :unknown_ancillary})
        end
      end

      # The offset of an indirect load is known only when the program runs.
      for code <- [0x40, 0x48, 0x50], do: assert(size([{code, 0, 0, @max32}, @return]) == 16)
    end
  end

  describe "a jump" do
    test "without a condition stays inside the program" do
      for k <- [0, 1, 2], do: assert(size([{@jump, 0, 0, k} | List.duplicate(@return, 3)]) == 32)

      for k <- [3, 4, @max32 - 1, @max32] do
        assert assemble([{@jump, 0, 0, k} | List.duplicate(@return, 3)]) ==
                 refused({0, :bad_jump})
      end

      far = List.duplicate(@return, 4095)
      assert size([{@jump, 0, 0, 4094} | far]) == 32_768
      assert assemble([{@jump, 0, 0, 4095} | far]) == refused({0, :bad_jump})
    end

    test "with a condition stays inside the program on both ways" do
      for code <- @conditional do
        for {jt, jf} <- [{0, 0}, {2, 0}, {0, 2}, {2, 2}] do
          assert size([{code, jt, jf, 0} | List.duplicate(@return, 3)]) == 32
        end

        for {jt, jf} <- [{3, 0}, {0, 3}, {255, 0}, {0, 255}] do
          assert assemble([@return, {code, jt, jf, 0} | List.duplicate(@return, 3)]) ==
                   refused({1, :bad_jump})
        end

        far = List.duplicate(@return, 256)
        assert size([{code, 255, 255, 0} | far]) == 2_056
        assert assemble([{code, 255, 0, 0} | tl(far)]) == refused({0, :bad_jump})
      end
    end

    test "is not the last instruction" do
      for code <- [@jump | @conditional] do
        assert assemble([@return, {code, 0, 0, 0}]) == refused({1, :bad_jump})
      end
    end
  end

  describe "a cell" do
    @write {0x02, 0, 0, 3}
    @read {0x60, 0, 0, 3}

    test "can be read if it was written" do
      for store <- @store, read <- @load_memory do
        assert size([{store, 0, 0, 3}, {read, 0, 0, 3}, @return]) == 24

        assert assemble([{store, 0, 0, 4}, {read, 0, 0, 3}, @return]) ==
                 refused({1, :unwritten_memory})

        assert assemble([{read, 0, 0, 3}, {store, 0, 0, 3}, @return]) ==
                 refused({0, :unwritten_memory})
      end
    end

    test "is unwritten if one of the paths did not write it" do
      for code <- @conditional do
        # True skips the write, false does not.
        assert assemble([{code, 1, 0, 0}, @write, @read, @return]) ==
                 refused({2, :unwritten_memory})

        assert assemble([{code, 0, 1, 0}, @write, @read, @return]) ==
                 refused({2, :unwritten_memory})
      end

      assert assemble([{@jump, 0, 0, 1}, @write, @read, @return]) ==
               refused({2, :unwritten_memory})
    end

    test "is written if both paths wrote it" do
      both = [{0x15, 0, 2, 0}, @write, {@jump, 0, 0, 1}, @write, @read, @return]
      assert size(both) == 48
      assert size([@write, {0x15, 1, 0, 0}, {0x02, 0, 0, 5}, @read, @return]) == 40

      other = List.replace_at(both, 3, {0x02, 0, 0, 4})
      assert assemble(other) == refused({4, :unwritten_memory})
    end

    test "counts as written in unreachable code" do
      assert size([{@jump, 0, 0, 1}, @read, @return]) == 24
    end

    test "is unwritten after a return that was reached without writing it, as in the kernel" do
      # Only the jump gets to the read, and it comes from the write.
      program = [{0x15, 0, 2, 0}, @write, {@jump, 0, 0, 1}, @return, @read, @return]
      assert assemble(program) == refused({4, :unwritten_memory})
    end
  end

  describe "readable programs" do
    test "have known instructions" do
      for {instruction, expected} <- [
            {load(:u8, 1), {0x30, 0, 0, 1}},
            {load(:u16, 2), {0x28, 0, 0, 2}},
            {load(:u32, @max32), {0x20, 0, 0, @max32}},
            {load_length(), {0x80, 0, 0, 0}},
            {bit_and(7), {0x54, 0, 0, 7}},
            {jump(9), {0x05, 0, 0, 9}},
            {jump_equal(1, 2, 3), {0x15, 2, 3, 1}},
            {jump_greater(1, 2, 3), {0x25, 2, 3, 1}},
            {jump_at_least(1, 2, 3), {0x35, 2, 3, 1}},
            {jump_any_bit(1, 2, 3), {0x45, 2, 3, 1}},
            {return(5), {0x06, 0, 0, 5}}
          ] do
        assert instruction == expected
      end

      assert_raise FunctionClauseError, fn -> load(:u64, 0) end
    end

    test "compare fields in native order by native16 and native32" do
      for n <- [0, 1, 0x0102, 0xFFFF], do: assert(<<native16(n)::big-16>> == <<n::native-16>>)

      for n <- [0, 1, 0x01020304, @max32] do
        assert <<native32(n)::big-32>> == <<n::native-32>>
      end

      for n <- [-1, 0x10000], do: assert_raise(FunctionClauseError, fn -> native16(n) end)
      for n <- [-1, @max32 + 1], do: assert_raise(FunctionClauseError, fn -> native32(n) end)
    end

    test "keep messages by their type" do
      program = [
        load(:u16, 4),
        jump_equal(native16(16), 2, 0),
        jump_equal(native16(2), 1, 0),
        return(0),
        return(@max32)
      ]

      assert size(program) == 40
      for type <- [2, 16], do: assert(run(program, %Message{type: type}) == @max32)
      for type <- [0, 3, 17, 0x1000, 0x0200], do: assert(run(program, %Message{type: type}) == 0)
    end

    test "keep messages by their flags" do
      program = [load(:u16, 6), jump_any_bit(native16(0x05), 0, 1), return(1), return(0)]
      for flags <- [0x01, 0x04, 0x305], do: assert(run(program, %Message{flags: flags}) == 1)
      for flags <- [0x00, 0x02, 0x500], do: assert(run(program, %Message{flags: flags}) == 0)

      program = [
        load(:u16, 6),
        bit_and(native16(0x300)),
        jump_equal(native16(0x300), 0, 1),
        jump(1),
        return(0),
        return(1)
      ]

      for flags <- [0x300, 0x305], do: assert(run(program, %Message{flags: flags}) == 1)
      for flags <- [0x100, 0x005], do: assert(run(program, %Message{flags: flags}) == 0)
    end

    test "keep messages by their sequence number" do
      program = [load(:u32, 8), jump_equal(native32(70_000), 0, 1), return(1), return(0)]
      assert run(program, %Message{sequence: 70_000}) == 1
      assert run(program, %Message{sequence: 70_001}) == 0
    end

    test "drop datagrams that are too short to load from" do
      program = [load(:u8, 16), jump_greater(5, 0, 1), return(1), return(0)]
      assert run(program, %Message{body: <<6>>}) == 1
      assert run(program, %Message{body: <<5>>}) == 0
      assert run(program, %Message{}) == 0
    end

    test "keep datagrams by their length" do
      program = [load_length(), jump_at_least(20, 0, 1), return(1), return(0)]
      assert run(program, %Message{}) == 0
      assert run(program, %Message{body: <<1>>}) == 1
    end
  end

  defp size(program) do
    assert {:ok, assembled} = assemble(program)
    byte_size(assembled)
  end

  # Runs a program as the kernel does. It knows the instructions that the module has functions for.
  defp run(program, message) do
    assert {:ok, _} = assemble(program)
    run(program, Message.encode(message), 0)
  end

  defp run([{code, jt, jf, k} | rest], datagram, a) do
    case code do
      0x20 -> loaded(rest, datagram, k, 4)
      0x28 -> loaded(rest, datagram, k, 2)
      0x30 -> loaded(rest, datagram, k, 1)
      0x80 -> run(rest, datagram, byte_size(datagram))
      0x54 -> run(rest, datagram, Bitwise.band(a, k))
      0x05 -> rest |> Enum.drop(k) |> run(datagram, a)
      0x15 -> rest |> Enum.drop(if a == k, do: jt, else: jf) |> run(datagram, a)
      0x25 -> rest |> Enum.drop(if a > k, do: jt, else: jf) |> run(datagram, a)
      0x35 -> rest |> Enum.drop(if a >= k, do: jt, else: jf) |> run(datagram, a)
      0x45 -> rest |> Enum.drop(if Bitwise.band(a, k) != 0, do: jt, else: jf) |> run(datagram, a)
      0x06 -> k
    end
  end

  defp loaded(rest, datagram, offset, size) do
    if offset + size <= byte_size(datagram) do
      run(rest, datagram, datagram |> binary_part(offset, size) |> :binary.decode_unsigned())
    else
      0
    end
  end
end
