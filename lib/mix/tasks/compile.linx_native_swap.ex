defmodule Mix.Tasks.Compile.LinxNativeSwap do
  @shortdoc "Puts our libraries in place of the C ones of the Linx among the dependencies"

  @moduledoc """
  Puts our two libraries in place of the C ones of the Linx among the dependencies.

  An application does not need it: `mix compile` does this where both `:linx` and `:linx_native` are in `deps`. In an umbrella
  one app that has both needs it, in its `mix.exs`:

      compilers: Mix.compilers() ++ [:linx_native_swap]
  """

  use Mix.Task.Compiler

  @recursive true

  @impl true
  def run(_args), do: LinxNative.Build.UnderLinx.run()
end
