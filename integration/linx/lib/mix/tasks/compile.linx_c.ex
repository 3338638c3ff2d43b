defmodule Mix.Tasks.Compile.LinxC do
  @moduledoc """
  Builds the C libraries into `priv` of the build folder.

  A library is built if it is missing, or if the fingerprint of what it is built from differs from that of the last build:
  its source, the compiler, `CFLAGS` and the version of the VM. `mix compile --force` builds in any case. Each is written
  beside its place and renamed into it.
  """

  use Mix.Task.Compiler

  @libraries ~w(netlink_socket linx_mount)

  @impl true
  def run(args) do
    {options, _, _} = OptionParser.parse(args, switches: [force: :boolean])
    built = read_manifest()
    now = Map.new(@libraries, &{&1, fingerprint(&1)})
    stale? = &(options[:force] || built[&1] != now[&1] || not File.exists?(library(&1)))

    case Enum.filter(@libraries, stale?) do
      [] ->
        {:noop, []}

      stale ->
        File.mkdir_p!(priv())
        Enum.each(stale, &build/1)
        File.write!(manifest(), :erlang.term_to_binary(now))
        {:ok, []}
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    Enum.each([manifest() | Enum.map(@libraries, &library/1)], &File.rm/1)
  end

  defp build(name) do
    beside = library(name) <> ".#{System.pid()}.tmp"
    include = Path.join([:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "include"])
    fixed = ~w(-std=gnu11 -fPIC -shared -fvisibility=hidden -isystem #{include})

    case System.cmd(cc(), cflags() ++ fixed ++ ["-o", beside, source(name)]) do
      {_, 0} -> File.rename!(beside, library(name))
      {said, _} -> Mix.raise("cannot build #{name}: #{said}")
    end

    Mix.shell().info("linx: built #{name}.so")
  end

  defp fingerprint(name) do
    parts = [File.read!(source(name)), cc(), cflags(), :erlang.system_info(:version)]
    :erlang.md5(:erlang.term_to_binary(parts))
  end

  defp read_manifest do
    case File.read(manifest()) do
      {:ok, bytes} -> :erlang.binary_to_term(bytes)
      {:error, :enoent} -> %{}
    end
  end

  defp cc, do: System.get_env("CC", "cc")
  defp cflags, do: "CFLAGS" |> System.get_env("-O2") |> String.split()
  defp source(name), do: Path.join("c_src", name <> ".c")
  defp library(name), do: Path.join(priv(), name <> ".so")
  defp priv, do: Path.join(Mix.Project.app_path(), "priv")
  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.linx_c")
end
