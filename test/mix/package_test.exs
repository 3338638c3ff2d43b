defmodule LinxNative.PackageTest do
  @moduledoc """
  What a package has of this project: cargo and Mix refuse to build from less.
  """

  use ExUnit.Case, async: true

  @root Path.expand("../..", __DIR__)

  test "each member of the workspace, and each file that the manifests name" do
    packaged = for path <- files(), do: path |> Path.expand(@root)

    packaged? = fn path ->
      Enum.any?(packaged, &(path == &1 or String.starts_with?(path, &1 <> "/")))
    end

    for path <- packaged, do: assert(File.exists?(path), "#{path} is not there")
    manifest = File.read!(Path.join(@root, "Cargo.toml"))
    [_, members] = Regex.run(~r/^members = \[(.*?)\]/ms, manifest)
    members = for [_, member] <- Regex.scan(~r/"([^"]+)"/, members), do: Path.join(@root, member)
    assert members != []
    assert Enum.reject(members, &packaged?.(Path.join(&1, "Cargo.toml"))) == []

    for member <- members,
        [_, path] <-
          Regex.scan(~r/^(?:build|path) = "([^"]+)"/m, File.read!(member <> "/Cargo.toml")) do
      path = Path.expand(path, member)
      assert File.exists?(path), "#{path} is not there"
      assert packaged?.(path), "#{path} is not in the package"
    end

    # What the build reads besides.
    for name <- ~w(Cargo.toml Cargo.lock mix.exs lib),
        do: assert(packaged?.(Path.join(@root, name)))
  end

  test "nothing that the tests or the workplace make" do
    for path <- files(),
        name <- ~w(test target _build c_src_legacy priv),
        do: refute(path == name)
  end

  defp files, do: Mix.Project.config()[:package][:files]
end
