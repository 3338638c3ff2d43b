defmodule LinxNative.Conn.Caller do
  @moduledoc false

  # A process that waits for a reply of the server. It keeps the time itself, so its timeout does not depend on the clock of
  # another node, and ends in time also if the server does not run. If it gives up or ends, the server receives a cast
  # `{:gave_up, id}`, or the message `{{:gone, id}, monitor, :process, pid, reason}`.

  @enforce_keys [:from, :id, :monitor]
  defstruct [:claim | @enforce_keys]

  @opaque t :: %__MODULE__{}

  @typedoc """
  Decides who was first, the server with its reply or the caller with its timeout. `nil` if that does not matter, or if the
  caller is on another node.
  """
  @type claim :: :atomics.atomics_ref() | nil

  @doc "Monitors the process of a call and returns it as a caller."
  @spec watch(GenServer.from(), reference, claim) :: t
  def watch({pid, _tag} = from, id, claim \\ nil) do
    monitor = :erlang.monitor(:process, pid, tag: {:gone, id})
    %__MODULE__{from: from, id: id, monitor: monitor, claim: claim}
  end

  @doc "Replies to a caller and stops monitoring it."
  @spec reply(t, term) :: :ok
  def reply(%__MODULE__{} = caller, result) do
    forget(caller)
    GenServer.reply(caller.from, result)
  end

  @doc "Stops monitoring a caller without a reply."
  @spec forget(t) :: :ok
  def forget(%__MODULE__{} = caller) do
    # No flush, because it would search all messages: a :gone message that is queued already has an id that is unknown by then.
    Process.demonitor(caller.monitor)
    :ok
  end

  @doc "Returns the id of a caller."
  @spec id(t) :: reference
  def id(%__MODULE__{id: id}), do: id

  @doc "Claims the right to reply to a caller. Returns `false` if the caller has given up."
  @spec claim(t) :: boolean
  def claim(%__MODULE__{claim: nil}), do: true
  def claim(%__MODULE__{claim: claim}), do: won?(claim)

  @doc "Returns a claim for a caller on this node."
  @spec new_claim() :: :atomics.atomics_ref()
  def new_claim, do: :atomics.new(1, signed: false)

  @doc "Reports whether the calling side is the first to claim."
  @spec won?(claim) :: boolean
  def won?(claim), do: :atomics.compare_exchange(claim, 1, 0, 1) == :ok
end
