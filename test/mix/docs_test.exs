defmodule LinxNative.DocsTest do
  @moduledoc """
  The documentation that `script/docs` builds: the modules for users, and every guide.
  """

  use ExUnit.Case, async: true

  @moduletag :rust

  @root Path.expand("../..", __DIR__)

  @public [
    Linx.Mount.Native,
    Linx.Netlink.Socket.Native,
    LinxNative,
    LinxNative.Attributes,
    LinxNative.Conn,
    LinxNative.Conn.Filter,
    LinxNative.Conn.Test,
    LinxNative.Conn.Trace,
    LinxNative.Errno,
    LinxNative.Error,
    LinxNative.Genetlink,
    LinxNative.Genetlink.Family,
    LinxNative.Message,
    LinxNative.Mount,
    LinxNative.Mount.Error,
    LinxNative.Rtnetlink,
    Mix.Tasks.Compile.LinxNative,
    Mix.Tasks.Compile.LinxNativeSwap,
    Mix.Tasks.LinxNative.Package,
    Mix.Tasks.LinxNative.Swap
  ]

  defp docs, do: Mix.Project.config()[:docs]

  # The modules of the tests are compiled into the application too.
  defp of_tests?(module), do: match?(["LinxNative", "Test" | _], Module.split(module))

  test "just the modules that are for users have documentation" do
    {:ok, modules} = :application.get_key(:linx_native, :modules)

    documented =
      for module <- modules,
          not of_tests?(module),
          {:docs_v1, _, _, _, %{}, _, _} <- [Code.fetch_docs(module)],
          do: module

    assert Enum.sort(documented) == Enum.sort(@public)
  end

  test "every guide and page is in the sidebar, and each that is there exists" do
    pages = Enum.flat_map(~w(*.md docs/*.md), &Path.wildcard(Path.join(@root, &1)))
    pages = Enum.map(pages, &Path.relative_to(&1, @root))
    assert Enum.sort(docs()[:extras]) == Enum.sort(pages)
  end

  test "every module is in a group, but the one that leads to the others, and the names of errors" do
    groups = docs()[:groups_for_modules]

    in_group? = fn module, {_name, patterns} ->
      Enum.any?(List.wrap(patterns), fn
        %Regex{} = pattern -> inspect(module) =~ pattern
        other -> other == module
      end)
    end

    ungrouped = Enum.reject(@public, fn module -> Enum.any?(groups, &in_group?.(module, &1)) end)
    assert [LinxNative, LinxNative.Errno | tasks] = ungrouped
    assert Enum.all?(tasks, &match?(["Mix", "Tasks" | _], Module.split(&1)))
  end
end
