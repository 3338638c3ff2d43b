defmodule LinxNative.Conn.Outcome do
  @moduledoc false

  alias LinxNative.{Alignment, Attributes, Error, KernelText, Message}

  @header 16

  # enum nlmsgerr_attrs of linux/netlink.h
  @text 1
  @offset 2
  @missing 5
  @attributes %{@text => :string, @offset => :u32, @missing => :u32}

  @doc """
  Reads the outcome of a request from an `NLMSG_ERROR` or `NLMSG_DONE` message.
  """
  @spec read(Message.t(), :error | :done) :: :ok | {:error, Error.t()}
  def read(%Message{body: <<0::native-32, _::binary>>}, _kind), do: :ok

  # Some protocols end a dump without an outcome.
  def read(%Message{body: <<>>}, :done), do: :ok

  def read(%Message{body: <<code::native-signed-32, rest::binary>>} = message, kind)
      when code < 0 do
    attributes =
      if Message.flag?(message, :ack_tlvs), do: message |> skip(kind, rest) |> decode(), else: []

    {:error,
     %{
       Error.from_errno(:request, -code)
       | text: text(Attributes.get(attributes, @text)),
         offset: Attributes.get(attributes, @offset),
         missing: Attributes.get(attributes, @missing)
     }}
  end

  def read(%Message{}, _kind), do: {:error, Error.malformed({:no_outcome, 0})}

  defp text(nil), do: nil
  defp text(text), do: KernelText.printable(text)

  # The error is followed by the header of the request and, unless the answer is capped, the rest of the request.
  defp skip(_message, :done, rest), do: rest

  defp skip(message, :error, <<length::native-32, _::binary>> = rest) do
    length = if Message.flag?(message, :capped), do: @header, else: length
    if length <= byte_size(rest), do: rest |> Alignment.take(length) |> elem(1), else: <<>>
  end

  defp skip(_message, :error, _rest), do: <<>>

  # If the attributes are malformed, the error itself is still returned.
  defp decode(bytes) do
    case Attributes.decode(bytes, @attributes) do
      {:ok, attributes} -> attributes
      {:error, _reason} -> []
    end
  end
end
