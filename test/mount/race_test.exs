defmodule LinxNative.Mount.RaceTest do
  @moduledoc """
  A container that swaps a directory of each path for a link out of it, as fast as it can: no function is led outside.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error

  @moduletag :mount
  @rounds 20_000

  # The directory of a path is `inside/dir`, and at times a link to `outside`, where the same names are. Each has a mount
  # on `mount`, the source of which is its name.
  setup do
    folder = Folder.make!()
    :ok = Mount.mount("tmpfs", folder, source: "race")
    on_exit(fn -> Mount.umount(folder, detach: true) end)
    :ok = Mount.set(folder, propagation: :private)
    names = for directory <- ~w(inside inside/dir outside), do: "#{folder}/#{directory}"
    Enum.each(names, &File.mkdir!/1)
    File.ln_s!("../outside", folder <> "/inside/link")

    for {path, name} <- [{"/inside/dir", "inside"}, {"/outside", "outside"}] do
      for target <- ~w(target mount), do: File.mkdir!(Path.join([folder, path, target]))
      File.write!(Path.join([folder, path, "file"]), name)
    end

    %{folder: folder, dir: folder <> "/inside/dir"}
  end

  defp mount_both(folder) do
    for {path, name} <- [{"/inside/dir", "inside"}, {"/outside", "outside"}] do
      :ok = Mount.mount("tmpfs", folder <> path <> "/mount", source: name)
    end
  end

  # The mounts below a folder: their sources by the last part of where they are.
  defp mounts(folder) do
    for %{mount_point: path} = mount <- MountInfo.list(),
        String.starts_with?(path, folder <> "/"),
        do: {Path.relative_to(path, folder), mount}
  end

  # With both outcomes, as something was raced only then.
  defp race(%{folder: folder, dir: dir}, call, check_and_undo) do
    race = Harness.race(dir, folder <> "/inside/link")

    counted =
      Enum.frequencies_by(1..@rounds, fn _ ->
        result = call.()
        check_and_undo.(result)

        case result do
          :ok -> :ok
          {:error, %Error{reason: reason}} -> reason
        end
      end)

    swaps = Harness.swaps(race)
    IO.puts("\n#{@rounds} calls against #{swaps} swaps: #{inspect(counted)}")
    assert Map.keys(counted) -- [:ok, :eloop, :enoent] == []
    assert is_map_key(counted, :ok) and is_map_key(counted, :eloop)
  end

  # A call on the directory under whichever of its names is right just now.
  defp until_ok(call) do
    case call.() do
      :ok -> :ok
      {:error, %Error{reason: reason}} when reason in [:eloop, :enoent] -> until_ok(call)
    end
  end

  test "mount/3, also onto a target that it makes", %{folder: folder, dir: dir} = context do
    call = fn -> Mount.mount("tmpfs", dir <> "/new", create: :directory) end

    race(context, call, fn _ ->
      assert File.ls!(folder <> "/outside") -- ~w(target mount file) == []

      for {path, _} <- mounts(folder) do
        refute path =~ "outside"
        until_ok(fn -> Mount.umount(dir <> "/new") end)
      end

      # The next one makes it again.
      for name <- ~w(dir link), do: File.rmdir("#{folder}/inside/#{name}/new")
    end)
  end

  test "bind/3, as to its target", %{folder: folder, dir: dir} = context do
    call = fn -> Mount.bind(folder <> "/outside/file", dir <> "/file") end

    race(context, call, fn _ ->
      for {path, _} <- mounts(folder) do
        refute path =~ "outside"
        until_ok(fn -> Mount.umount(dir <> "/file") end)
      end
    end)
  end

  test "bind/3, as to its source", %{folder: folder, dir: dir} = context do
    target = folder <> "/target"
    File.write!(target, "")

    race(context, fn -> Mount.bind(dir <> "/file", target) end, fn
      :ok ->
        assert File.read!(target) == "inside"
        :ok = Mount.umount(target)

      {:error, _} ->
        assert mounts(folder) == []
    end)
  end

  test "mount/3, as to the layers of an overlay", %{folder: folder, dir: dir} = context do
    [empty, target] = for name <- ~w(empty overlay), do: "#{folder}/#{name}"
    Enum.each([empty, target], &File.mkdir!/1)
    options = [lowerdir: [dir, empty]]

    race(context, fn -> Mount.mount("overlay", target, options: options) end, fn
      :ok ->
        assert File.read!(target <> "/file") == "inside"
        :ok = Mount.umount(target)

      {:error, _} ->
        assert mounts(folder) == []
    end)
  end

  test "set/2", %{folder: folder, dir: dir} = context do
    mount_both(folder)

    race(context, fn -> Mount.set(dir <> "/mount", attributes: [:ro]) end, fn result ->
      by_source =
        Map.new(mounts(folder), fn {_, mount} -> {mount.source, "ro" in mount.options} end)

      assert by_source == %{"outside" => false, "inside" => result == :ok}
      if result == :ok, do: until_ok(fn -> Mount.set(dir <> "/mount", attributes: [:rw]) end)
    end)
  end

  test "move/3", %{folder: folder, dir: dir} = context do
    mount_both(folder)
    place = folder <> "/place"
    File.mkdir!(place)

    race(context, fn -> Mount.move(dir <> "/mount", place) end, fn result ->
      moved = for {"place", mount} <- mounts(folder), do: mount.source
      assert moved == if(result == :ok, do: ["inside"], else: [])

      if result == :ok do
        until_ok(fn -> Mount.move(place, dir <> "/target") end)

        assert [{"outside/mount", _}] =
                 for({"outside" <> _, _} = mount <- mounts(folder), do: mount)

        until_ok(fn -> Mount.move(dir <> "/target", dir <> "/mount") end)
      end
    end)
  end

  for detach <- [false, true] do
    test "umount/2 with detach: #{detach}", %{folder: folder, dir: dir} = context do
      mount_both(folder)

      race(context, fn -> Mount.umount(dir <> "/mount", detach: unquote(detach)) end, fn result ->
        left = for {_, mount} <- mounts(folder), do: mount.source
        assert Enum.sort(left) == if(result == :ok, do: ["outside"], else: ["inside", "outside"])

        if result == :ok do
          until_ok(fn -> Mount.mount("tmpfs", dir <> "/mount", source: "inside") end)
        end
      end)
    end
  end

  test "pivot_root/3", %{folder: folder, dir: dir} = context do
    mount_both(folder)
    container = Container.start([:mount])
    inside = {:pid, container.pid}
    file = "/proc/#{container.pid}/root/which"
    new = dir <> "/mount"
    for path <- ["/inside/dir/mount", "/outside/mount"], do: File.mkdir!(folder <> path <> "/old")
    File.write!(folder <> "/inside/dir/mount/which", "inside")
    File.write!(folder <> "/outside/mount/which", "outside")
    place = folder <> "/place"
    File.mkdir!(place)

    race(context, fn -> Mount.pivot_root(new, new <> "/old", in: inside) end, fn
      :ok ->
        assert File.read!(file) == "inside"
        :ok = Mount.pivot_root("/old", "/old" <> place, in: inside)
        until_ok(fn -> Mount.move(place, new, in: inside) end)

      {:error, _} ->
        refute File.exists?(file)
    end)
  end
end
