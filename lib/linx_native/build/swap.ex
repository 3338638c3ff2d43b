defmodule LinxNative.Build.Swap do
  @moduledoc false

  # Replaces the two C libraries of a built Linx by the Rust ones, and restores them.
  #
  # The folder is the `priv` of that Linx, for example `_build/prod/lib/linx/priv`. LinxNative.Build.Swap.Folder describes the
  # files.
  #
  # Every file is put in place by one rename. So a library is complete whenever it is opened, and a VM that has mapped the old one
  # keeps it. Before a Rust library is put in place, its checksum is listed, and then the original is kept in `swapped_out`. So
  # files that a killed run left can be told from those that Linx has built since, and the next run completes or undoes them. If
  # a step fails, the renames before it are undone.

  alias LinxNative.Build.Swap.{Folder, Trial}

  @typedoc "A change of a library, in order. `:stale`: the kept original was removed because Linx has built a newer library."
  @type event :: {:swapped | :restored | :stale, library :: String.t()}

  @typedoc "The list of events is empty if there was nothing to do. An error is a message of one line."
  @type result :: {:ok, [event]} | {:error, String.t()}

  @doc """
  Puts the Rust libraries into `folder`.

  First checks that both files exist, and that the Rust libraries load in the modules of that Linx.
  """
  @spec swap(Path.t()) :: result
  def swap(path) do
    with {:ok, folder} <- Folder.look(path) do
      case Enum.reject(folder.files, &(&1.now == :ours)) do
        [] -> {:ok, []}
        files -> Folder.with_work(folder, &swap(folder, files, &1)) |> again(path, &swap/1)
      end
    end
  end

  @doc """
  Restores the originals in `folder`.

  A library that Linx has built since the last swap is not changed. Its kept original is older, and is removed.
  """
  @spec restore(Path.t()) :: result
  def restore(path) do
    with {:ok, folder} <- Folder.look(path),
         :ok <- restorable(folder.files) do
      if File.dir?(folder.out),
        do: Folder.with_work(folder, &restore(folder, &1)) |> again(path, &restore/1),
        else: {:ok, []}
    end
  end

  @doc """
  Returns a message that describes the changes in a folder.
  """
  @spec describe([event, ...], Path.t()) :: String.t()
  def describe(events, path) do
    done =
      for {event, verb} <- [
            stale: "removed the older original of",
            swapped: "swapped",
            restored: "restored"
          ],
          libraries = for({^event, library} <- events, do: library <> ".so"),
          libraries != [],
          do: "#{verb} #{Enum.join(libraries, ", ")}"

    "linx_native: #{Enum.join(done, ", ")} in #{Path.relative_to_cwd(path)}; " <>
      "running VMs keep the files that they have loaded"
  end

  defp swap(folder, files, work) do
    kept = Enum.filter(files, &(&1.now in [:original, :other]))

    with :ok <- Trial.run(folder, work),
         :ok <- Folder.list_ours(folder, work),
         :ok <- each(files, &Folder.hold(&1, work)),
         :ok <- each(kept, &Folder.keep(&1, work)),
         :ok <- commit(files, &Folder.put_ours(&1, work), &Folder.put_held(&1, work)) do
      {:ok, Enum.flat_map(files, &events_of_swap/1)}
    end
  end

  defp events_of_swap(%{now: :other, kept: kept} = file) when kept != nil,
    do: [{:stale, file.library}, {:swapped, file.library}]

  defp events_of_swap(file), do: [{:swapped, file.library}]

  defp restorable(files) do
    case Enum.find(files, &(&1.now in [:ours, :older] and &1.kept == nil)) do
      nil ->
        :ok

      file ->
        {:error,
         "#{file.path} is a library of linx_native, but its original is not kept; to rebuild it: " <>
           "mix deps.compile linx --force"}
    end
  end

  defp restore(folder, work) do
    {swapped, own} = Enum.split_with(folder.files, &(&1.now in [:ours, :older]))

    with :ok <- each(swapped, &Folder.hold(&1, work)),
         :ok <- commit(swapped, &Folder.put_kept/1, &Folder.take_back(&1, work)) do
      Folder.forget(folder)

      stale =
        for %{now: :other, kept: kept} = file when kept != nil <- own, do: {:stale, file.library}

      {:ok, stale ++ Enum.map(swapped, &{:restored, &1.library})}
    end
  end

  # Repeats the call if another run, or a build of Linx, changed the files at the same time.
  defp again({:error, :changed_meanwhile}, path, fun), do: fun.(path)
  defp again(result, _path, _fun), do: result

  defp each(files, step) do
    Enum.reduce_while(files, :ok, fn file, :ok ->
      case step.(file) do
        :ok -> {:cont, :ok}
        error -> {:halt, error}
      end
    end)
  end

  defp commit(files, step, undo), do: commit(files, [], step, undo)

  defp commit([], _done, _step, _undo), do: :ok

  defp commit([file | files], done, step, undo) do
    case step.(file) do
      :ok ->
        commit(files, [file | done], step, undo)

      error ->
        Enum.each(done, undo)
        error
    end
  end
end
