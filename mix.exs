defmodule LinxNative.MixProject do
  use Mix.Project

  def project do
    [
      app: :linx_native,
      version: version(),
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env()),
      # Not of every run; Elixir 1.19 and later would warn of their names.
      test_ignore_filters: ["test/sanitize/seeded.exs", "test/soak/soak.exs"],
      # Last: the task is a module of this project and has to be compiled itself first.
      compilers: Mix.compilers() ++ [:linx_native],
      start_permanent: Mix.env() == :prod,
      deps: [],
      description: "The native parts of Linx in Rust: netlink sockets and mounts in namespaces",
      package: package()
    ]
  end

  def application, do: [extra_applications: extra_applications(Mix.env())]

  # To capture logs takes Elixir's Logger; the libraries themselves do without.
  defp extra_applications(:test), do: [:logger]
  defp extra_applications(_env), do: []

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(:bench), do: ["lib", "bench"]
  defp elixirc_paths(_env), do: ["lib"]

  defp package do
    [
      licenses: ["Apache-2.0"],
      # All of native/, also what users never build: cargo refuses a workspace that lacks a member.
      files:
        ~w(lib native examples Cargo.toml Cargo.lock clippy.toml mix.exs .formatter.exs README.md DESIGN.md LICENSE)
    ]
  end

  # One version for the application and its crates.
  defp version do
    manifest = File.read!(Path.join(__DIR__, "Cargo.toml"))
    [_, version] = Regex.run(~r/^version = "([^"]+)"$/m, manifest)
    version
  end
end
