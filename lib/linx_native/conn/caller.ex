defmodule LinxNative.Conn.Caller do
  @moduledoc """
  A process that waits for a reply, for so long at most, and may die meanwhile.

  Of either the connection hears, as `{:over, caller}` and `{:DOWN, caller, :process, pid, reason}` with the reference that
  names the caller.
  """

  @enforce_keys [:from, :monitor, :timer]
  defstruct @enforce_keys

  @opaque t :: %__MODULE__{}

  @doc "Begins to watch it. `timeout` is in milliseconds."
  @spec watch(GenServer.from(), timeout) :: t
  def watch({pid, _tag} = from, timeout) do
    monitor = Process.monitor(pid)
    timer = if timeout != :infinity, do: Process.send_after(self(), {:over, monitor}, timeout)
    %__MODULE__{from: from, monitor: monitor, timer: timer}
  end

  @doc "Replies, which ends it."
  @spec reply(t, term) :: :ok
  def reply(%__MODULE__{} = caller, result) do
    forget(caller)
    GenServer.reply(caller.from, result)
  end

  @doc "Ends it without a reply."
  @spec forget(t) :: :ok
  def forget(%__MODULE__{} = caller) do
    # A timer that went off a moment ago names a caller that nobody knows any more.
    if caller.timer, do: Process.cancel_timer(caller.timer, info: false)
    Process.demonitor(caller.monitor, [:flush])
    :ok
  end

  @doc "The reference that names it."
  @spec reference(t) :: reference
  def reference(%__MODULE__{monitor: monitor}), do: monitor
end
