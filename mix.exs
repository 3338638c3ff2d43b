defmodule LinxNative.MixProject do
  use Mix.Project

  # When Mix loads this project as a dependency, Mix.Project.get/0 still returns the project that depends on it.
  def project do
    under_linx? = under_linx?(Mix.Project.get())

    [
      app: :linx_native,
      version: version(),
      elixir: "~> 1.14",
      elixirc_paths: elixirc_paths(Mix.env(), under_linx?),
      # Last, because the task is a module of this project, which has to be compiled first.
      compilers: Mix.compilers() ++ [:linx_native],
      start_permanent: Mix.env() == :prod,
      deps: [],
      description: "The native parts of Linx in Rust: netlink sockets and mounts in namespaces",
      package: package(),
      docs: docs()
    ]
  end

  def application, do: [extra_applications: extra_applications(Mix.env())]

  # Capturing logs in tests needs Elixir's Logger. The libraries do not need it.
  defp extra_applications(:test), do: [:logger]
  defp extra_applications(_env), do: []

  # Linx has its own modules of lib/linx.
  defp elixirc_paths(env, true) do
    ["lib" | more] = elixirc_paths(env, false)
    (Path.wildcard("lib/*") -- ["lib/linx"]) ++ more
  end

  defp elixirc_paths(:test, false), do: ["lib", "test/support"]
  defp elixirc_paths(:bench, false), do: ["lib", "bench"]
  defp elixirc_paths(_env, false), do: ["lib"]

  defp under_linx?(nil), do: false

  defp under_linx?(_project) do
    config = Mix.Project.config()

    case Mix.Project.apps_paths() do
      nil ->
        swap_in_compile(config)
        linx?(config)

      apps ->
        root = Path.dirname(Mix.Project.project_file())
        named = Enum.flat_map(Map.values(apps), &atoms(Path.join([root, &1, "mix.exs"])))
        under_linx? = linx?(config) or :linx in named
        if under_linx? and :linx_native_swap not in named, do: Mix.raise(umbrella())
        under_linx?
    end
  end

  defp linx?(config), do: config[:app] == :linx or List.keymember?(config[:deps], :linx, 0)

  # Swaps after the first compiler, when the dependencies are compiled and before the project's own code runs. For Linx itself, swaps
  # after the last compiler.
  defp swap_in_compile(config) do
    compilers = config[:compilers] || Mix.compilers()

    for compiler <- Enum.uniq(Enum.take(compilers, 1) ++ Enum.take(compilers, -1)),
        do: Mix.Task.Compiler.after_compiler(compiler, &swap/1)
  end

  defp swap({:error, _} = failed), do: failed

  defp swap({status, diagnostics}) do
    Code.prepend_path(Path.join(Mix.Project.build_path(), "lib/linx_native/ebin"))
    under_linx = LinxNative.Build.UnderLinx

    # The module does not exist if the project has linx_native only in another Mix environment.
    with true <- Code.ensure_loaded?(under_linx),
         {done, more} when done != :noop <- under_linx.run() do
      {done, diagnostics ++ more}
    else
      _ -> {status, diagnostics}
    end
  end

  # Returns the atoms in a mix.exs. An umbrella has no such compilers, and Mix cannot load the projects of its apps while it loads this
  # one.
  defp atoms(file) do
    {_, atoms} =
      file
      |> File.read!()
      |> Code.string_to_quoted!()
      |> Macro.prewalk([], &{&1, if(is_atom(&1), do: [&1 | &2], else: &2)})

    atoms
  end

  defp umbrella do
    "linx_native: in an umbrella with Linx, an app that has both in its deps needs in its mix.exs: " <>
      "compilers: Mix.compilers() ++ [:linx_native_swap]"
  end

  defp package do
    [
      licenses: ["Apache-2.0"],
      files:
        ~w(lib native examples Cargo.toml Cargo.lock clippy.toml mix.exs .formatter.exs README.md docs DESIGN.md CONTRIBUTING.md
           SECURITY.md CHANGELOG.md LICENSE)
    ]
  end

  # For ExDoc, which is not a dependency. script/docs installs it.
  defp docs do
    [
      main: "readme",
      extras: ~w(README.md SECURITY.md CHANGELOG.md DESIGN.md CONTRIBUTING.md) ++ guides(),
      groups_for_extras: [Guides: guides(), "For contributors": ~w(DESIGN.md CONTRIBUTING.md)],
      assets: %{"docs/bench" => "bench"},
      groups_for_modules: [
        "Drop-in for Linx": [Linx.Netlink.Socket.Native, Linx.Mount.Native],
        Mounts: ~r/^LinxNative\.Mount/,
        Connections: [~r/^LinxNative\.Conn/, LinxNative.Error],
        Messages: ~r/^LinxNative\.(Message|Attributes|Rtnetlink|Genetlink)/
      ]
    ]
  end

  # In the order of the sidebar.
  defp guides do
    for name <- ~w(installation under-linx departures conn performance portability),
        do: "docs/#{name}.md"
  end

  # One version for the application and its crates.
  defp version do
    manifest = File.read!(Path.join(__DIR__, "Cargo.toml"))
    [_, version] = Regex.run(~r/^version = "([^"]+)"$/m, manifest)
    version
  end
end
