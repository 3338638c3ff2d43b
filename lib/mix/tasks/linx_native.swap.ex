defmodule Mix.Tasks.LinxNative.Swap do
  @shortdoc "Puts our libraries in place of the C ones of a built Linx"

  @moduledoc """
  Puts our two libraries in place of the C ones in the `priv` folder of a built Linx.

      mix linx_native.swap _build/prod/lib/linx/priv
      mix linx_native.swap _build/prod/lib/linx/priv --restore

  The originals stay beside them, as `netlink_socket.so.orig` and `linx_mount.so.orig`. VMs that run keep the libraries
  that they have loaded; those that start later load the new ones.

  Nothing is changed unless the folder holds both files and ours load in this OTP, and when one of the two cannot be
  replaced, neither is. To do it again changes nothing.

  A build of Linx may put its own libraries back. Then swap again, after deleting the two `.orig` files.

  ## Options

    * `--restore` - puts the originals back
  """

  use Mix.Task

  alias LinxNative.Build.Swap

  @impl true
  def run(args) do
    case OptionParser.parse(args, strict: [restore: :boolean]) do
      {options, [folder], []} ->
        Mix.Task.run("compile")
        swap_or_restore(folder, Keyword.get(options, :restore, false))

      _ ->
        Mix.raise("Type:  mix linx_native.swap DIR [--restore]")
    end
  end

  defp swap_or_restore(folder, false), do: folder |> Swap.swap() |> report("Rust ones", folder)
  defp swap_or_restore(folder, true), do: folder |> Swap.restore() |> report("originals", folder)

  defp report({:error, reason}, _which, _folder), do: Mix.raise(reason)

  defp report({:ok, :unchanged}, which, folder) do
    Mix.shell().info("The libraries in #{folder} are the #{which} already.")
  end

  defp report({:ok, :changed}, which, folder) do
    Mix.shell().info(
      "The libraries in #{folder} are the #{which} now. VMs that run keep what they have loaded."
    )
  end
end
