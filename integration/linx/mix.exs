# What `mix linx_native.swap` is tried on: an application in the shape of Linx 0.1, with the C libraries.
defmodule Linx.MixProject do
  use Mix.Project

  def project, do: [app: :linx, version: "0.1.0", elixir: "~> 1.14"]
  def application, do: []
end
