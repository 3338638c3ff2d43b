defmodule LinxNative.Build.TargetTest do
  use ExUnit.Case, async: true

  alias LinxNative.Build.Target

  @moduletag :rust
  @nerves "/opt/nerves/bin/"

  test "derives this machine from its name in OTP" do
    for {otp, rust} <- [
          {"x86_64-pc-linux-gnu", "x86_64-unknown-linux-gnu"},
          {"x86_64-redhat-linux", "x86_64-unknown-linux-gnu"},
          {"x86_64-alpine-linux-musl", "x86_64-unknown-linux-musl"},
          {"aarch64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"},
          {"armv7l-unknown-linux-gnueabihf", "armv7-unknown-linux-gnueabihf"},
          {"riscv64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"}
        ],
        do: assert(Target.host(otp) == rust)

    assert Target.chosen(%{}) == nil
    assert Target.chosen(%{"LINX_NATIVE_TARGET" => ""}) == nil
    assert Target.cargo(%{}) == {[], []}

    assert Target.current(%{}) ==
             Target.host(to_string(:erlang.system_info(:system_architecture)))
  end

  test "LINX_NATIVE_TARGET has priority" do
    env = Map.put(nerves("aarch64", "gnu", "aarch64-nerves-linux-gnu"), "LINX_NATIVE_TARGET", "t")
    assert Target.chosen(env) == "t"
    assert Target.current(env) == "t"
  end

  test "the variables of Nerves choose the target" do
    for {arch, abi, prefix, rust} <- [
          {"aarch64", "gnu", "aarch64-nerves-linux-gnu", "aarch64-unknown-linux-gnu"},
          {"arm", "gnueabihf", "armv6-nerves-linux-gnueabihf", "arm-unknown-linux-gnueabihf"},
          {"arm", "gnueabihf", "armv7-nerves-linux-gnueabihf", "armv7-unknown-linux-gnueabihf"},
          {"x86_64", "musl", "x86_64-nerves-linux-musl", "x86_64-unknown-linux-musl"},
          {"riscv64", "gnu", "riscv64-nerves-linux-gnu", "riscv64gc-unknown-linux-gnu"}
        ],
        do: assert(Target.chosen(nerves(arch, abi, prefix)) == rust)

    # A shell may have one of these variables by accident.
    assert Target.chosen(%{"TARGET_ARCH" => "arm"}) == nil
  end

  test "cargo gets the target and the linker" do
    env = nerves("aarch64", "gnu", "aarch64-nerves-linux-gnu")
    variable = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"
    args = ["--target", "aarch64-unknown-linux-gnu"]

    assert Target.cargo(env) == {args, [{variable, @nerves <> "aarch64-nerves-linux-gnu-gcc"}]}
    assert Target.cargo(Map.put(env, "CC", "/cc")) == {args, [{variable, "/cc"}]}
    assert Target.cargo(Map.merge(env, %{"CC" => "/cc", variable => "/other"})) == {args, []}

    # Neither Nerves nor Debian know it.
    other = %{"LINX_NATIVE_TARGET" => "x86_64-unknown-none"}
    assert Target.cargo(other) == {["--target", "x86_64-unknown-none"], []}
  end

  defp nerves(arch, abi, prefix) do
    %{
      "TARGET_ARCH" => arch,
      "TARGET_OS" => "linux",
      "TARGET_ABI" => abi,
      "CROSSCOMPILE" => @nerves <> prefix
    }
  end
end
