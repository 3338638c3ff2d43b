defmodule LinxNative.Build.Target do
  @moduledoc false

  # Which machine the libraries are for, by Rust's name for it, as `aarch64-unknown-linux-gnu`.
  #
  #   1. `LINX_NATIVE_TARGET`, if it is set;
  #   2. what the variables say that Nerves sets: `TARGET_ARCH`, `TARGET_OS`, `TARGET_ABI`, and for 32-bit ARM
  #      `CROSSCOMPILE`;
  #   3. else this machine.

  @typedoc "Environment variables, as `System.get_env/0` has them."
  @type environment :: %{String.t() => String.t()}

  @doc """
  The target that somebody chose, or `nil`.
  """
  @spec chosen(environment) :: String.t() | nil
  def chosen(env \\ System.get_env())

  def chosen(%{"LINX_NATIVE_TARGET" => target}) when target != "", do: target

  def chosen(%{"TARGET_ARCH" => arch, "TARGET_OS" => os, "TARGET_ABI" => abi} = env) do
    "#{arch |> exact_arch(env) |> rust_arch()}-unknown-#{os}-#{abi}"
  end

  def chosen(_env), do: nil

  @doc """
  The target, chosen or not.
  """
  @spec current(environment) :: String.t()
  def current(env \\ System.get_env()) do
    chosen(env) || host()
  end

  @doc """
  Rust's name for a machine, from what `:erlang.system_info(:system_architecture)` calls it.

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
  What cargo needs to build for a chosen target: its arguments, and the variable that names the linker.

  The linker is `CC`, else the gcc of `CROSSCOMPILE`, else the one that Debian has for the target. None is named if
  cargo's own variable does so already.
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

  # Nerves calls all of them arm, and has the difference in the name of the compiler: armv7-nerves-linux-gnueabihf.
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
