defmodule LinxNative.Build.SwapTest do
  @moduledoc """
  The files of a swap. `script/integration` tests how VMs load them.
  """

  use ExUnit.Case, async: true

  alias Linx.Mount.Native, as: Mount
  alias LinxNative.Build.Swap
  alias LinxNative.Test.{Folder, LinxFolder, Vm}

  @moduletag :rust
  @libraries ~w(linx_mount netlink_socket)
  @names ~w(linx_mount.so netlink_socket.so)

  setup do
    priv = LinxFolder.make!(Folder.make!())
    for name <- @names, do: File.write!(Path.join(priv, name), "the C #{name}")
    {:ok, priv: priv, out: Path.join(Path.dirname(priv), "swapped_out"), originals: files(priv)}
  end

  test "a swap and a restore change the files once, and nothing the second time", %{
    priv: priv,
    out: out,
    originals: originals
  } do
    inodes = inodes(priv)

    assert Swap.swap(priv) == {:ok, events(:swapped)}
    # The folder that a release copies has no other file.
    assert files(priv) == ours()
    assert Map.take(files(out), @names) == originals
    assert Map.keys(files(out)) == @names ++ ["swapped_in.sha256"]

    assert Swap.swap(priv) == {:ok, []}
    assert files(priv) == ours()
    assert Map.take(files(out), @names) == originals

    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals
    # The very files, with their owners and whatever else they have.
    assert inodes(priv) == inodes
    refute File.exists?(out)

    assert Swap.restore(priv) == {:ok, []}
    assert files(priv) == originals
    refute File.exists?(out)
  end

  test "sha256sum reads the list of swapped files", %{priv: priv, out: out} do
    {:ok, _} = Swap.swap(priv)
    list = Path.join(out, "swapped_in.sha256")
    assert {said, 0} = System.cmd("sha256sum", ["--check", list], cd: priv)
    assert said == "linx_mount.so: OK\nnetlink_socket.so: OK\n"
  end

  test "swapped files have the mode of the files that they replace", %{priv: priv} do
    File.chmod!(Path.join(priv, "linx_mount.so"), 0o755)
    File.chmod!(Path.join(priv, "netlink_socket.so"), 0o700)
    {:ok, _} = Swap.swap(priv)
    modes = for name <- @names, do: Bitwise.band(File.stat!(Path.join(priv, name)).mode, 0o777)
    assert modes == [0o755, 0o700]
  end

  describe "a library that Linx has built again" do
    setup %{priv: priv} do
      {:ok, _} = Swap.swap(priv)
      build(priv, "linx_mount.so", "a newer C library")
    end

    test "is swapped, and kept instead of the older original", context do
      %{priv: priv, out: out, originals: originals} = context
      assert Swap.swap(priv) == {:ok, [stale: "linx_mount", swapped: "linx_mount"]}
      assert files(priv) == ours()

      newer = %{originals | "linx_mount.so" => "a newer C library"}
      assert Map.take(files(out), @names) == newer
      assert Swap.restore(priv) == {:ok, events(:restored)}
      assert files(priv) == newer
    end

    test "is not changed by a restore, which removes the older original", context do
      %{priv: priv, out: out, originals: originals} = context
      assert Swap.restore(priv) == {:ok, [stale: "linx_mount", restored: "netlink_socket"]}
      assert files(priv) == %{originals | "linx_mount.so" => "a newer C library"}
      refute File.exists?(out)
    end
  end

  test "is left in place by a restore, if both were built again", %{priv: priv, out: out} do
    {:ok, _} = Swap.swap(priv)
    for name <- @names, do: build(priv, name, "a newer #{name}")
    before = files(priv)
    assert Swap.restore(priv) == {:ok, events(:stale)}
    assert files(priv) == before
    refute File.exists?(out)
  end

  test "is the original, if the build gave the same content", %{priv: priv, originals: originals} do
    {:ok, _} = Swap.swap(priv)
    build(priv, "linx_mount.so", originals["linx_mount.so"])
    assert Swap.swap(priv) == {:ok, [swapped: "linx_mount"]}
    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals
  end

  test "a library of an earlier build of linx_native is replaced, and never kept as an original",
       context do
    %{priv: priv, originals: originals} = context
    vm = with_other_libraries(&(&1 <> "older"))
    assert Vm.call(vm, Swap, :swap, [priv]) == {:ok, events(:swapped)}
    refute files(priv) == ours()

    assert Swap.swap(priv) == {:ok, events(:swapped)}
    assert files(priv) == ours()
    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals

    # The same, after a swap that was killed after it wrote the list.
    {:ok, _} = Vm.call(vm, Swap, :swap, [priv])
    {:ok, folder} = Swap.Folder.look(priv)
    :ok = Swap.Folder.with_work(folder, &Swap.Folder.list_ours(folder, &1))
    assert Swap.swap(priv) == {:ok, events(:swapped)}
    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals

    # The same for a restore while the older library is in place.
    {:ok, _} = Vm.call(vm, Swap, :swap, [priv])
    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals
  end

  test "the next run completes or undoes a swap that was killed", context do
    %{priv: priv, out: out, originals: originals} = context
    [first, second] = @names

    for finish <- [&Swap.swap/1, &Swap.restore/1] do
      # Killed after it kept the first.
      File.mkdir!(out)
      File.ln!(Path.join(priv, first), Path.join(out, first))
      left_work(out)
      assert {:ok, _} = Swap.restore(priv)
      assert files(priv) == originals

      # Killed after it put the first into place.
      {:ok, _} = Swap.swap(priv)
      File.rename!(Path.join(out, second), Path.join(priv, second))
      File.ln!(Path.join(priv, second), Path.join(out, second))
      left_work(out)
      assert {:ok, _} = finish.(priv)
      assert files(priv) in [ours(), originals]
      assert "work.1000000000" not in List.wrap(File.exists?(out) && File.ls!(out))
      {:ok, _} = Swap.restore(priv)
      assert files(priv) == originals
      refute File.exists?(out)
    end
  end

  test "the folder of a running swap is not removed", %{priv: priv, out: out} do
    # Process 1 always exists.
    running = Path.join(out, "work.1")
    File.mkdir_p!(running)
    {:ok, _} = Swap.swap(priv)
    {:ok, _} = Swap.restore(priv)
    assert File.ls!(out) == ["work.1"]
  end

  test "a library that Linx builds at the same time is detected", %{priv: priv} do
    {:ok, folder} = Swap.Folder.look(priv)
    [file, other] = folder.files
    File.write!(file.path, "built meanwhile")
    hold = fn file -> Swap.Folder.with_work(folder, &Swap.Folder.hold(file, &1)) end
    assert hold.(file) == {:error, :changed_meanwhile}
    assert hold.(other) == :ok
  end

  test "the next run completes or undoes a restore that was killed", context do
    %{priv: priv, out: out, originals: originals} = context
    {:ok, _} = Swap.swap(priv)
    File.rename!(Path.join(out, "linx_mount.so"), Path.join(priv, "linx_mount.so"))

    assert Swap.swap(priv) == {:ok, [swapped: "linx_mount"]}
    assert files(priv) == ours()

    File.rename!(Path.join(out, "linx_mount.so"), Path.join(priv, "linx_mount.so"))
    assert Swap.restore(priv) == {:ok, [restored: "netlink_socket"]}
    assert files(priv) == originals
    refute File.exists?(out)
  end

  test "neither library is replaced if one cannot be replaced", %{
    priv: priv,
    out: out,
    originals: originals
  } do
    for name <- @names do
      # In the way of the original that is to be kept.
      obstacle = Path.join(out, name)
      File.mkdir_p!(Path.join(obstacle, "in"))
      assert {:error, reason} = Swap.swap(priv)
      assert reason == "cannot replace #{obstacle}: illegal operation on a directory"
      File.rm_rf!(obstacle)
      assert files(priv) == originals
    end

    # In the way of the list, which is written before the libraries are replaced.
    {:ok, _} = Swap.restore(priv)
    File.mkdir_p!(Path.join(out, "swapped_in.sha256/in"))
    assert {:error, "cannot replace " <> _} = Swap.swap(priv)
    assert files(priv) == originals

    # In the way of the run itself.
    File.rm_rf!(out)
    File.write!(out, "")
    assert {:error, "cannot make " <> _} = Swap.swap(priv)
    assert files(priv) == originals
  end

  test "neither library is restored if one cannot be restored", %{
    priv: priv,
    out: out,
    originals: originals
  } do
    {:ok, _} = Swap.swap(priv)
    last = Path.join(out, "netlink_socket.so")
    # A file with a mount on it cannot be renamed.
    :ok = Mount.mount(last, last, "", 4096, "", "", "", 0)
    result = Swap.restore(priv)
    :ok = Mount.umount(last, 0, "")

    assert result == {:error, "cannot replace #{priv}/netlink_socket.so: file busy"}
    assert files(priv) == ours()
    assert Map.take(files(out), @names) == originals
    assert Swap.restore(priv) == {:ok, events(:restored)}
    assert files(priv) == originals
  end

  test "libraries that do not load are not swapped", %{priv: priv, out: out, originals: originals} do
    vm = with_other_libraries(fn _ -> "not a library" end)
    assert {:error, reason} = Vm.call(vm, Swap, :swap, [priv])

    assert reason =~
             ~r"^the libraries of linx_native do not load in .*/linx/ebin: .*Failed to load NIF library"

    refute reason =~ "\n"
    assert files(priv) == originals
    refute File.exists?(out)
  end

  test "a Linx whose modules lack a function is not swapped" do
    priv = LinxFolder.make!(Folder.make!(), %{"linx_mount" => "version/0, mount/8, umount/3"})
    for name <- @names, do: File.write!(Path.join(priv, name), "the C #{name}")
    before = files(priv)
    assert {:error, reason} = Swap.swap(priv)
    assert reason =~ "Function not found 'Elixir.Linx.Mount.Native':pivot_root/3"
    assert files(priv) == before
  end

  test "libraries for another machine are compared instead of loaded", %{priv: priv} do
    # LINX_NATIVE_TARGET names another machine, but these libraries are built for this one.
    vm = Vm.start(load: false, env: %{"LINX_NATIVE_TARGET" => "riscv64gc-unknown-linux-gnu"})
    before = files(priv)
    assert {:error, reason} = Vm.call(vm, Swap, :swap, [priv])

    assert reason =~
             "is for another machine than the library of linx_native, which is for riscv64gc-unknown-linux-gnu"

    assert files(priv) == before

    # Changes only the number of the machine, which follows the class, the byte order and the type.
    for {name, <<begin::binary-18, machine::16, rest::binary>>} <- ours(),
        do: build(priv, name, <<begin::binary, machine + 1::16, rest::binary>>)

    assert {:error, ^reason} = Vm.call(vm, Swap, :swap, [priv])

    for {name, content} <- ours(), do: build(priv, name, content <> "of this machine too")
    assert Vm.call(vm, Swap, :swap, [priv]) == {:ok, events(:swapped)}
  end

  test "a folder that does not belong to Linx is an error", %{priv: priv, originals: originals} do
    assert {:error, reason} = Swap.swap(Path.join(priv, "none"))
    assert reason =~ ~r"^there is no #{priv}/none/linx_mount.so; the folder has to be the priv"

    File.rm!(Path.join(priv, "netlink_socket.so"))
    assert {:error, "there is no " <> _} = Swap.swap(priv)
    assert {:error, "there is no " <> _} = Swap.restore(priv)
    assert files(priv) == Map.take(originals, ["linx_mount.so"])
  end

  test "originals are kept beside the files that a linked priv points to", context do
    %{priv: priv, originals: originals} = context
    source = Path.join(Folder.make!(), "priv")
    File.rename!(priv, source)
    File.ln_s!(source, priv)

    {:ok, _} = Swap.swap(priv)
    assert files(source) == ours()
    assert Map.take(files(Path.join(Path.dirname(source), "swapped_out")), @names) == originals
    {:ok, _} = Swap.restore(priv)
    assert files(source) == originals
  end

  test "a restore without kept originals is an error", %{priv: priv, out: out} do
    {:ok, _} = Swap.swap(priv)
    File.rm!(Path.join(out, "linx_mount.so"))
    before = files(priv)
    assert {:error, reason} = Swap.restore(priv)

    assert reason =~
             "#{priv}/linx_mount.so is a library of linx_native, but its original is not kept"

    assert reason =~ "mix deps.compile linx --force"
    assert files(priv) == before
  end

  defp build(priv, name, content) do
    path = Path.join(priv, name)
    File.write!(path <> ".tmp", content)
    File.rename!(path <> ".tmp", path)
  end

  defp left_work(out) do
    work = Path.join(out, "work.1000000000")
    File.mkdir_p!(work)
    File.write!(Path.join(work, "linx_mount.so"), "half of")
  end

  # Makes a copy of this application with other libraries, and a VM that uses it.
  defp with_other_libraries(change) do
    copy = Path.join(Folder.make!(), "linx_native")
    File.cp_r!(Application.app_dir(:linx_native), copy)

    for name <- @names,
        path = Path.join([copy, "priv", name]),
        do: File.write!(path, path |> File.read!() |> change.())

    vm = Vm.start(load: false)
    true = Vm.call(vm, :code, :add_patha, [to_charlist(Path.join(copy, "ebin"))])
    vm
  end

  defp events(event), do: Enum.map(@libraries, &{event, &1})
  defp ours, do: :linx_native |> :code.priv_dir() |> files() |> Map.take(@names)

  defp files(folder) do
    for name <- File.ls!(folder), into: %{}, do: {name, File.read!(Path.join(folder, name))}
  end

  defp inodes(folder), do: for(name <- @names, do: File.stat!(Path.join(folder, name)).inode)
end
