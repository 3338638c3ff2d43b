defmodule LinxNative.Mount.LibraryTest do
  @moduledoc """
  What the file of `LinxNative.Native` offers, and how it is to be mapped.
  """

  use ExUnit.Case, async: true

  alias LinxNative.{Loader, Native}
  alias LinxNative.Test.Library

  @moduletag :mount

  @path "#{Loader.path("linx_native")}.so"

  @functions """
  bind/6 dirty_io
  mount/6 dirty_io
  move/3 dirty_io
  pivot_root/3 dirty_io
  set/5 dirty_io
  umount/4 dirty_io
  """

  test "it offers its functions, with their scheduling, to any VM that loads the others" do
    assert {"Elixir.LinxNative.Native", minor, @functions} = Library.offer(@path)
    assert minor <= 16
  end

  test "one symbol" do
    assert Library.exported(@path) == ["nif_init"]
  end

  test "it stays mapped, has all its symbols from the start, and nothing to write to that is run" do
    headers = Library.headers(@path)
    assert headers =~ "NODELETE"
    assert headers =~ "BIND_NOW"
    assert headers =~ "GNU_RELRO"
    assert headers =~ ~r/GNU_STACK .* RW +0/
    refute headers =~ ~r/LOAD .* RWE /
  end

  # Of another type in each place of each function.
  test "a wrong argument is badarg, before anything is done" do
    target = {:host, "/nowhere", false, nil}
    finish = {{0, 0, 0}, nil}

    for {function, arguments} <- [
          mount: [{"tmpfs", [], []}, :host, nil, finish, target, 0],
          bind: [:host, {"/nowhere", false}, false, finish, target, 0],
          set: [:host, {"/nowhere", false}, false, {0, 0, 0}, 0],
          move: [{"/nowhere", false}, target, 0],
          umount: [:host, {"/nowhere", false}, 0, 0],
          pivot_root: [{"/nowhere", false}, target, 0]
        ],
        place <- 0..(length(arguments) - 1),
        wrong <- [
          :other,
          -1,
          1.5,
          0x1_0000_0000_0000_0000,
          "a",
          <<0>>,
          [],
          [1 | 2],
          {},
          {:path, "a\0b"},
          {:fd, 0x8000_0000},
          {{0, 0, -1}, nil},
          {{0, 0, 0}, {:of, :none}},
          {{0, 0, 0}, {:lines, "0 0 1", 1}},
          {"/nowhere", :maybe},
          {:host, "/nowhere", false, :link},
          {"tmpfs", [{"a", 1}], []},
          {"tmpfs", [], [{"a", "b"}]},
          %{},
          self(),
          fn -> :ok end
        ],
        # Any flags are the kernel's to refuse.
        {function, place, wrong} != {:umount, 2, -1} do
      changed = List.replace_at(arguments, place, wrong)

      assert {function, place, wrong, answer(function, changed)} ==
               {function, place, wrong, :badarg}
    end
  end

  defp answer(function, arguments) do
    apply(Native, function, arguments)
  rescue
    ArgumentError -> :badarg
  end

  test "it can be loaded again" do
    for _ <- 1..3 do
      assert {:error, {:target, 2, "/nowhere", []}} =
               Native.set(:host, {"/nowhere", false}, false, {1, 0, 0}, 5000)

      :code.purge(Native)
      {:module, Native} = :code.load_file(Native)
    end
  end
end
