defmodule LinxNative.Test.StubModule do
  @moduledoc """
  A module of given functions and nothing else, loaded in another VM, with the library of a given file.
  """

  alias LinxNative.Test.Vm

  @doc """
  What `:erlang.load_nif/2` said: `:ok`, or `{kind, text}`.

  The module is loaded then, or not, accordingly.
  """
  def load(vm, module, functions, file) do
    {:ok, ^module, binary} = :compile.forms(forms(module, functions, Path.rootname(file)))
    # What a test expects to fail need not be on the screen.
    Vm.call(vm, :logger, :remove_handler, [:default])
    answer = Vm.call(vm, :code, :load_binary, [module, ~c"bare", binary])

    case Vm.call(vm, :persistent_term, :get, [module]) do
      :ok ->
        {:module, ^module} = answer
        :ok

      {:error, {kind, text}} ->
        {:error, :on_load_failure} = answer
        {kind, to_string(text)}
    end
  end

  # The answer of load_nif/2 goes to the log only, so it is put where we find it.
  defp forms(module, functions, path) do
    source = """
    -module('#{module}').
    -on_load(load/0).
    -export([#{Enum.map_join(functions, ", ", fn {name, arity} -> "#{name}/#{arity}" end)}]).
    load() ->
      Answer = erlang:load_nif("#{path}", 0),
      persistent_term:put('#{module}', Answer),
      Answer.
    #{Enum.map_join(functions, "\n", &stub/1)}
    """

    {:ok, tokens, _} = source |> to_charlist() |> :erl_scan.string()
    tokens |> Enum.chunk_while([], &split/2, fn [] -> {:cont, []} end) |> Enum.map(&form/1)
  end

  defp stub({name, arity}) do
    arguments = List.duplicate("_", arity) |> Enum.join(", ")
    "#{name}(#{arguments}) -> erlang:nif_error(not_loaded)."
  end

  defp split({:dot, _} = dot, tokens), do: {:cont, Enum.reverse([dot | tokens]), []}
  defp split(token, tokens), do: {:cont, [token | tokens]}

  defp form(tokens) do
    {:ok, form} = :erl_parse.parse_form(tokens)
    form
  end
end
