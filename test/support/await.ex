defmodule LinxNative.Test.Await do
  @moduledoc """
  Waits for a condition, bounded.
  """

  @default_timeout 5_000
  @pause 5

  @doc """
  Returns the first true value of `condition`, or `nil` when there was none within `timeout` ms.
  """
  def until(timeout \\ @default_timeout, condition) do
    poll(condition, now() + timeout)
  end

  defp poll(condition, deadline) do
    condition.() || if now() < deadline, do: poll_again(condition, deadline)
  end

  defp poll_again(condition, deadline) do
    receive do
    after
      @pause -> poll(condition, deadline)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
