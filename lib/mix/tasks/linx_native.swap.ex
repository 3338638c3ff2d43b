defmodule Mix.Tasks.LinxNative.Swap do
  @shortdoc "Puts our libraries in place of the C ones of a built Linx"

  @moduledoc """
  Puts our two libraries in place of the C ones in the `priv` folder of a built Linx.

      mix linx_native.swap DIR
      mix linx_native.swap DIR --status
      mix linx_native.swap DIR --restore

  `DIR` is for example `_build/prod/lib/linx/priv`. A project that has both Linx and `:linx_native` in its `deps` does not
  need the first one: `mix compile` swaps there. See the guide "Under an existing Linx".

  The originals go to `swapped_out` beside `DIR`, where a release does not take them. VMs that run keep the libraries that
  they have loaded; those that start later load the new ones.

  Nothing is changed unless the folder holds both files and ours load in the modules of that Linx. If one of the two cannot
  be replaced, neither is. To do it again changes nothing. A library that Linx has built since the last swap is never lost:
  a swap keeps it as the original, and `--restore` does not touch it.

  ## Options

    * `--status` - says whose the libraries are, with their SHA-256, and changes nothing
    * `--restore` - puts the originals back
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
              "The next `mix compile` here swaps again, unless :linx_native is out of deps."
            )

      {[status: true], [folder], []} ->
        status(folder)

      _ ->
        Mix.raise("Type:  mix linx_native.swap DIR [--status | --restore]")
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
    Mix.shell().info("  there  #{file.sum}")
    if file.kept, do: Mix.shell().info("  kept   #{file.kept}")
  end

  defp whose(:ours, nil), do: "ours; no original is kept"
  defp whose(:ours, _kept), do: "ours; the original is kept"
  defp whose(:older, nil), do: "ours, of an earlier build; no original is kept"
  defp whose(:older, _kept), do: "ours, of an earlier build; the original is kept"
  defp whose(:original, _kept), do: "Linx's, the original; a swap or a restore was not finished"
  defp whose(:other, nil), do: "Linx's"
  defp whose(:other, _kept), do: "Linx's, built since the last swap; an older original is kept"
end
