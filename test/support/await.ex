defmodule LinxNative.Test.Await do
  @moduledoc """
  Waits for a condition, bounded.
  """

  @pause 5
  # An emulated machine is some twenty times slower than the one it runs on.
  @patience 300_000

  @doc """
  Returns how long a test waits for what must happen, in ms: far longer than it takes on a slow machine.
  """
  def patience, do: @patience

  @doc """
  Returns the first true value of `condition`, or `nil` when there was none within `timeout` ms.
  """
  def until(timeout \\ @patience, condition) do
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
