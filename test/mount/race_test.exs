defmodule LinxNative.Mount.RaceTest do
  @moduledoc """
  A container swaps a directory of each path for a link that leads out of it, as fast as it can. No function follows it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error

  @moduletag :mount
  # A file outside stays there, so it is enough to look for it sometimes. Looking takes longer than a call.
  @look_every 100

  # The directory of a path is `inside/dir`, and at times a link to `outside`, where the same names are. The name of the
  # directory is in its files, also in `which` of what is mounted on `mount` by `mount_both!/1`.
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

    %{folder: folder, dir: folder <> "/inside/dir", outside: folder <> "/outside"}
  end

  defp mount_both!(folder) do
    for {path, name} <- [{"/inside/dir", "inside"}, {"/outside", "outside"}] do
      mount = folder <> path <> "/mount"
      :ok = Mount.mount("tmpfs", mount, source: name)
      File.write!(mount <> "/which", name)
    end
  end

  # The mounts of the outer directory and below, as a process sees them: their places in it and their sources.
  defp outside(folder, pid) do
    for %{mount_point: path, source: source} <- MountInfo.list(pid),
        String.starts_with?(path, folder <> "/outside"),
        do: {Path.relative_to(path, folder <> "/outside"), source}
  end

  # Makes the call many times, each followed by `check_and_undo` with its result; at times looks that outside there are the
  # mounts of before, and the files. Goes on until the call has had both outcomes, or else nothing was raced.
  defp race(%{folder: folder, dir: dir, outside: path} = context, call, check_and_undo) do
    look = fn -> {outside(folder, context[:pid] || "self"), Enum.sort(File.ls!(path))} end
    before = look.()
    rounds = Harness.race_rounds()
    race = Harness.race(dir, folder <> "/inside/link")

    counted =
      Enum.reduce_while(Stream.iterate(1, &(&1 + 1)), %{}, fn round, counted ->
        result = call.()
        if rem(round, @look_every) == 0, do: assert(look.() == before)
        check_and_undo.(result)
        counted = Map.update(counted, outcome(result), 1, &(&1 + 1))
        raced? = is_map_key(counted, :ok) and is_map_key(counted, :eloop)
        {if(round >= rounds and raced?, do: :halt, else: :cont), counted}
      end)

    assert look.() == before
    swaps = Harness.swaps(race)

    IO.puts(
      "\n#{Enum.sum(Map.values(counted))} calls against #{swaps} swaps: #{inspect(counted)}"
    )

    assert Map.keys(counted) -- [:ok, :eloop, :enoent] == []
  end

  defp outcome(:ok), do: :ok
  defp outcome({:error, %Error{reason: reason}}), do: reason

  # A call on the directory under whichever of its names is right just now.
  defp until_ok(call) do
    case call.() do
      :ok -> :ok
      {:error, %Error{reason: reason}} when reason in [:eloop, :enoent] -> until_ok(call)
    end
  end

  # By both names of the directory.
  defp inside(folder, name) do
    for directory <- ~w(dir link), path = "#{folder}/inside/#{directory}", do: path <> name
  end

  test "mount/3, also onto a target that it makes", %{folder: folder, dir: dir} = context do
    call = fn -> Mount.mount("tmpfs", dir <> "/new", create: :directory) end

    race(context, call, fn result ->
      if result == :ok, do: until_ok(fn -> Mount.umount(dir <> "/new") end)
      # The next one makes it again.
      Enum.each(inside(folder, "/new"), &File.rmdir/1)
    end)
  end

  test "bind/3 into a container, its target", %{folder: folder, dir: dir} = context do
    # The container has the folder from its start.
    %{pid: pid} = Container.start([:mount])
    there = [in: {:pid, pid}]
    call = fn -> Mount.bind(folder <> "/outside/file", dir <> "/file", there) end

    race(Map.put(context, :pid, pid), call, fn result ->
      if result == :ok, do: until_ok(fn -> Mount.umount(dir <> "/file", there) end)
    end)
  end

  test "bind/3 out of a container, its source", %{folder: folder, dir: dir} = context do
    %{pid: pid} = Container.start([:mount])
    target = folder <> "/target"
    File.write!(target, "empty")

    race(context, fn -> Mount.bind(dir <> "/file", target, from: {:pid, pid}) end, fn result ->
      assert File.read!(target) == if(result == :ok, do: "inside", else: "empty")
      if result == :ok, do: :ok = Mount.umount(target)
    end)
  end

  test "mount/3, the layers of an overlay", %{folder: folder, dir: dir} = context do
    [empty, target] = for name <- ~w(empty overlay), do: "#{folder}/#{name}"
    Enum.each([empty, target], &File.mkdir!/1)
    options = [lowerdir: [dir, empty]]

    race(context, fn -> Mount.mount("overlay", target, options: options) end, fn result ->
      expected = if result == :ok, do: {:ok, "inside"}, else: {:error, :enoent}
      assert File.read(target <> "/file") == expected
      if result == :ok, do: :ok = Mount.umount(target)
    end)
  end

  test "set/2", %{folder: folder, dir: dir, outside: outside} = context do
    mount_both!(folder)

    race(context, fn -> Mount.set(dir <> "/mount", attributes: [:ro]) end, fn result ->
      assert File.touch(outside <> "/mount/which") == :ok
      if result == :ok, do: until_ok(fn -> Mount.set(dir <> "/mount", attributes: [:rw]) end)
    end)
  end

  test "move/3", %{folder: folder, dir: dir, outside: outside} = context do
    mount_both!(folder)
    place = folder <> "/place"
    File.mkdir!(place)

    race(context, fn -> Mount.move(dir <> "/mount", place) end, fn result ->
      assert File.read!(outside <> "/mount/which") == "outside"
      expected = if result == :ok, do: {:ok, "inside"}, else: {:error, :enoent}
      assert File.read(place <> "/which") == expected

      # The target of the move.
      if result == :ok do
        until_ok(fn -> Mount.move(place, dir <> "/target") end)
        assert File.ls!(outside <> "/target") == []
        until_ok(fn -> Mount.move(dir <> "/target", dir <> "/mount") end)
      end
    end)
  end

  for detach <- [false, true] do
    test "umount/2 with detach: #{detach}", context do
      %{folder: folder, dir: dir, outside: outside} = context
      mount_both!(folder)

      race(context, fn -> Mount.umount(dir <> "/mount", detach: unquote(detach)) end, fn result ->
        assert File.read!(outside <> "/mount/which") == "outside"

        if result == :ok do
          until_ok(fn -> Mount.mount("tmpfs", dir <> "/mount", source: "inside") end)
        end
      end)
    end
  end

  test "pivot_root/3", %{folder: folder, dir: dir} = context do
    mount_both!(folder)
    container = Container.start([:mount])
    inside = {:pid, container.pid}
    file = "/proc/#{container.pid}/root/which"
    new = dir <> "/mount"
    for path <- ["/inside/dir/mount", "/outside/mount"], do: File.mkdir!(folder <> path <> "/old")
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
