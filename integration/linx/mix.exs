# Stands for the existing Linx: it has the modules, files and functions that our libraries take the places of, and builds
# its C libraries as Linx does. Written for the tests; nothing of Linx is in it.
defmodule Linx.MixProject do
  use Mix.Project

  def project do
    [
      app: :linx,
      version: "0.1.0",
      elixir: "~> 1.14",
      # Last: the task is a module of this project and has to be compiled itself first.
      compilers: Mix.compilers() ++ [:linx_c]
    ]
  end

  def application, do: []
end
