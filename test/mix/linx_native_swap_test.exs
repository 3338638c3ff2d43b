defmodule Mix.Tasks.LinxNative.SwapTest do
  # The shell of Mix is one for the whole VM.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias LinxNative.Test.{Folder, LinxFolder}
  alias Mix.Tasks.LinxNative.Swap

  @moduletag :rust
  @names ~w(linx_mount.so netlink_socket.so)

  setup do
    priv = LinxFolder.make!(Folder.make!())
    for name <- @names, do: File.write!(Path.join(priv, name), "the C #{name}")
    {:ok, priv: priv, sums: sums(priv)}
  end

  test "prints what it did, and nothing to do the second time", %{priv: priv} do
    both =
      "linx_mount.so, netlink_socket.so in #{priv}; running VMs keep the files that they have loaded\n"

    assert said([priv]) == "linx_native: swapped #{both}"
    assert said([priv]) == "linx_native: nothing to do in #{priv}\n"
    assert said([priv, "--restore"]) == "linx_native: restored #{both}"
    assert said([priv, "--restore"]) == "linx_native: nothing to do in #{priv}\n"
  end

  test "--status prints which files are in place, with their checksums, and changes nothing",
       context do
    %{priv: priv, sums: [mount, socket]} = context

    assert said([priv, "--status"]) ==
             "linx_mount.so: Linx\n  in place  #{mount}\nnetlink_socket.so: Linx\n  in place  #{socket}\n"

    refute File.exists?(Path.join(Path.dirname(priv), "swapped_out"))

    said([priv])
    [ours, _] = sums(priv)

    text =
      "linx_mount.so: linx_native; the original is kept\n  in place  #{ours}\n  kept      #{mount}\n"

    assert said([priv, "--status"]) =~ text

    File.rm!(Path.join(priv, "linx_mount.so"))
    File.write!(Path.join(priv, "linx_mount.so"), "a newer C library")
    [newer, _] = sums(priv)

    assert said([priv, "--status"]) =~
             "linx_mount.so: Linx, built since the last swap; an older original is kept\n" <>
               "  in place  #{newer}\n  kept      #{mount}\nnetlink_socket.so: linx_native; "

    assert said([priv, "--restore"]) =~
             "removed the older original of linx_mount.so, restored netlink_socket.so"

    assert sums(priv) == [newer, socket]
  end

  test "an error is printed as one line", %{priv: priv} do
    assert_raise Mix.Error, ~r"^there is no #{priv}/none/linx_mount.so; ", fn ->
      Swap.run([priv <> "/none"])
    end

    for args <- [[], [priv, priv], [priv, "--status", "--restore"], [priv, "--other"]],
        do:
          assert_raise(Mix.Error, ~r/^Usage:  mix linx_native.swap DIR/, fn -> Swap.run(args) end)
  end

  # Mix says which application speaks, if another one did before.
  defp said(args) do
    fn -> Swap.run(args) end |> capture_io() |> String.replace_prefix("==> linx_native\n", "")
  end

  defp sums(priv) do
    {said, 0} = System.cmd("sha256sum", Enum.map(@names, &Path.join(priv, &1)))
    for line <- String.split(said, "\n", trim: true), do: hd(String.split(line))
  end
end
