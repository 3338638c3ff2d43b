defmodule LinxNative.Test.Rounds do
  @moduledoc """
  Calls that are made one after the other, many times. To be used in a peer.
  """

  @doc """
  Makes each of the calls, `{module, function, args}`, in turn, so many times. Returns the different answers of each.
  """
  def run(calls, times) do
    answers = for _ <- 1..times, do: Enum.map(calls, fn {m, f, args} -> apply(m, f, args) end)
    answers |> Enum.zip_with(&Enum.uniq/1)
  end
end
