defmodule LinxNative.Build.Cargo do
  @moduledoc false

  # Finds cargo, runs it, and returns a message of one line with the remedy if that fails.

  alias LinxNative.Build.Cargo.Output

  @rustup "install Rust with rustup (https://rustup.rs; on Debian 13 and later: apt-get install rustup)"
  @prebuilt "or set LINX_NATIVE_PREBUILT to a folder of prebuilt libraries"

  @doc """
  Finds a cargo that can build the workspace at `root`.

  The version it needs is the `rust-version` of the workspace's `Cargo.toml`.
  """
  @spec find(Path.t()) :: {:ok, Path.t()} | {:error, String.t(), []}
  def find(root) do
    with :ok <- check_system(:os.type()),
         {:ok, cargo} <- find_executable(),
         :ok <- check_version(cargo, root) do
      {:ok, cargo}
    else
      {:error, reason} -> {:error, reason, []}
    end
  end

  @doc """
  Returns an error if the native libraries cannot work on this operating system, which is given as by `:os.type/0`.
  """
  @spec check_system({atom(), atom()}) :: :ok | {:error, String.t()}
  def check_system({:unix, :linux}), do: :ok

  def check_system({_family, name}) do
    {:error, "this is #{name}, but namespaces and netlink need Linux; build and run it on Linux"}
  end

  @doc """
  Runs cargo in `root` with more environment variables, and returns its lines. The lines for people are also printed as they come.
  """
  @spec run(Path.t(), [String.t()], Path.t(), [{String.t(), String.t()}]) ::
          {:ok, [String.t()]} | {:error, String.t(), [String.t()]}
  def run(cargo, args, root, env) do
    # A progress bar is not a line.
    env = [{"CARGO_TERM_PROGRESS_WHEN", "never"} | env]
    env = for {name, value} <- env, do: {to_charlist(name), to_charlist(value)}
    how = [:binary, :exit_status, :stderr_to_stdout, line: 65_536, args: args, cd: root, env: env]

    # Not System.cmd/3, because in Elixir 1.14 it returns chunks, not lines.
    case {:spawn_executable, cargo} |> Port.open(how) |> collect("", []) do
      {0, output} -> {:ok, output}
      {status, output} -> {:error, explain(status, output), output}
    end
  end

  defp collect(port, begun, lines) do
    receive do
      {^port, {:data, {:noeol, piece}}} ->
        collect(port, begun <> piece, lines)

      {^port, {:data, {:eol, piece}}} ->
        line = begun <> piece
        if Output.for_user?(line), do: IO.puts(:stderr, line)
        collect(port, "", [line | lines])

      {^port, {:exit_status, status}} ->
        {status, Enum.reverse(lines)}
    end
  end

  defp explain(status, output) do
    said? = fn text -> Enum.any?(output, &(&1 =~ text)) end

    cond do
      said?.(~r/linker `[^`]+` not found|cannot find (Scrt1\.o|crti\.o|-lc\b)/) ->
        "there is no working linker; install a C compiler (Debian, Ubuntu: apt-get install gcc libc6-dev)"

      target = missing_target(output) ->
        "Rust's libraries for #{target} are not installed; `rustup target add #{target}`"

      said?.("does not support these crate types") ->
        "this Rust target builds no shared libraries; for musl set RUSTFLAGS=\"-C target-feature=-crt-static\""

      true ->
        "cargo failed with exit status #{status}, see its output above"
    end
  end

  defp missing_target(output) do
    Enum.find_value(output, fn line ->
      with [_, target] <- Regex.run(~r/the `([^`]+)` target may not be installed/, line),
           do: target
    end)
  end

  defp find_executable do
    case System.find_executable("cargo") do
      nil -> {:error, "cargo is not on PATH; #{@rustup}, #{@prebuilt}"}
      cargo -> {:ok, cargo}
    end
  end

  defp check_version(cargo, root) do
    manifest = File.read!(Path.join(root, "Cargo.toml"))
    [_, needed] = Regex.run(~r/^rust-version = "([\d.]+)"/m, manifest)

    case System.cmd(cargo, ["--version"], cd: root, stderr_to_stdout: true) do
      {"cargo " <> version, 0} ->
        if minor(version) >= minor(needed), do: :ok, else: {:error, too_old(version, needed)}

      {output, status} ->
        {:error, "`cargo --version` failed with exit status #{status}: #{first_line(output)}"}
    end
  end

  defp too_old(version, needed) do
    [number | _] = String.split(version)

    "cargo #{number} is too old, Rust #{needed} is needed; `rustup update stable`, or #{@rustup}, #{@prebuilt}"
  end

  # Not Version, because it takes a nightly of the needed version for an older version.
  defp minor(version) do
    [_, major, minor] = Regex.run(~r/^(\d+)\.(\d+)/, version)
    {String.to_integer(major), String.to_integer(minor)}
  end

  defp first_line(output), do: output |> String.split("\n", parts: 2) |> hd()
end
