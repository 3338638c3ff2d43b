defmodule LinxNative.Test.Rounds do
  @moduledoc """
  Makes calls one after the other, many times. To be used in another VM.
  """

  @doc """
  Makes each of the calls, `{module, function, args}`, in turn, `times` times. Returns the different answers of each.
  """
  def run(calls, times) do
    answers = for _ <- 1..times, do: Enum.map(calls, fn {m, f, args} -> apply(m, f, args) end)
    answers |> Enum.zip_with(&Enum.uniq/1)
  end
end
