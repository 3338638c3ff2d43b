defmodule LinxNative.Build.SwapTest do
  @moduledoc """
  The files; what the VMs make of them is tried by integration/swap.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Build.Swap
  alias LinxNative.Test.{Folder, Vm}

  @names ~w(linx_mount.so netlink_socket.so)
  @kept ~w(linx_mount.so.orig netlink_socket.so.orig)

  setup do
    folder = Folder.make!()
    for name <- @names, do: File.write!(Path.join(folder, name), "the C #{name}")
    {:ok, folder: folder, originals: files(folder)}
  end

  test "there and back, each time once", %{folder: folder, originals: originals} do
    inodes = inodes(folder)

    assert Swap.swap(folder) == {:ok, :changed}
    swapped = files(folder)
    assert Map.take(swapped, @names) == ours()
    assert Map.keys(swapped) == Enum.sort(@names ++ @kept)
    for name <- @names, do: assert(swapped[name <> ".orig"] == originals[name])

    assert Swap.swap(folder) == {:ok, :unchanged}
    assert files(folder) == swapped

    assert Swap.restore(folder) == {:ok, :changed}
    assert files(folder) == originals
    # The very files, with their owners and whatever else they have.
    assert inodes(folder) == inodes

    assert Swap.restore(folder) == {:ok, :unchanged}
    assert files(folder) == originals
  end

  test "what a killed swap left is completed or taken back", context do
    %{folder: folder, originals: originals} = context
    [first, second] = Enum.map(@names, &Path.join(folder, &1))
    File.ln!(first, first <> ".orig")
    assert Swap.swap(folder) == {:ok, :changed}
    assert Map.take(files(folder), @names) == ours()

    File.rename!(second <> ".orig", second)
    File.ln!(second, second <> ".orig")
    assert Swap.restore(folder) == {:ok, :changed}
    assert files(folder) == originals
  end

  test "neither is replaced if one cannot be", %{folder: folder, originals: originals} do
    for name <- @names do
      # In the way of the file that is to become the new one, or to keep ours until the end.
      obstacle = Path.join(folder, "#{name}.#{System.pid()}.tmp")
      File.mkdir!(obstacle)
      assert {:error, reason} = Swap.swap(folder)
      assert reason =~ ~r/^cannot write #{obstacle}: illegal operation on a directory$/
      File.rmdir!(obstacle)
      assert files(folder) == originals

      {:ok, :changed} = Swap.swap(folder)
      swapped = files(folder)
      File.mkdir!(obstacle)
      assert {:error, "cannot keep " <> _} = Swap.restore(folder)
      File.rmdir!(obstacle)
      assert files(folder) == swapped
      {:ok, :changed} = Swap.restore(folder)
    end
  end

  test "libraries of ours that do not load", %{folder: folder, originals: originals} do
    # A copy of this application, with another file for a library, and a VM that takes it for ours.
    ours = Path.join(Folder.make!(), "linx_native")
    File.cp_r!(Application.app_dir(:linx_native), ours)
    File.write!(Path.join(ours, "priv/linx_mount.so"), "not a library")
    vm = Vm.start(load: false)
    true = Vm.call(vm, :code, :add_patha, [to_charlist(Path.join(ours, "ebin"))])

    assert {:error, reason} = Vm.call(vm, Swap, :swap, [folder])
    assert reason =~ ~r"^our libraries do not load in this OTP: .*cannot load .*/linx_mount.so: "
    refute reason =~ "\n"
    assert files(folder) == originals
  end

  test "a folder that is not Linx's", %{folder: folder, originals: originals} do
    assert {:error, reason} = Swap.swap(Path.join(folder, "none"))
    assert reason =~ ~r"^there is no #{folder}/none/linx_mount.so; the folder has to be the priv"

    File.rm!(Path.join(folder, "netlink_socket.so"))
    assert {:error, "there is no " <> _} = Swap.swap(folder)
    assert {:error, "there is no " <> _} = Swap.restore(folder)
    assert files(folder) == Map.take(originals, ["linx_mount.so"])
  end

  test "a file that is neither ours nor the original is left alone", %{folder: folder} do
    {:ok, :changed} = Swap.swap(folder)
    path = Path.join(folder, "linx_mount.so")
    File.rm!(path)
    File.write!(path, "built anew")
    before = files(folder)

    assert {:error, reason} = Swap.swap(folder)
    assert reason =~ "#{path} is neither ours nor the original"
    assert reason =~ "delete #{path}.orig"
    assert files(folder) == before
  end

  test "nothing to restore from", %{folder: folder} do
    {:ok, :changed} = Swap.swap(folder)
    File.rm!(Path.join(folder, "linx_mount.so.orig"))
    before = files(folder)
    assert {:error, reason} = Swap.restore(folder)
    assert reason =~ "is ours, but there is no #{folder}/linx_mount.so.orig"
    assert files(folder) == before
  end

  defp ours, do: :linx_native |> :code.priv_dir() |> files() |> Map.take(@names)

  defp files(folder) do
    for name <- File.ls!(folder), into: %{}, do: {name, File.read!(Path.join(folder, name))}
  end

  defp inodes(folder), do: for(name <- @names, do: File.stat!(Path.join(folder, name)).inode)
end
