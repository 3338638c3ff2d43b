defmodule LinxNative.Mount.NativeTest do
  @moduledoc """
  The native functions of `LinxNative.Mount`: their arguments, and a reload of the module.
  """

  use LinxNative.Test.Case

  alias LinxNative.Native

  @moduletag :mount

  # Passes a term of another type in each position of each function.
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

  test "the module can be loaded again" do
    for _ <- 1..3 do
      assert {:error, {:target, 2, "/nowhere", []}} =
               Native.set(:host, {"/nowhere", false}, false, {1, 0, 0}, 5000)

      :code.purge(Native)
      {:module, Native} = :code.load_file(Native)
    end
  end
end
