defmodule LinxNative.Build.UnderLinx do
  @moduledoc false

  # Replaces the C libraries of Linx each time a project with both Linx and linx_native is compiled; see docs/under-linx.md.
  # mix.exs of linx_native calls it, or, in an umbrella, `mix compile.linx_native_swap`.

  alias LinxNative.Build.Swap
  alias Mix.Task.Compiler.Diagnostic

  @module "Elixir.Linx.Mount.Native.beam"

  @doc """
  Puts the Rust libraries into the `priv` of Linx, if the current project has Linx.
  """
  @spec run :: {:ok | :noop | :error, [Diagnostic.t()]}
  def run do
    if Mix.Project.config()[:app] == :linx or :linx in Mix.Project.deps_apps(),
      do: run(Path.join(Mix.Project.build_path(), "lib")),
      else: {:noop, []}
  end

  defp run(lib) do
    [linx, ours] = for app <- ~w(linx linx_native), do: Path.join(lib, app)

    cond do
      not has_modules?(linx) -> {:noop, []}
      has_modules?(ours) -> fail(twice())
      true -> swap(Path.join(linx, "priv"))
    end
  end

  defp swap(priv) do
    case Swap.swap(priv) do
      {:ok, []} ->
        {:noop, []}

      {:ok, events} ->
        Mix.shell().info(Swap.describe(events, priv))
        {:ok, []}

      {:error, reason} ->
        fail(reason)
    end
  end

  defp twice do
    "both Linx and linx_native define Linx.Mount.Native and Linx.Netlink.Socket.Native. Linx has to be in `deps` of the " <>
      "same mix.exs as linx_native. If it is: mix deps.compile linx_native --force"
  end

  defp has_modules?(app), do: File.regular?(Path.join([app, "ebin", @module]))

  defp fail(reason) do
    Mix.shell().error("linx_native: " <> reason)

    {:error,
     [
       %Diagnostic{
         compiler_name: "linx_native",
         severity: :error,
         message: reason,
         file: Path.expand("mix.exs"),
         position: 0
       }
     ]}
  end
end
