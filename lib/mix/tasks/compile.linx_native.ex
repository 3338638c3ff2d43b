defmodule Mix.Tasks.Compile.LinxNative do
  @shortdoc "Builds the native libraries with cargo"

  @moduledoc """
  Builds the native libraries with cargo and puts them into the application's `priv`.

  `mix compile` runs it. Cargo decides what is out of date. A library that did not change is not written again.

  The build is `cargo build --release --locked`, in every Mix environment. A debug build would be slower. It would also have the
  debug checks of Rust's standard library, one of which ends the VM if other code has closed a descriptor.

  ## Options

    * `--force` - builds this project's libraries again, but not the crates that they depend on

  ## For another machine

  `LINX_NATIVE_TARGET` names another target by Rust's name, for example `aarch64-unknown-linux-gnu`. In a Nerves project the
  variables that Nerves sets name it: `TARGET_ARCH`, `TARGET_OS`, `TARGET_ABI`, and for 32-bit ARM `CROSSCOMPILE`.

  ## Without Rust

  `LINX_NATIVE_PREBUILT` is the absolute path of a folder that `mix linx_native.package` has written. The libraries are then copied
  from there, and nothing is built.

  The choice is stored in the build folder, so later commands of the same Mix environment do not need the variable. They copy the
  libraries from that folder again if the version or the target has changed. The empty value, `LINX_NATIVE_PREBUILT=`,
  chooses cargo again. `mix clean` and `mix deps.compile linx_native --force` forget the choice.

  ## Where things go

  `netlink_socket.so`, `linx_mount.so` and `linx_native.so` go to `priv` in the build folder
  (`_build/ENV/lib/linx_native/priv`), never to the source tree. Each file is written under another name and then renamed, because
  writing into a library that a running VM has mapped would crash that VM.

  Cargo's own files go to `native` in the same build folder, or to `CARGO_TARGET_DIR` if that is set. `mix clean`
  removes the first, but leaves the second alone: other projects may share it.
  """

  use Mix.Task.Compiler

  alias LinxNative.Build.{Cargo, Prebuilt, Target}
  alias LinxNative.Build.Cargo.Output
  alias Mix.Task.Compiler.Diagnostic

  @recursive true
  @crates ~w(netlink_socket linx_mount linx_native)

  @doc """
  Returns the names of the libraries, which are the names of their crates.
  """
  @spec crates() :: [String.t()]
  def crates, do: @crates

  @impl true
  def run(args) do
    {opts, _argv, _invalid} = OptionParser.parse(args, switches: [force: :boolean])
    root = File.cwd!()

    case libraries(root, opts[:force]) do
      :unchanged ->
        {:noop, []}

      {:ok, libraries, output, origin} ->
        {install(libraries, origin), diagnostics(output, root)}

      {:error, reason, output} ->
        Mix.shell().error("linx_native: " <> reason)
        {:error, diagnostics(output, root) ++ [to_diagnostic(%{message: reason}, root)]}
    end
  end

  @impl true
  def manifests, do: [manifest()]

  # Uses only this module, Mix and the standard library, because the project's other modules may be cleaned already.
  @impl true
  def clean do
    if not link?(priv()), do: Enum.each(@crates, &File.rm(library(&1)))
    File.rm_rf!(target_dir())
    File.rm(manifest())
    :ok
  end

  # Returns the contents of the libraries by name, the output of cargo, and their origin for the manifest.
  defp libraries(root, force?) do
    case {System.get_env("LINX_NATIVE_PREBUILT"), read_manifest()} do
      {nil, "prebuilt " <> chosen} -> take_again(chosen, force?)
      {folder, _} when folder in [nil, ""] -> build(root, force?)
      {folder, _} -> take(folder)
    end
  end

  defp take(folder) do
    case Prebuilt.read(folder, @crates, version(), Target.current()) do
      {:ok, libraries} ->
        {:ok, libraries, [], "prebuilt #{version()} #{Target.current()} #{folder}"}

      {:error, reason} ->
        {:error, "LINX_NATIVE_PREBUILT: " <> reason, []}
    end
  end

  # The folder may be gone, as long as nothing from it is needed.
  defp take_again(chosen, force?) do
    [version, target, folder] = String.split(chosen, " ", parts: 3)

    if {version, target} == {version(), Target.current()} and not (force? || false) and
         Enum.all?(@crates, &File.exists?(library(&1))) do
      :unchanged
    else
      with {:error, reason, output} <- take(folder) do
        {:error, reason <> " (chosen by an earlier build; LINX_NATIVE_PREBUILT= chooses cargo)",
         output}
      end
    end
  end

  defp build(root, force?) do
    with {:ok, cargo} <- Cargo.find(root),
         {:ok, _output} <- if(force?, do: forget_crates(cargo, root), else: {:ok, []}),
         {target, env} = Target.cargo(),
         {:ok, output} <- Cargo.run(cargo, build_args() ++ target, root, env) do
      built = output |> Output.libraries() |> Map.take(@crates)

      case @crates -- Map.keys(built) do
        [] ->
          {:ok, Map.new(built, fn {crate, file} -> {crate, File.read!(file)} end), output,
           "cargo"}

        [crate | _] ->
          {:error, "cargo succeeded, but named no library of #{crate}", output}
      end
    end
  end

  # Cargo has no option to build again, so this removes its artifacts.
  defp forget_crates(cargo, root) do
    {target, env} = Target.cargo()
    Cargo.run(cargo, ~w(clean --release --locked) ++ scope() ++ target, root, env)
  end

  defp build_args do
    ~w(build --release --locked --message-format=json-render-diagnostics) ++ scope()
  end

  defp scope do
    # Cargo reads CARGO_TARGET_DIR itself, and resolves a relative path from the folder that it runs in.
    target = if System.get_env("CARGO_TARGET_DIR"), do: [], else: ["--target-dir", target_dir()]
    Enum.flat_map(@crates, &["--package", &1]) ++ target
  end

  defp install(libraries, origin) do
    own_priv()
    results = for {crate, content} <- libraries, do: replace_if_other(library(crate), content)
    replace_if_other(manifest(), origin)
    if :ok in results, do: :ok, else: :noop
  end

  # If the source tree has a priv/, Mix links the one in the build folder to it. Mix keeps a real folder, and copies new files of the
  # source tree to it.
  defp own_priv do
    if link?(priv()) do
      source = Path.expand(File.read_link!(priv()), Path.dirname(priv()))
      File.rm!(priv())
      if File.dir?(source), do: File.cp_r!(source, priv())
    end

    File.mkdir_p!(priv())
  end

  defp replace_if_other(path, content) do
    if File.read(path) == {:ok, content}, do: :noop, else: replace(path, content)
  end

  defp replace(path, content) do
    beside = beside(path)
    File.mkdir_p!(Path.dirname(path))
    File.write!(beside, content)
    File.rename!(beside, path)
  after
    File.rm(beside(path))
  end

  defp beside(path), do: "#{path}.#{System.pid()}.tmp"

  defp diagnostics(output, root) do
    output |> Output.diagnostics() |> Enum.map(&to_diagnostic(&1, root))
  end

  # A diagnostic without a file is about the workspace.
  defp to_diagnostic(found, root) do
    %Diagnostic{
      compiler_name: "linx_native",
      severity: Map.get(found, :severity, :error),
      message: found.message,
      file: found |> Map.get(:file, "Cargo.toml") |> Path.expand(root),
      position: Map.get(found, :line, 0)
    }
  end

  defp link?(path), do: match?({:ok, _target}, File.read_link(path))
  defp library(crate), do: Path.join(priv(), crate <> ".so")
  defp priv, do: Path.join(Mix.Project.app_path(), "priv")
  defp target_dir, do: Path.join(Mix.Project.app_path(), "native")
  defp version, do: Mix.Project.config()[:version]

  # Contains the origin of the libraries: "cargo", or "prebuilt" with version, target and folder.
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.linx_native")

  defp read_manifest do
    case File.read(manifest()) do
      {:ok, origin} -> origin
      {:error, _} -> ""
    end
  end
end
