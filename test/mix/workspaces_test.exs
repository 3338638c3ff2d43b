defmodule LinxNative.WorkspacesTest do
  @moduledoc """
  The Cargo workspaces: the product, the tools of the tests, and the tools of the benchmarks.
  """

  use ExUnit.Case, async: true

  @moduletag :rust

  @root Path.expand("../..", __DIR__)
  @tools ~w(test/native bench/native)

  defp read!(workspace, file), do: File.read!(Path.join([@root, workspace, file]))

  # From the heading of the lints to the end of the file.
  defp rules(workspace) do
    [_, rules] = String.split(read!(workspace, "Cargo.toml"), "[workspace.lints.rust]\n")
    rules
  end

  defp versions(workspace) do
    ~r/^name = "(.*)"\nversion = "(.*)"$/m
    |> Regex.scan(read!(workspace, "Cargo.lock"), capture: :all_but_first)
    |> MapSet.new(&List.to_tuple/1)
  end

  test "lints and profile are the same in all of them" do
    for tools <- @tools, do: assert({tools, rules(tools)} == {tools, rules(".")})
  end

  test "the tools link the same versions of crates as the product" do
    product = versions(".")
    named = Map.new(product)

    for tools <- @tools, {name, version} <- versions(tools), Map.has_key?(named, name) do
      # A tool may need an older version as well.
      assert {name, named[name]} in versions(tools), "#{name} is #{version} in #{tools}"
    end
  end

  test "the product has a member for each crate in native/, and no other" do
    members = Regex.scan(~r/^    "(native\/.*)",$/m, read!(".", "Cargo.toml"))
    folders = Path.wildcard(Path.join(@root, "native/*/Cargo.toml"))

    assert Enum.sort(for [_, member] <- members, do: Path.join([@root, member, "Cargo.toml"])) ==
             Enum.sort(folders)
  end
end
