defmodule LinxNative.Build.Swap do
  @moduledoc false

  # Puts our two libraries in place of the C ones of a built Linx, and back again.
  #
  # The folder is the `priv` of that Linx, for example `_build/prod/lib/linx/priv`. LinxNative.Build.Swap.Folder says which
  # files are where.
  #
  # Every file gets to its place by one rename, so whoever opens a library at any moment finds a whole one, and a VM that has
  # one mapped keeps what it has. An original is in `swapped_out` before ours takes its place, and the sum of ours is on the
  # list before that. So whatever a killed run left is told from what Linx built since, and the next run completes it or
  # takes it back. If a step fails, the renames before it are undone.

  alias LinxNative.Build.Swap.{Folder, Trial}

  @typedoc "What was done to a library, in order. `:stale`: an original was removed because Linx has built a newer one."
  @type event :: {:swapped | :restored | :stale, library :: String.t()}

  @typedoc "No event: it was so already. An error is one line for a person."
  @type result :: {:ok, [event]} | {:error, String.t()}

  @doc """
  Puts our libraries into `folder`.

  Before it changes anything it sees to it that both files are there, and that ours load in the modules of that Linx.
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
  Puts the originals back to their places in `folder`.

  A library that Linx has built since is not touched: the original kept of it is older, and is removed.
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
  Says what was done in a folder.
  """
  @spec describe([event, ...], Path.t()) :: String.t()
  def describe(events, path) do
    done =
      for {event, verb} <- [
            stale: "removed the original of what Linx has built again:",
            swapped: "swapped",
            restored: "restored"
          ],
          libraries = for({^event, library} <- events, do: library <> ".so"),
          libraries != [],
          do: "#{verb} #{Enum.join(libraries, ", ")}"

    "linx_native: #{Enum.join(done, ", ")} in #{Path.relative_to_cwd(path)}; " <>
      "VMs that run keep what they have loaded"
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
         "#{file.path} is ours, but no original of it is kept; to have Linx build it again: " <>
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

  # Another run, or a build of Linx, was at it at the same time.
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
