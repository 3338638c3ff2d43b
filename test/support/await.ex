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

  @doc """
  Waits until every NIF of this VM has returned that is running, also those whose callers were killed: of these the VM
  tells nothing, but it cannot take their schedulers out of use before.
  """
  def nifs do
    :erlang.system_flag(:multi_scheduling, :block)
    :erlang.system_flag(:multi_scheduling, :unblock)
    :ok
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
