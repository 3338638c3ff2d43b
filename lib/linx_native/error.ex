defmodule LinxNative.Error do
  @moduledoc """
  The exception in every `{:error, _}` of `LinxNative.Conn` and the modules around it. Functions whose name ends in `!` raise it,
  and so do streams.

  Match on `reason`, which is an atom. `Exception.message/1` says what happened and what to do.

      case Conn.request(conn, request) do
        {:ok, messages} -> messages
        {:error, %LinxNative.Error{reason: :enodev}} -> []
        {:error, error} -> raise error
      end

  The other fields tell more, if there is more to tell:

    * `stage` - the step that failed, see `t:stage/0`
    * `errno` - the error number, if the kernel returned one; `reason` is then its name
    * `text` - the kernel's own message (`NLMSGERR_ATTR_MSG`, with the option `:ext_ack`). Control characters and bytes that are
      not UTF-8 are escaped, because a name in it may be a container's
    * `offset` - an offset in bytes: of the wrong attribute in the request (`NLMSGERR_ATTR_OFFS`), or, with `:malformed`, of the
      wrong bytes in the input
    * `missing` - the type of an attribute that the request lacks (`NLMSGERR_ATTR_MISS_TYPE`, since Linux 6.0)
    * `detail` - depends on the reason, see `t:reason/0`
    * `messages` - with `:dump_interrupted`, the messages that had arrived
  """

  alias LinxNative.{Errno, Message, Names}

  defexception [:reason, :stage, :errno, :text, :offset, :missing, :detail, messages: []]

  @type t :: %__MODULE__{
          reason: reason,
          stage: stage,
          errno: pos_integer | nil,
          text: String.t() | nil,
          offset: non_neg_integer | nil,
          missing: non_neg_integer | nil,
          detail: term,
          messages: [Message.t()]
        }

  @typedoc """
  The reason of the error.

    * `:timeout` - no answer came in time
    * `:closed` - the connection is closed, or was closed during the call
    * `:overrun` - answers or events were lost, perhaps this one (ENOBUFS)
    * `:dump_interrupted` - the content of the dump changed during the dump, so it may be wrong (`NLM_F_DUMP_INTR`)
    * `:truncated` - a datagram of `detail` bytes is longer than the option `:datagram` allows
    * `:malformed` - the bytes are malformed: `detail` is a `t:LinxNative.Message.reason/0`, a
      `t:LinxNative.Attributes.reason/0`, or `:no_outcome` (the last message of an answer does not contain its outcome)
    * `:not_accepted` - a request to another port than the kernel's needs `accept: :any`
    * `:filter` - the kernel would refuse the filter: `detail` is a `t:LinxNative.Conn.Filter.refusal/0`
    * `:protocol` - the message belongs to another protocol than the connection: `detail` has both
    * `:unknown_family`, `:unknown_group` - generic netlink has no such family here, or the family has no such multicast group:
      `detail` is `{name, known}` or `{family, name, known}`
    * `:unknown_type` - `LinxNative.Rtnetlink` has no names for messages of the type `detail`
    * `:sequence`, `:port_id` - the reply belongs to another request, or to another socket
    * another atom - the name of an errno, for example `:eperm`, or the number if Linux has no name for it
  """
  @type reason ::
          :timeout
          | :closed
          | :overrun
          | :dump_interrupted
          | :truncated
          | :malformed
          | :not_accepted
          | :filter
          | :protocol
          | :unknown_type
          | :unknown_family
          | :unknown_group
          | :sequence
          | :port_id
          | Errno.t()

  @typedoc """
  The step that failed.

    * `:thread`, `:open`, `:setns`, `:socket` - the stages of `Linx.Netlink.Socket.Native.open_in_netns/2`
    * `:bind` - `bind(2)`
    * `:send`, `:receive` - `sendto(2)`, `recvmsg(2)`
    * `:request` - the kernel refused the request
    * `{:group, group}` - joins or leaves a multicast group
    * another atom - sets or reads an option of the socket, for example `:read_buffer`
    * `nil` - no system call failed
  """
  @type stage :: atom | {:group, pos_integer}

  @doc """
  Returns the error of an errno in a stage.
  """
  @spec from_errno(stage, pos_integer) :: t
  def from_errno(stage, errno) do
    %__MODULE__{reason: Errno.name(errno), stage: stage, errno: errno}
  end

  @doc false
  @spec malformed({term, non_neg_integer}) :: t
  def malformed({what, offset}) do
    %__MODULE__{reason: :malformed, detail: what, offset: offset}
  end

  @impl true
  def message(%__MODULE__{errno: nil} = error), do: describe(error)

  def message(%__MODULE__{} = error) do
    [
      "#{failed(error.stage)}: #{Errno.describe(error.errno)}",
      error.text && "the kernel says: #{error.text}",
      error.offset && "at byte #{error.offset} of the request",
      error.missing && "attribute #{error.missing} is missing",
      hint(error.stage, error.reason)
    ]
    |> Enum.filter(& &1)
    |> Enum.join("; ")
  end

  defp describe(%{reason: :timeout}) do
    "no answer in time; the kernel may have carried out a request that was sent"
  end

  defp describe(%{reason: :closed}), do: "the connection is closed"

  defp describe(%{reason: :overrun}) do
    "answers or events were lost because a buffer was full: ask for the state again, and receive events faster, " <>
      "on a connection of their own, or with a larger :read_buffer or :event_buffer"
  end

  defp describe(%{reason: :dump_interrupted} = error) do
    "the content changed during the dump, so it may be wrong: ask again, for example with the option :retry " <>
      "(the field :messages has the #{length(error.messages)} messages that had arrived)"
  end

  defp describe(%{reason: :truncated, detail: length}) do
    "a datagram of #{length} bytes does not fit: start the connection with a larger option :datagram"
  end

  defp describe(%{reason: :malformed} = error) do
    "malformed at byte #{error.offset}: #{malformation(error.detail)}"
  end

  defp describe(%{reason: :not_accepted}) do
    "a request to another port than the kernel's needs a connection with the option accept: :any"
  end

  defp describe(%{reason: :filter, detail: reason}) do
    "the kernel would refuse the filter: #{inspect(reason)}"
  end

  defp describe(%{reason: :protocol, detail: {message, conn}}) do
    "a message of #{inspect(message)} cannot go over a connection to #{inspect(conn)}"
  end

  defp describe(%{reason: :unknown_family, detail: {name, known}}) do
    Names.unknown("no family of generic netlink", name, known) <>
      " (a family may need a kernel module, and some families exist only in the initial network namespace)"
  end

  defp describe(%{reason: :unknown_group, detail: {family, name, known}}) do
    Names.unknown("no multicast group of #{family}", name, known)
  end

  defp describe(%{reason: :unknown_type, detail: type}) do
    "LinxNative.Rtnetlink has no names for the header and attributes of messages of the type #{inspect(type)}"
  end

  defp describe(%{reason: :sequence}),
    do: "the reply has another sequence number than the request"

  defp describe(%{reason: :port_id}), do: "the reply is for another port than the request's"
  defp describe(%{reason: reason}), do: inspect(reason)

  defp malformation(:short_header), do: "fewer bytes are left than a header has"
  defp malformation(:bad_length), do: "the length field does not count the header"
  defp malformation(:truncated), do: "the length field reaches beyond the end"

  defp malformation({:bad_value, type}),
    do: "the value of attribute #{inspect(type)} does not match the schema"

  defp malformation(:no_outcome),
    do: "the last message of the answer does not contain its outcome"

  defp failed(:thread), do: "cannot make a thread"
  defp failed(:open), do: "cannot open the network namespace"
  defp failed(:setns), do: "cannot enter the network namespace"
  defp failed(:socket), do: "cannot make the socket"
  defp failed(:bind), do: "cannot bind the socket"
  defp failed(:send), do: "cannot send"
  defp failed(:receive), do: "cannot receive"
  defp failed(:request), do: "the kernel refused the request"
  defp failed({:group, group}), do: "cannot join or leave the group #{group}"
  defp failed(option), do: "cannot set or read #{inspect(option)}"

  # Adds to a message what the errno alone does not tell.
  defp hint(:open, :enoent), do: "the file does not exist, or the process has ended"
  defp hint(:open, :eacces), do: "access to that process needs CAP_SYS_PTRACE"
  defp hint(:setns, :einval), do: "the file does not belong to a network namespace"
  defp hint(:setns, :eperm), do: "CAP_SYS_ADMIN is needed"
  defp hint(:socket, :eprotonosupport), do: "the kernel does not have the protocol"
  defp hint(:send, :econnrefused), do: "no socket has that port"
  defp hint(:send, :eagain), do: "the buffer of the receiver is full"
  defp hint({:group, _}, :einval), do: "the protocol has no such group"

  defp hint({:group, _}, :eperm),
    do: "CAP_NET_ADMIN is needed in the namespace of the connection"

  defp hint(:request, :eperm),
    do: "most changes need CAP_NET_ADMIN in the namespace of the connection"

  defp hint(:request, :ebusy), do: "the socket may be in the middle of a dump"
  defp hint(:listen_all_nsid, :eperm), do: "CAP_NET_BROADCAST is needed"
  defp hint(_stage, _reason), do: nil
end
