defmodule LinxNative.Alignment do
  @moduledoc """
  The padding between messages, and between attributes.

  Each begins at a multiple of 4 bytes: `NLMSG_ALIGNTO` and `NLA_ALIGNTO` of `linux/netlink.h`.
  Their lengths do not count the padding.
  """

  @alignment 4

  @doc """
  The zeros that follow `size` bytes: 0 to 3 of them.
  """
  @spec padding(size :: non_neg_integer) :: binary
  def padding(size), do: <<0::size(missing(size))-unit(8)>>

  @doc """
  The first `size` bytes of `binary`, which has as many, and what comes after their padding.

  At the end of `binary` the padding may be cut short or absent. What its bytes are does not
  matter.
  """
  @spec take(binary, size :: non_neg_integer) :: {binary, binary}
  def take(binary, size) do
    {taken, rest} = :erlang.split_binary(binary, size)
    {taken, skip(rest, missing(size))}
  end

  defp skip(binary, count) when byte_size(binary) <= count, do: <<>>
  defp skip(binary, count), do: binary_part(binary, count, byte_size(binary) - count)

  defp missing(size), do: Integer.mod(-size, @alignment)
end
