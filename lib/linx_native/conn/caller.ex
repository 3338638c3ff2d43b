defmodule LinxNative.Conn.Caller do
  @moduledoc false

  # A process that waits for a reply of the server. It keeps the time itself, so that no clock of another node counts, and
  # its timeout is over in time also if the server does not run. The server hears of its end by its `id`: a cast
  # `{:gave_up, id}` of its own, or `{{:gone, id}, monitor, :process, pid, reason}`.

  @enforce_keys [:from, :id, :monitor]
  defstruct [:claim | @enforce_keys]

  @opaque t :: %__MODULE__{}

  @typedoc """
  Decides who is first, the server with its reply or the process with its timeout. `nil` if it does not matter, or if the
  process is on another node.
  """
  @type claim :: :atomics.atomics_ref() | nil

  @doc "Begins to watch it."
  @spec watch(GenServer.from(), reference, claim) :: t
  def watch({pid, _tag} = from, id, claim \\ nil) do
    monitor = :erlang.monitor(:process, pid, tag: {:gone, id})
    %__MODULE__{from: from, id: id, monitor: monitor, claim: claim}
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
    # What a monitor has told already is of an id that nobody knows any more: to flush it would search all messages.
    Process.demonitor(caller.monitor)
    :ok
  end

  @doc "The reference that names it."
  @spec id(t) :: reference
  def id(%__MODULE__{id: id}), do: id

  @doc "Claims the right to end it, once. `false` if the process has given up."
  @spec claim(t) :: boolean
  def claim(%__MODULE__{claim: nil}), do: true
  def claim(%__MODULE__{claim: claim}), do: won?(claim)

  @doc "Returns a claim for a process of this node."
  @spec new_claim() :: :atomics.atomics_ref()
  def new_claim, do: :atomics.new(1, signed: false)

  @doc "Whether it is the first that claims."
  @spec won?(claim) :: boolean
  def won?(claim), do: :atomics.compare_exchange(claim, 1, 0, 1) == :ok
end
