defmodule LinxNative.Message do
  @moduledoc """
  Netlink messages: `struct nlmsghdr` of `linux/netlink.h` and the body that follows it; see `netlink(7)`.

      flags = Message.flags([:request, :dump])
      request = %Message{type: 18, flags: flags, sequence: 1, body: <<0::128>>}
      datagram = Message.encode(request)
      {:ok, [^request]} = Message.decode(datagram)

  The header is in the byte order of the machine. The struct has no field for the length, because it
  follows from the body.
  """

  alias LinxNative.{Alignment, Error, Names}

  defstruct type: 0, flags: 0, sequence: 0, port_id: 0, body: <<>>, protocol: nil

  @typedoc "A number of 32 bits: a port id, a sequence number, a multicast group."
  @type u32 :: 0..0xFFFF_FFFF

  @typedoc """
  A message.

    * `type` - `nlmsg_type`, 0 to 65535, for example `18` for `RTM_GETLINK`. The types below 16
      (`NLMSG_MIN_TYPE`) belong to netlink itself.
    * `flags` - `nlmsg_flags`, 0 to 65535; see `flags/1`.
    * `sequence` - `nlmsg_seq`, 0 to 4294967295. A reply has the number of its request.
    * `port_id` - `nlmsg_pid`, 0 to 4294967295: the address of the socket that sent the request, or 0. By
      custom, but not always, it is the id of a process.
    * `body` - the bytes after the header, without padding: a binary, or any iodata for `encode/1`.
    * `protocol` - the protocol that defines the type, for the names that `inspect/1` shows. `nil` if it is not known, or if
      this library has no names for it. It is not part of the bytes. A connection to another protocol refuses the message.
  """
  @type t :: %__MODULE__{
          type: 0..0xFFFF,
          flags: 0..0xFFFF,
          sequence: u32,
          port_id: u32,
          body: iodata,
          protocol: protocol | nil
        }

  @typedoc "A protocol with names for the types of its messages."
  @type protocol :: :route | :generic

  @typedoc """
  Why a message is malformed.

    * `:short_header` - fewer than the 16 bytes of a header are left
    * `:bad_length` - its length field is below 16, the length of the header
    * `:truncated` - its length field reaches beyond the end
  """
  @type reason :: :short_header | :bad_length | :truncated

  @typedoc "A flag, named after its constant: `:dump_intr` for `NLM_F_DUMP_INTR`."
  @type flag ::
          :request
          | :multi
          | :ack
          | :echo
          | :dump_intr
          | :dump_filtered
          | :root
          | :match
          | :atomic
          | :dump
          | :replace
          | :excl
          | :create
          | :append
          | :nonrec
          | :bulk
          | :capped
          | :ack_tlvs

  @header 16
  @max_length 0xFFFF_FFFF

  @flags %{
    request: 0x01,
    multi: 0x02,
    ack: 0x04,
    echo: 0x08,
    dump_intr: 0x10,
    dump_filtered: 0x20,
    root: 0x100,
    match: 0x200,
    atomic: 0x400,
    dump: 0x300,
    replace: 0x100,
    excl: 0x200,
    create: 0x400,
    append: 0x800,
    nonrec: 0x100,
    bulk: 0x200,
    capped: 0x100,
    ack_tlvs: 0x200
  }

  @doc """
  Returns the bytes of a message, padded with zeros to a multiple of 4.

  The length field counts header and body, but not the padding. To put several messages into one
  datagram, concatenate their bytes.

  A field out of its range, a length above 4294967295 and a body that is not iodata raise
  `ArgumentError`.
  """
  @spec encode(t) :: binary
  def encode(%__MODULE__{} = message) do
    length = @header + IO.iodata_length(message.body)

    header =
      <<check!(:length, length, @max_length)::native-32,
        check!(:type, message.type, 0xFFFF)::native-16,
        check!(:flags, message.flags, 0xFFFF)::native-16,
        check!(:sequence, message.sequence, 0xFFFF_FFFF)::native-32,
        check!(:port_id, message.port_id, 0xFFFF_FFFF)::native-32>>

    IO.iodata_to_binary([header, message.body, Alignment.padding(length)])
  end

  defp check!(_field, value, max) when is_integer(value) and value >= 0 and value <= max,
    do: value

  defp check!(field, value, max) do
    raise ArgumentError, "#{field} of a message is #{inspect(value)}, not in 0..#{max}"
  end

  @doc """
  Returns all messages of a datagram, in order. An empty datagram has none.

  The last message may lack its padding. The bodies are parts of `datagram` and keep it in memory, so
  copy (`:binary.copy/1`) what you keep for long. `protocol` is set in each message.

  ## Errors

  A `LinxNative.Error` with the reason `:malformed`. Its `offset` is the offset in bytes of the first malformed message in
  `datagram`, and its `detail` is a `t:reason/0`. No input raises.
  """
  @spec decode(datagram :: binary, protocol | nil) :: {:ok, [t]} | {:error, Error.t()}
  def decode(datagram, protocol \\ nil) when is_binary(datagram) do
    with {:error, wrong} <- decode(datagram, byte_size(datagram), protocol, []),
         do: {:error, Error.malformed(wrong)}
  end

  @doc """
  Returns the messages of a datagram as `decode/2` does, or raises the error.
  """
  @spec decode!(datagram :: binary, protocol | nil) :: [t]
  def decode!(datagram, protocol \\ nil) do
    case decode(datagram, protocol) do
      {:ok, messages} -> messages
      {:error, error} -> raise error
    end
  end

  defp decode(<<>>, _size, _protocol, messages), do: {:ok, Enum.reverse(messages)}

  defp decode(left, size, protocol, messages) do
    case first(left, protocol) do
      {:ok, message, left} -> decode(left, size, protocol, [message | messages])
      {:error, reason} -> {:error, {reason, size - byte_size(left)}}
    end
  end

  defp first(left, _protocol) when byte_size(left) < @header, do: {:error, :short_header}

  defp first(<<length::native-32, _::binary>>, _protocol) when length < @header,
    do: {:error, :bad_length}

  defp first(<<length::native-32, _::binary>> = left, _protocol) when length > byte_size(left) do
    {:error, :truncated}
  end

  defp first(
         <<length::native-32, type::native-16, flags::native-16, sequence::native-32,
           port_id::native-32, left::binary>>,
         protocol
       ) do
    {body, left} = Alignment.take(left, length - @header)

    message = %__MODULE__{
      type: type,
      flags: flags,
      sequence: sequence,
      port_id: port_id,
      body: body,
      protocol: protocol
    }

    {:ok, message, left}
  end

  @doc """
  Returns these flags as one number.

      iex> LinxNative.Message.flags([:request, :dump])
      0x301

  Some flags share a bit. Its meaning depends on the request: for example `:root` of a GET, `:replace`
  of a NEW and `:nonrec` of a DELETE. `:dump` is `:root` and `:match`.

  A number is returned as it is. An unknown name raises `ArgumentError`.
  """
  @spec flags([flag] | 0..0xFFFF) :: 0..0xFFFF
  def flags(number) when number in 0..0xFFFF, do: number
  def flags(names), do: Enum.reduce(names, 0, &Bitwise.bor(bits!(&1), &2))

  @doc """
  Reports whether a message has all the bits of a flag.

  An unknown name raises `ArgumentError`.
  """
  @spec flag?(t, flag) :: boolean
  def flag?(%__MODULE__{flags: flags}, name) do
    bits = bits!(name)
    Bitwise.band(flags, bits) == bits
  end

  defp bits!(name), do: Names.fetch!(@flags, name, "no flag of a message")

  @doc """
  Reports whether a message may be the reply to a request.

  The sequence numbers must be equal, and the port ids too. If the port id of the request is 0, the
  kernel chose it, and the port id of the reply is not checked.

  ## Errors

  A `LinxNative.Error` with one of these reasons:

    * `:sequence` - the sequence numbers differ: the reply belongs to another request
    * `:port_id` - the port ids differ: the reply is for another socket
  """
  @spec validate(request :: t, reply :: t) :: :ok | {:error, Error.t()}
  def validate(%__MODULE__{} = request, %__MODULE__{} = reply) do
    cond do
      reply.sequence != request.sequence -> {:error, %Error{reason: :sequence}}
      request.port_id not in [0, reply.port_id] -> {:error, %Error{reason: :port_id}}
      true -> :ok
    end
  end
end
