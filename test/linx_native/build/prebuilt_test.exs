defmodule LinxNative.Build.PrebuiltTest do
  use LinxNative.Test.Case

  alias LinxNative.Build.Prebuilt

  @moduletag :rust
  @target "x86_64-unknown-linux-gnu"
  @libraries %{"linx_mount" => "the mounts", "netlink_socket" => "the sockets"}
  @mount "liblinx_mount-v0.1.0-nif-2.15-#{@target}.so.tar.gz"
  @socket "libnetlink_socket-v0.1.0-nif-2.15-#{@target}.so.tar.gz"

  setup do
    folder = Path.join(Folder.make!(), "made/by it")
    {:ok, folder: folder, written: Prebuilt.write!(folder, @libraries, "0.1.0", @target)}
  end

  test "nothing is left in the temporary folder", %{folder: folder} do
    before = Surroundings.snapshot()
    archives = Prebuilt.write!(folder, @libraries, "0.1.0", @target)
    assert {:ok, _} = Prebuilt.read(folder, Map.keys(@libraries), "0.1.0", @target)
    File.write!(hd(archives), "other")
    assert {:error, _} = Prebuilt.read(folder, Map.keys(@libraries), "0.1.0", @target)
    assert Surroundings.changes(before) == []
  end

  @tag :machine_root
  test "nothing is left in the temporary folder if it is full", %{folder: folder} do
    full = Folder.make!()
    :ok = Mount.mount("linx", full, "tmpfs", 0, "size=64k", "", "", 0)
    temporary = System.get_env("TMPDIR")

    on_exit(fn ->
      System.put_env("TMPDIR", temporary)
      Mount.umount(full, 2, "")
    end)

    System.put_env("TMPDIR", full)
    large = %{"linx_mount" => :crypto.strong_rand_bytes(200_000)}
    assert_raise MatchError, fn -> Prebuilt.write!(folder, large, "0.1.0", @target) end
    assert File.ls!(full) == []
  end

  test "archives can be read again, and by sha256sum and tar", %{folder: folder, written: written} do
    assert written == [Path.join(folder, @mount), Path.join(folder, @socket)]
    assert Enum.sort(File.ls!(folder)) == Enum.sort(["SHA256SUMS", @mount, @socket])
    assert read(folder) == {:ok, @libraries}

    assert {said, 0} = System.cmd("sha256sum", ["--check", "SHA256SUMS"], cd: folder)
    assert said == "#{@mount}: OK\n#{@socket}: OK\n"

    # A rustler_precompiled of the same version would find what it looks for.
    member = Path.rootname(@mount, ".tar.gz")
    assert System.cmd("tar", ["-xzOf", @mount, member], cd: folder) == {"the mounts", 0}
  end

  test "the same libraries give the same archives", %{folder: folder, written: written} do
    before = Enum.map(written, &File.read!/1)
    Enum.each(written, &File.touch!(&1, {{2020, 1, 1}, {0, 0, 0}}))
    assert Prebuilt.write!(folder, @libraries, "0.1.0", @target) == written
    assert Enum.map(written, &File.read!/1) == before

    for path <- written do
      {:ok, [member]} = path |> String.to_charlist() |> :erl_tar.table([:compressed, :verbose])
      assert {_name, :regular, _size, 0 = _mtime, _mode, 0 = _uid, 0 = _gid} = member
    end
  end

  test "archives of other targets and versions stay", %{folder: folder} do
    Prebuilt.write!(folder, %{@libraries | "linx_mount" => "other"}, "0.1.0", "other-target")
    Prebuilt.write!(folder, %{@libraries | "linx_mount" => "later"}, "0.2.0", @target)

    assert read(folder) == {:ok, @libraries}
    assert {:ok, %{"linx_mount" => "other"}} = read(folder, "0.1.0", "other-target")
    assert {:ok, %{"linx_mount" => "later"}} = read(folder, "0.2.0")
  end

  test "exactly the requested libraries are read", %{folder: folder} do
    assert Prebuilt.read(folder, ["linx_mount"], "0.1.0", @target) ==
             {:ok, Map.take(@libraries, ["linx_mount"])}

    assert {:error, reason} = Prebuilt.read(folder, ["linx_mount", "other"], "0.1.0", @target)
    assert reason =~ "does not list libother-v0.1.0-nif"
  end

  test "a missing target or version is an error", %{folder: folder} do
    assert {:error, reason} = read(folder, "0.1.0", "aarch64-unknown-linux-gnu")
    assert reason =~ "does not list lib"
    assert reason =~ "-v0.1.0-nif-2.15-aarch64-unknown-linux-gnu.so.tar.gz, but #{@mount}"
    assert {:error, reason} = read(folder, "0.2.0")
    assert reason =~ ~r"^#{folder}/SHA256SUMS does not list lib\w+-v0.2.0-nif"
  end

  test "a file that does not match the list is an error", %{folder: folder} do
    File.write!(Path.join(folder, @mount), File.read!(Path.join(folder, @socket)))
    assert {:error, reason} = read(folder)

    assert reason =~
             ~r"/#{@mount} does not match the list: its SHA-256 is \w{64}, not \w{64}$"

    File.rm!(Path.join(folder, @mount))
    assert read(folder) == {:error, "cannot read #{folder}/#{@mount}: no such file or directory"}
  end

  test "an archive with another content is an error", %{folder: folder} do
    other = File.read!(Path.join(folder, @socket))
    File.write!(Path.join(folder, @mount), other)
    sum = Base.encode16(:crypto.hash(:sha256, other), case: :lower)
    File.write!(Path.join(folder, "SHA256SUMS"), "#{sum}  #{@mount}\n#{sum}  #{@socket}\n")

    assert read(folder) ==
             {:error, "#{@mount} is not an archive of #{Path.rootname(@mount, ".tar.gz")}"}
  end

  test "a folder without a list, and a relative path, are errors" do
    folder = Folder.make!()
    assert read(folder) == {:error, "there is no #{folder}/SHA256SUMS"}
    assert read("prebuilt") == {:error, "prebuilt is not an absolute path"}
  end

  defp read(folder, version \\ "0.1.0", target \\ @target) do
    Prebuilt.read(folder, Map.keys(@libraries), version, target)
  end
end
