defmodule LinxNative.Test.StubModule do
  @moduledoc """
  A module with stubs for the given functions and nothing else, loaded in another VM with a given library.
  """

  alias LinxNative.Test.Vm

  @doc """
  Loads the module. Returns the result of `:erlang.load_nif/2`: `:ok`, or `{kind, text}`, and the module is not loaded then.
  """
  def load(vm, module, functions, file) do
    {:ok, ^module, binary} = :compile.forms(forms(module, functions, Path.rootname(file)))
    # An expected failure is not printed.
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

  # The result of load_nif/2 would go only to the log, so the module stores it.
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
