defmodule LinxNative.Test.Await do
  @moduledoc """
  Waits for a condition, with a timeout.
  """

  @pause 5
  # An emulated machine is about twenty times slower than the machine that it runs on.
  @patience 300_000

  @doc """
  Returns the timeout for conditions that must become true, in ms. It is far longer than a slow machine needs.
  """
  def patience, do: @patience

  @doc """
  Returns the first true value of `condition`, or `nil` if there is none within `timeout` ms. Asks again after `pause` ms.
  """
  def until(timeout \\ @patience, pause \\ @pause, condition) do
    poll(condition, pause, now() + timeout)
  end

  @doc """
  Waits until every running NIF of this VM has returned, also if its caller was killed. The VM does not report such NIFs, but it can
  block their schedulers only after they have returned.
  """
  def nifs do
    :erlang.system_flag(:multi_scheduling, :block)
    :erlang.system_flag(:multi_scheduling, :unblock)
    :ok
  end

  defp poll(condition, pause, deadline) do
    condition.() || if now() < deadline, do: poll_again(condition, pause, deadline)
  end

  defp poll_again(condition, pause, deadline) do
    receive do
    after
      pause -> poll(condition, pause, deadline)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end
