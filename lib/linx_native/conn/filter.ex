defmodule LinxNative.Conn.Filter do
  @moduledoc """
  Filters for a socket: classic BPF programs that are checked before they reach the kernel.

  The kernel runs the program of a socket (`SO_ATTACH_FILTER` of `socket(7)`) on every datagram
  before it queues the datagram. The program returns how many bytes of the datagram to keep; 0 drops
  it. See `linux/filter.h`, `linux/bpf_common.h` and Documentation/networking/filter.rst of the
  kernel.

  The filter applies to all datagrams: a filter that drops error messages (type 2) also drops the
  acknowledgements of requests. It runs once per datagram, on the first of its messages.

  ## Offsets and byte order

  Offsets count from the start of the first netlink header: the length is at 0, the type at 4, the
  flags at 6, the sequence number at 8, the port id at 12, the body at 16. A load beyond the end
  returns 0, so the datagram is dropped.

  A load takes the bytes in network order, but netlink headers are in the order of the machine. So
  convert a constant with `native16/1` or `native32/1` before you compare it with a field of the
  header. On a little-endian machine `native16(16)` is 4096. This program keeps messages of type 16
  (`RTM_NEWLINK`) and errors:

      import LinxNative.Conn.Filter

      {:ok, program} =
        assemble([
          load(:u16, 4),
          jump_equal(native16(16), 2, 0),
          jump_equal(native16(2), 1, 0),
          return(0),
          return(0xFFFFFFFF)
        ])

  After this conversion only tests for equality and for bits are correct. Use `jump_greater/3` and
  `jump_at_least/3` with single bytes, with `load_length/0`, and with fields in network order.

  This module has functions for the instructions that such filters need. Any other instruction of
  classic BPF can be given as a tuple. `assemble/1` finds values that are out of range.
  """

  @typedoc """
  An instruction: `{code, jt, jf, k}` of `struct sock_filter`.

    * `code` - what to do, 0 to 65535
    * `jt`, `jf` - how many instructions a conditional jump skips if its condition is true, or
      false: 0 to 255
    * `k` - a constant, an offset in bytes, a cell of the scratch memory or, for a jump without a
      condition, how many instructions to skip: 0 to 4294967295
  """
  @type instruction :: {code :: 0..0xFFFF, jt :: 0..0xFF, jf :: 0..0xFF, k :: 0..0xFFFF_FFFF}

  @typedoc """
  Why the kernel would refuse an instruction.

    * `:bad_instruction` - it is not a tuple of four numbers in their ranges
    * `:unknown_opcode` - its code does not exist in classic BPF
    * `:division_by_zero` - it divides by the constant 0, or takes the remainder
    * `:bad_shift` - it shifts by a constant of 32 or more
    * `:bad_memory` - its cell is not in 0 to 15 (`BPF_MEMWORDS`)
    * `:bad_jump` - it jumps beyond the last instruction
    * `:unknown_ancillary` - it loads from 0xFFFFF000 (`SKF_AD_OFF`) or above, but not at the offset
      of one of the `SKF_AD_*`
    * `:no_return` - it is the last instruction, and not a return
    * `:unwritten_memory` - it reads a cell that was not written on every path to it. As in the
      kernel, a path continues from a return to the instruction after it.
  """
  @type reason ::
          :bad_instruction
          | :unknown_opcode
          | :division_by_zero
          | :bad_shift
          | :bad_memory
          | :bad_jump
          | :unknown_ancillary
          | :no_return
          | :unwritten_memory

  @typedoc """
  Why the kernel would refuse a program.

    * `:empty`, `:too_long` - it has no instruction, or more than 4096
    * `{index, reason}` - the instruction at `index`, which counts from 0, is wrong
  """
  @type refusal :: :empty | :too_long | {index :: 0..4095, reason}

  alias LinxNative.Error

  @max_instructions 4096
  @max_k 0xFFFF_FFFF
  @memory_cells 16
  @all_cells 0xFFFF
  @ancillary 0xFFFF_F000

  @ld_mem 0x60
  @ld_len 0x80
  @ldx_mem 0x61
  @st 0x02
  @stx 0x03
  @div_k 0x34
  @mod_k 0x94
  @and_k 0x54
  @lsh_k 0x64
  @rsh_k 0x74
  @ja 0x05
  @jeq_k 0x15
  @jgt_k 0x25
  @jge_k 0x35
  @jset_k 0x45
  @ret_k 0x06
  @ret_a 0x16

  # BPF_LD | BPF_ABS with BPF_W, BPF_H and BPF_B.
  @ld_abs %{u32: 0x20, u16: 0x28, u8: 0x30}
  @ld_abs_codes Map.values(@ld_abs)

  # BPF_JEQ, BPF_JGT, BPF_JGE and BPF_JSET, each with a constant (BPF_K) and with X (BPF_X).
  @conditional [@jeq_k, 0x1D, @jgt_k, 0x2D, @jge_k, 0x3D, @jset_k, 0x4D]

  # The opcodes that chk_code_allowed() of net/core/filter.c accepts.
  @loads @ld_abs_codes ++ [0x40, 0x48, 0x50, 0x00, @ld_mem, @ld_len]
  @loads_of_x [0x01, @ldx_mem, 0x81, 0xB1]
  @arithmetic_k [0x04, 0x14, 0x24, @div_k, 0x44, @and_k, @lsh_k, @rsh_k, @mod_k, 0xA4]
  @arithmetic_x [0x0C, 0x1C, 0x2C, 0x3C, 0x4C, 0x5C, 0x6C, 0x7C, 0x9C, 0xAC]
  @negation 0x84
  @transfers [0x07, 0x87]
  @returns [@ret_k, @ret_a]
  @opcodes @loads ++
             @loads_of_x ++
             [@st, @stx, @negation, @ja] ++
             @arithmetic_k ++ @arithmetic_x ++ @conditional ++ @transfers ++ @returns

  @doc """
  Checks a list of instructions and returns the program as an array of `struct sock_filter`.

  The array has 8 bytes for each of the 1 to 4096 instructions (`BPF_MAXINSNS`), in the byte order of
  the machine.

  The checks are the same as in `bpf_check_classic()` and `check_load_and_stores()` of
  net/core/filter.c. The kernel returns EINVAL for all of them, without the reason. The kernel also
  limits the memory of a socket's filters (`net.core.optmem_max`), and counts the old filter until it
  is replaced. So a program of thousands of instructions may still fail with ENOMEM.

  ## Errors

  A `LinxNative.Error` with the reason `:filter`, and a `t:refusal/0` as its `detail`. `:no_return` and
  then `:unwritten_memory` are checked last.
  """
  @spec assemble([instruction]) :: {:ok, binary} | {:error, Error.t()}
  def assemble(instructions) when is_list(instructions) do
    count = length(instructions)

    with :ok <- check_count(count),
         :ok <- check_each(instructions, 0, count),
         :ok <- check_last(instructions, count),
         :ok <- check_memory(instructions, 0, 0, %{}) do
      {:ok, for(instruction <- instructions, into: <<>>, do: bytes(instruction))}
    else
      {:error, refusal} -> {:error, %Error{reason: :filter, detail: refusal}}
    end
  end

  defp check_count(0), do: {:error, :empty}
  defp check_count(count) when count > @max_instructions, do: {:error, :too_long}
  defp check_count(_count), do: :ok

  defp check_each([], _index, _count), do: :ok

  defp check_each([instruction | rest], index, count) do
    case check(instruction, count - index - 1) do
      :ok -> check_each(rest, index + 1, count)
      reason -> {:error, {index, reason}}
    end
  end

  # `left` is the number of instructions that follow.
  defp check({code, jt, jf, k}, left)
       when code in 0..0xFFFF and jt in 0..0xFF and jf in 0..0xFF and k in 0..@max_k do
    cond do
      code not in @opcodes -> :unknown_opcode
      code in @conditional and max(jt, jf) >= left -> :bad_jump
      true -> check_constant(code, k, left)
    end
  end

  defp check(_instruction, _left), do: :bad_instruction

  defp check_constant(code, 0, _left) when code in [@div_k, @mod_k], do: :division_by_zero
  defp check_constant(code, k, _left) when code in [@lsh_k, @rsh_k] and k >= 32, do: :bad_shift

  defp check_constant(code, k, _left)
       when code in [@ld_mem, @ldx_mem, @st, @stx] and k >= @memory_cells do
    :bad_memory
  end

  defp check_constant(@ja, k, left) when k >= left, do: :bad_jump

  # The offsets go from SKF_AD_PROTOCOL, 0, to SKF_AD_VLAN_TPID, 60.
  defp check_constant(code, k, _left)
       when code in @ld_abs_codes and k >= @ancillary and
              (k - @ancillary > 60 or rem(k, 4) != 0) do
    :unknown_ancillary
  end

  defp check_constant(_code, _k, _left), do: :ok

  defp check_last(instructions, count) do
    {code, _jt, _jf, _k} = List.last(instructions)
    if code in @returns, do: :ok, else: {:error, {count - 1, :no_return}}
  end

  # `written` has a bit for each cell that was written on every path to this instruction. `ahead` has,
  # for each target of an earlier jump, the bits that were written on all these jumps.
  defp check_memory([], _index, _written, _ahead), do: :ok

  defp check_memory([{code, _jt, _jf, k} = instruction | rest], index, written, ahead) do
    {arriving, ahead} = Map.pop(ahead, index, @all_cells)
    written = Bitwise.band(written, arriving)

    if code in [@ld_mem, @ldx_mem] and Bitwise.band(written, cell(k)) == 0 do
      {:error, {index, :unwritten_memory}}
    else
      {written, ahead} = step(instruction, index + 1, written, ahead)
      check_memory(rest, index + 1, written, ahead)
    end
  end

  defp step({code, _jt, _jf, k}, _next, written, ahead) when code in [@st, @stx] do
    {Bitwise.bor(written, cell(k)), ahead}
  end

  # The next instruction does not follow a jump, so the jump does not restrict the cells there.
  defp step({@ja, _jt, _jf, k}, next, written, ahead) do
    {@all_cells, arrive(ahead, next + k, written)}
  end

  defp step({code, jt, jf, _k}, next, written, ahead) when code in @conditional do
    {@all_cells, ahead |> arrive(next + jt, written) |> arrive(next + jf, written)}
  end

  defp step(_instruction, _next, written, ahead), do: {written, ahead}

  defp arrive(ahead, index, written) do
    Map.update(ahead, index, written, &Bitwise.band(&1, written))
  end

  defp cell(k), do: Bitwise.bsl(1, k)

  defp bytes({code, jt, jf, k}), do: <<code::native-16, jt, jf, k::native-32>>

  @doc """
  Loads the `:u8`, `:u16` or `:u32` at an offset in bytes into the accumulator, in network order.

  If the load reaches beyond the end of the datagram, the program returns 0.
  """
  @spec load(:u8 | :u16 | :u32, offset :: 0..0xFFFF_FFFF) :: instruction
  def load(size, offset) when is_map_key(@ld_abs, size), do: {@ld_abs[size], 0, 0, offset}

  @doc """
  Loads the length of the datagram in bytes into the accumulator.
  """
  @spec load_length() :: instruction
  def load_length, do: {@ld_len, 0, 0, 0}

  @doc """
  Clears the bits of the accumulator that are not set in `k`.
  """
  @spec bit_and(k :: 0..0xFFFF_FFFF) :: instruction
  def bit_and(k), do: {@and_k, 0, 0, k}

  @doc """
  Skips `count` instructions.
  """
  @spec jump(count :: 0..4094) :: instruction
  def jump(count), do: {@ja, 0, 0, count}

  @doc """
  Skips `jt` instructions if the accumulator is `k`, else `jf`.
  """
  @spec jump_equal(k :: 0..0xFFFF_FFFF, jt :: 0..0xFF, jf :: 0..0xFF) :: instruction
  def jump_equal(k, jt, jf), do: {@jeq_k, jt, jf, k}

  @doc """
  Skips `jt` instructions if the accumulator is greater than `k`, else `jf`; both are unsigned.
  """
  @spec jump_greater(k :: 0..0xFFFF_FFFF, jt :: 0..0xFF, jf :: 0..0xFF) :: instruction
  def jump_greater(k, jt, jf), do: {@jgt_k, jt, jf, k}

  @doc """
  Skips `jt` instructions if the accumulator is `k` or greater, else `jf`; both are unsigned.
  """
  @spec jump_at_least(k :: 0..0xFFFF_FFFF, jt :: 0..0xFF, jf :: 0..0xFF) :: instruction
  def jump_at_least(k, jt, jf), do: {@jge_k, jt, jf, k}

  @doc """
  Skips `jt` instructions if the accumulator has any of the bits of `k`, else `jf`.
  """
  @spec jump_any_bit(k :: 0..0xFFFF_FFFF, jt :: 0..0xFF, jf :: 0..0xFF) :: instruction
  def jump_any_bit(k, jt, jf), do: {@jset_k, jt, jf, k}

  @doc """
  Ends the program and keeps the first `k` bytes of the datagram, or all of it if it is shorter. 0 drops the datagram.
  """
  @spec return(k :: 0..0xFFFF_FFFF) :: instruction
  def return(k), do: {@ret_k, 0, 0, k}

  @doc """
  Returns the value that `load(:u16, offset)` gives for a field of a netlink header with the value `n`, 0 to 65535.

  Another number raises `FunctionClauseError`.
  """
  @spec native16(0..0xFFFF) :: 0..0xFFFF
  def native16(n) when n in 0..0xFFFF do
    <<loaded::big-16>> = <<n::native-16>>
    loaded
  end

  @doc """
  Returns the value that `load(:u32, offset)` gives for a field of a netlink header with the value `n`, 0 to 4294967295.

  Another number raises `FunctionClauseError`.
  """
  @spec native32(0..0xFFFF_FFFF) :: 0..0xFFFF_FFFF
  def native32(n) when n in 0..0xFFFF_FFFF do
    <<loaded::big-32>> = <<n::native-32>>
    loaded
  end
end
