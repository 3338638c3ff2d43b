defmodule LinxNative.Mount.Attributes do
  @moduledoc false

  # Converts names of mount attributes to the flags of `linux/mount.h`.

  import Bitwise

  alias LinxNative.Names

  @on %{ro: 0x1, nosuid: 0x2, nodev: 0x4, noexec: 0x8, nodiratime: 0x80, nosymfollow: 0x20_0000}
  @off %{rw: 0x1, suid: 0x2, dev: 0x4, exec: 0x8, diratime: 0x80, symfollow: 0x20_0000}
  # These are three values of one field, so only one of them can be set.
  @access_times %{relatime: 0, noatime: 0x10, strictatime: 0x20}
  @access_time 0x70

  @changes Map.merge(
             Map.merge(
               Map.new(@on, fn {name, flag} -> {name, {flag, 0, flag}} end),
               Map.new(@off, fn {name, flag} -> {name, {0, flag, flag}} end)
             ),
             Map.new(@access_times, fn {name, value} ->
               {name, {value, @access_time, @access_time}}
             end)
           )

  @propagations %{shared: 1 <<< 20, private: 1 <<< 18, slave: 1 <<< 19, unbindable: 1 <<< 17}

  @doc """
  Returns the flags that these names set and clear.
  """
  @spec parse!(term) :: {set :: non_neg_integer, clear :: non_neg_integer}
  def parse!(names) do
    if not is_list(names) or List.improper?(names), do: refuse!(names)

    {set, clear, _fields} =
      Enum.reduce(Enum.uniq(names), {0, 0, 0}, fn name, {set, clear, fields} ->
        {on, off, field} = Names.fetch!(@changes, name, "no attribute of a mount")

        if (fields &&& field) != 0 do
          raise ArgumentError, "attributes that contradict each other: #{inspect(names)}"
        end

        {set ||| on, clear ||| off, fields ||| field}
      end)

    {set, clear}
  end

  @spec refuse!(term) :: no_return
  defp refuse!(other) do
    raise ArgumentError,
          "attributes are a list of names, not #{inspect(other)}. There are: #{Names.list(Map.keys(@changes))}"
  end

  @doc """
  Returns the number of a propagation; 0, which changes nothing, for `nil`.
  """
  @spec propagation!(term) :: non_neg_integer
  def propagation!(nil), do: 0
  def propagation!(name), do: Names.fetch!(@propagations, name, "no propagation")
end
