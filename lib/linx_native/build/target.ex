defmodule LinxNative.Build.Target do
  @moduledoc false

  # The machine that the libraries are built for, by Rust's name, for example `aarch64-unknown-linux-gnu`. It is the first of:
  #
  #   1. `LINX_NATIVE_TARGET`
  #   2. the variables that Nerves sets: `TARGET_ARCH`, `TARGET_OS`, `TARGET_ABI`, and for 32-bit ARM `CROSSCOMPILE`
  #   3. this machine

  @typedoc "Environment variables, as `System.get_env/0` returns them."
  @type environment :: %{String.t() => String.t()}

  @doc """
  Returns the target that the environment chooses, or `nil`.
  """
  @spec chosen(environment) :: String.t() | nil
  def chosen(env \\ System.get_env())

  def chosen(%{"LINX_NATIVE_TARGET" => target}) when target != "", do: target

  def chosen(%{"TARGET_ARCH" => arch, "TARGET_OS" => os, "TARGET_ABI" => abi} = env) do
    "#{arch |> exact_arch(env) |> rust_arch()}-unknown-#{os}-#{abi}"
  end

  def chosen(_env), do: nil

  @doc """
  Returns the chosen target, or this machine.
  """
  @spec current(environment) :: String.t()
  def current(env \\ System.get_env()) do
    chosen(env) || host()
  end

  @doc """
  Returns Rust's name for a machine, from its name in `:erlang.system_info(:system_architecture)`.

      iex> LinxNative.Build.Target.host("x86_64-pc-linux-gnu")
      "x86_64-unknown-linux-gnu"
  """
  @spec host(String.t()) :: String.t()
  def host(system_architecture \\ to_string(:erlang.system_info(:system_architecture))) do
    [arch | rest] = String.split(system_architecture, "-")
    last = List.last(rest)
    abi = if last =~ ~r/^(gnu|musl)/, do: last, else: "gnu"
    "#{rust_arch(arch)}-unknown-linux-#{abi}"
  end

  @doc """
  Returns the arguments of cargo for a chosen target, and the environment variable that names the linker.

  The linker is `CC`, else the gcc of `CROSSCOMPILE`, else Debian's cross compiler for the target. If cargo's own variable for the
  linker is set, no other is added.
  """
  @spec cargo(environment) :: {[String.t()], [{String.t(), String.t()}]}
  def cargo(env \\ System.get_env()) do
    case chosen(env) do
      nil -> {[], []}
      target -> {["--target", target], linker(target, env)}
    end
  end

  defp linker(target, env) do
    variable = "CARGO_TARGET_#{target |> String.upcase() |> String.replace("-", "_")}_LINKER"

    found =
      env["CC"] || (env["CROSSCOMPILE"] && env["CROSSCOMPILE"] <> "-gcc") || debian_gcc(target)

    if env[variable] || !found, do: [], else: [{variable, found}]
  end

  defp debian_gcc(target) do
    case String.split(target, "-") do
      [arch, "unknown", "linux", abi] ->
        System.find_executable("#{debian_arch(arch)}-linux-#{abi}-gcc")

      _ ->
        nil
    end
  end

  # Nerves calls every 32-bit ARM `arm`. The name of its compiler has the exact one: armv7-nerves-linux-gnueabihf.
  defp exact_arch("arm", %{"CROSSCOMPILE" => prefix}) do
    prefix |> Path.basename() |> String.split("-") |> hd()
  end

  defp exact_arch(arch, _env), do: arch

  defp rust_arch("armv7" <> _), do: "armv7"
  defp rust_arch("armv6" <> _), do: "arm"
  defp rust_arch("riscv64"), do: "riscv64gc"
  defp rust_arch(arch), do: arch

  defp debian_arch("arm" <> _), do: "arm"
  defp debian_arch("riscv64gc"), do: "riscv64"
  defp debian_arch(arch), do: arch
end
