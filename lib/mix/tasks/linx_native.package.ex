defmodule Mix.Tasks.LinxNative.Package do
  @shortdoc "Packs the libraries for machines without Rust"

  @moduledoc """
  Builds the libraries and packs them for `LINX_NATIVE_PREBUILT`.

      mix linx_native.package DIR
      LINX_NATIVE_TARGET=aarch64-unknown-linux-gnu mix linx_native.package DIR

  Writes an archive for each library to `DIR`, and the list `SHA256SUMS`, which `sha256sum --check` reads. The archives have the
  names that rustler_precompiled uses, for example `liblinx_mount-v0.1.0-nif-2.15-x86_64-unknown-linux-gnu.so.tar.gz`. Archives
  for other targets and versions stay.

  A library needs a C library at least as new as the one of the build machine. So build on the oldest system that will run it.
  """

  use Mix.Task

  alias LinxNative.Build.{Prebuilt, Target}
  alias LinxNative.Loader

  @impl true
  def run(args) do
    case {args, Mix.Project.config()[:app]} do
      # Mix does not run the compiler of a dependency again if another target is chosen.
      {_, app} when app != :linx_native ->
        Mix.raise("Run it in the folder of linx_native itself.")

      {[folder], _} ->
        package(folder)

      _ ->
        Mix.raise("Usage:  mix linx_native.package DIR")
    end
  end

  defp package(folder) do
    # If the compiler fails, this raises.
    Mix.Task.run("compile")

    libraries =
      for name <- Mix.Tasks.Compile.LinxNative.crates(),
          into: %{},
          do: {name, File.read!("#{Loader.path(name)}.so")}

    version = Mix.Project.config()[:version]

    for path <- Prebuilt.write!(folder, libraries, version, Target.current()) do
      Mix.shell().info(path)
    end
  end
end
