defmodule LinxNative.RaceTest do
  @moduledoc """
  A container swaps a directory of the path for a link, as fast as it can, while devices are bound below it.
  """

  use LinxNative.Test.Case

  @bind 4096
  @detach 2

  setup do
    folder = Folder.make!()
    :ok = Mount.mount("linx", folder, "tmpfs", 0, "", "", "", 0)
    # Not shared, so that a bind is in one place only.
    :ok = Mount.mount("", folder, "", 262_144, "", "", "", 0)
    on_exit(fn -> Mount.umount(folder, @detach, "") end)
    for name <- ~w(inside inside/dev outside), do: File.mkdir!("#{folder}/#{name}")
    File.ln_s!("../outside", folder <> "/inside/link")
    %{folder: folder}
  end

  # Binds a device once, says where it landed, and undoes it.
  defp bind(folder) do
    result = Mount.mount("/dev/null", folder <> "/inside/dev/null", "", @bind, "", "", "", 1)

    escaped =
      File.exists?(folder <> "/outside/null") or Enum.any?(binds(folder), &(&1 =~ "/outside"))

    undo(binds(folder), folder)
    File.rm(folder <> "/outside/null")
    {result, if(escaped, do: :escaped, else: :kept)}
  end

  defp binds(folder) do
    for %{mount_point: path, root: "/null"} <- MountInfo.list(),
        String.starts_with?(path, folder),
        do: path
  end

  # The racer gives the directory of a bind now one name, now the other: again until a name was right.
  defp undo([], _folder), do: :ok

  defp undo(binds, folder) do
    Enum.each(binds, &Mount.umount(&1, 0, ""))
    undo(binds(folder), folder)
  end

  test "no bind and no file goes outside of the container's folder", %{folder: folder} do
    rounds = Harness.race_rounds()
    race = Harness.race(folder <> "/inside/dev", folder <> "/inside/link")
    results = Stream.repeatedly(fn -> bind(folder) end) |> Stream.take(rounds)

    case expect(:D2, rust: :never, c: :at_some_time) do
      :never ->
        counted = Enum.frequencies(results)
        swaps = Harness.swaps(race)
        IO.puts("\n#{rounds} binds against #{swaps} swaps: #{inspect(counted)}")
        assert Map.keys(counted) -- [{:ok, :kept}, {{:error, {:create, :eloop}}, :kept}] == []
        # Otherwise there was no race: some calls have to find the directory, and some the link.
        assert map_size(counted) == 2

      # Shows that the racer can win, at least once.
      :at_some_time ->
        assert Enum.any?(results, &match?({_, :escaped}, &1))
        Harness.swaps(race)
    end
  end
end
