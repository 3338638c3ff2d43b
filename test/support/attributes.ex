defmodule LinxNative.Test.Attributes do
  @moduledoc """
  Attributes as the kernel lays them out, written without `LinxNative.Attributes`.
  """

  alias LinxNative.Error

  @doc """
  Returns the bytes of an attribute.
  """
  def raw(type, payload) do
    length = 4 + byte_size(payload)
    padding = rem(4 - rem(length, 4), 4)
    <<length::native-16, type::native-16, payload::binary, 0::size(padding)-unit(8)>>
  end

  @doc """
  Returns the result of decoding malformed bytes.
  """
  def malformed(what, offset) do
    {:error, %Error{reason: :malformed, detail: what, offset: offset}}
  end

  @doc """
  Returns the kinds of integers, with their ranges.
  """
  def integers do
    [
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
    ]
  end
end
