defmodule Mix.Tasks.LinxNative.Swap do
  @shortdoc "Replaces the C libraries of a built Linx"

  @moduledoc """
  Replaces the two C libraries in the `priv` folder of a built Linx by those of linx_native.

      mix linx_native.swap DIR
      mix linx_native.swap DIR --status
      mix linx_native.swap DIR --restore

  `DIR` is for example `_build/prod/lib/linx/priv`. If a project has both `:linx` and `:linx_native` in its `deps`, `mix compile`
  runs the first command by itself. See the guide "Under an existing Linx".

  The originals are kept in `swapped_out` beside `DIR`, which is not part of a release. Running VMs keep the libraries that they
  have loaded. VMs that start later load the new ones.

  Files are replaced only if the folder has both of them, and the libraries of linx_native load in the modules of that Linx. If one
  file cannot be replaced, the other is not replaced either. A second run changes nothing. A library that Linx has built
  since the last swap is never lost: a swap keeps it as the original, and `--restore` does not touch it.

  ## Options

    * `--status` - prints which libraries are in place, with their SHA-256, and changes nothing
    * `--restore` - restores the originals
  """

  use Mix.Task

  alias LinxNative.Build.Swap
  alias LinxNative.Build.Swap.Folder

  @impl true
  def run(args) do
    case OptionParser.parse(args, strict: [restore: :boolean, status: :boolean]) do
      {[], [folder], []} ->
        Mix.Task.run("compile")
        folder |> Swap.swap() |> report(folder)

      {[restore: true], [folder], []} ->
        folder |> Swap.restore() |> report(folder)

        if :linx in Mix.Project.deps_apps(),
          do:
            Mix.shell().info(
              "The next `mix compile` here swaps the files again, unless you remove :linx_native from deps."
            )

      {[status: true], [folder], []} ->
        status(folder)

      _ ->
        Mix.raise("Usage:  mix linx_native.swap DIR [--status | --restore]")
    end
  end

  defp report({:error, reason}, _folder), do: Mix.raise(reason)

  defp report({:ok, []}, folder),
    do: Mix.shell().info("linx_native: nothing to do in #{Path.relative_to_cwd(folder)}")

  defp report({:ok, events}, folder), do: Mix.shell().info(Swap.describe(events, folder))

  defp status(path) do
    case Folder.look(path) do
      {:ok, folder} -> Enum.each(folder.files, &show/1)
      {:error, reason} -> Mix.raise(reason)
    end
  end

  defp show(file) do
    Mix.shell().info("#{file.library}.so: #{whose(file.now, file.kept)}")
    Mix.shell().info("  in place  #{file.sum}")
    if file.kept, do: Mix.shell().info("  kept      #{file.kept}")
  end

  defp whose(:ours, nil), do: "linx_native; no original is kept"
  defp whose(:ours, _kept), do: "linx_native; the original is kept"
  defp whose(:older, nil), do: "linx_native, an earlier build; no original is kept"
  defp whose(:older, _kept), do: "linx_native, an earlier build; the original is kept"
  defp whose(:original, _kept), do: "Linx, the original; a swap or a restore was not finished"
  defp whose(:other, nil), do: "Linx"
  defp whose(:other, _kept), do: "Linx, built since the last swap; an older original is kept"
end
