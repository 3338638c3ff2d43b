defmodule LinxNative.Conn.Error do
  @moduledoc """
  The kernel's refusal of a request, an `NLMSG_ERROR` message, or its failure in the middle of a dump.

    * `name` - the error, as `:eexist`, see `LinxNative.Errno`
    * `errno` - its number
    * `text` - the kernel's own words, where it has any (`NLMSGERR_ATTR_MSG`, with the option `:ext_ack`)
    * `offset` - the offset in bytes, from the start of the request's header, of the attribute that is wrong
      (`NLMSGERR_ATTR_OFFS`)
    * `missing` - the type of an attribute that is not there and has to be (`NLMSGERR_ATTR_MISS_TYPE`, since Linux 6.0)
  """

  alias LinxNative.{Alignment, Attributes, Errno, Message}

  defexception [:name, :errno, :text, :offset, :missing]

  @type t :: %__MODULE__{
          name: Errno.t(),
          errno: pos_integer,
          text: String.t() | nil,
          offset: non_neg_integer | nil,
          missing: non_neg_integer | nil
        }

  @header 16

  # enum nlmsgerr_attrs of linux/netlink.h
  @text 1
  @offset 2
  @missing 5
  @attributes %{@text => :string, @offset => :u32, @missing => :u32}

  @doc """
  Reads the outcome of a request from an `NLMSG_ERROR` or `NLMSG_DONE` message.
  """
  @spec outcome(Message.t(), :error | :done) :: :ok | {:error, t | {:malformed, {:no_outcome, 0}}}
  def outcome(%Message{body: <<0::native-32, _::binary>>}, _kind), do: :ok

  # Not every protocol says how a dump ended.
  def outcome(%Message{body: <<>>}, :done), do: :ok

  def outcome(%Message{body: <<code::native-signed-32, rest::binary>>} = message, kind)
      when code < 0 do
    attributes =
      if Message.flag?(message, :ack_tlvs), do: message |> skip(kind, rest) |> read(), else: []

    {:error,
     %__MODULE__{
       name: Errno.name(-code),
       errno: -code,
       text: Attributes.get(attributes, @text),
       offset: Attributes.get(attributes, @offset),
       missing: Attributes.get(attributes, @missing)
     }}
  end

  def outcome(%Message{}, _kind), do: {:error, {:malformed, {:no_outcome, 0}}}

  @impl true
  def message(%__MODULE__{} = error) do
    [
      to_string(error.name),
      error.text && ": #{error.text}",
      error.offset && " (at byte #{error.offset} of the request)",
      error.missing && " (attribute #{error.missing} is missing)"
    ]
    |> Enum.filter(& &1)
    |> Enum.join()
  end

  # After the error comes the request: its header, and unless the answer is capped all of it.
  defp skip(_message, :done, rest), do: rest

  defp skip(message, :error, <<length::native-32, _::binary>> = rest) do
    length = if Message.flag?(message, :capped), do: @header, else: length
    if length <= byte_size(rest), do: rest |> Alignment.take(length) |> elem(1), else: <<>>
  end

  defp skip(_message, :error, _rest), do: <<>>

  # What the kernel says besides the error is worth less than the error.
  defp read(bytes) do
    case Attributes.decode(bytes, @attributes) do
      {:ok, attributes} -> attributes
      {:error, _reason} -> []
    end
  end
end
