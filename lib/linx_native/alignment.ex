defmodule LinxNative.Alignment do
  @moduledoc false

  # Each message and each attribute begins at a multiple of 4 bytes: `NLMSG_ALIGNTO` and `NLA_ALIGNTO` of `linux/netlink.h`.
  # Their length fields do not count the padding.

  @alignment 4

  @doc """
  Returns the zeros that pad `size` bytes: 0 to 3 of them.
  """
  @spec padding(size :: non_neg_integer) :: binary
  def padding(size), do: <<0::size(missing(size))-unit(8)>>

  @doc """
  Splits `binary` into its first `size` bytes and the rest after their padding. `binary` must have that many bytes.

  At the end of `binary` the padding may be too short or absent. Its content is ignored.
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
