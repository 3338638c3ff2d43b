defmodule LinxNative.ErrnoTest do
  @moduledoc """
  Names of errnos, compared with those of the C library.
  """

  use LinxNative.Test.Case

  alias LinxNative.Errno

  @moduletag :conn

  # EWOULDBLOCK and the like are second names of some.
  test "each number below 134 has the name of the C library, or no name" do
    {output, 0} = Harness.run("errnos", [])

    names =
      for line <- String.split(output, "\n", trim: true), into: %{} do
        [number, name] = String.split(line)
        {String.to_integer(number), name |> String.downcase() |> String.to_atom()}
      end

    assert map_size(names) == 131

    for errno <- 1..133,
        do: assert({errno, Errno.name(errno)} == {errno, Map.get(names, errno, errno)})
  end

  test "of the numbers above, only the one that netlink returns has a name" do
    for errno <- 134..4095, errno != 524, do: assert(Errno.name(errno) == errno)
    assert Errno.name(524) == :enotsupp
  end
end
