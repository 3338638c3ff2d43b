defmodule Mix.Tasks.Compile.LinxNativeSwap do
  @shortdoc "Replaces the C libraries of the dependency Linx"

  @moduledoc """
  Replaces the two C libraries of the dependency Linx by those of linx_native.

  An application does not need it: `mix compile` does this if both `:linx` and `:linx_native` are in `deps`. In an umbrella, one
  app that has both needs it in its `mix.exs`:

      compilers: Mix.compilers() ++ [:linx_native_swap]
  """

  use Mix.Task.Compiler

  @recursive true

  @impl true
  def run(_args), do: LinxNative.Build.UnderLinx.run()
end
