defmodule LinxNative.Conn.ParityTest do
  @moduledoc """
  The table "Compared with mdlayher/netlink" of `docs/conn.md`: all of its rows are tested in `parity`.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Conn

  @moduletag :conn

  @root Path.expand("../..", __DIR__)
  @tests Path.join(__DIR__, "parity/*_test.exs")

  describe "the table" do
    setup do
      text = File.read!(Path.join(@root, "docs/conn.md"))
      [_, section] = String.split(text, "## Compared with mdlayher/netlink\n")
      [section, _] = String.split(section, "\n## ", parts: 2)
      lines = String.split(section, "\n", trim: true)
      [_head, _line | rows] = Enum.filter(lines, &String.starts_with?(&1, "|"))
      %{rows: for(row <- rows, do: String.split(row, " | ") |> Enum.map(&String.trim(&1, "| ")))}
    end

    test "has a test for each row, and a row for each test", %{rows: rows} do
      tested = @tests |> Path.wildcard() |> Enum.flat_map(&tested/1)
      assert Enum.sort(for [theirs, _ours] <- rows, do: theirs) == Enum.sort(tested)
    end

    test "names functions that there are", %{rows: rows} do
      for [_theirs, ours] <- rows,
          [_, module, name, arity] <- Regex.scan(~r/`([\w.]*?)\.?([a-z_]+)\/(\d)`/, ours) do
        module = if module == "", do: Conn, else: Module.concat([module])
        {:module, ^module} = Code.ensure_loaded(module)
        assert function_exported?(module, String.to_atom(name), String.to_integer(arity)), ours
      end
    end
  end

  # The names of the file's describes that have a test. A run of this file alone does not load the modules.
  defp tested(file) do
    for {:describe, _, [name, [do: body]]} <- nodes(Code.string_to_quoted!(File.read!(file))),
        Enum.any?(nodes(body), &match?({:test, _, [_ | _]}, &1)),
        do: name
  end

  defp nodes(quoted), do: Macro.prewalker(quoted)
end
