defmodule LinxNative.Message.Description do
  @moduledoc false

  # The names of the type and the flags of a message, for `inspect/1`.

  alias LinxNative.Message
  alias LinxNative.Rtnetlink.Types

  # NLMSG_* of linux/netlink.h, which every protocol has.
  @control %{1 => :noop, 2 => :error, 3 => :done, 4 => :overrun}
  @acknowledgements [:error, :done]

  # GENL_ID_CTRL of linux/genetlink.h. The kernel numbers the other families when they are registered.
  @nlctrl 16

  # NLM_F_* in the order in which they are matched. The meaning of the upper bits depends on the request.
  @common [:request, :multi, :ack, :echo, :dump_intr, :dump_filtered]
  @more %{
    acknowledgement: [:capped, :ack_tlvs],
    new: [:replace, :excl, :create, :append],
    delete: [:nonrec, :bulk],
    get: [:dump, :root, :match, :atomic],
    unknown: []
  }
  @dump_and_create Message.flags([:dump, :create])

  @doc "Returns the name of a message's type, or `nil`."
  @spec type(Message.t()) :: atom
  def type(%Message{type: type}) when is_map_key(@control, type), do: @control[type]
  def type(%Message{protocol: :generic, type: @nlctrl}), do: :nlctrl

  def type(%Message{protocol: :route, type: number}) do
    name = Types.name(number)
    if is_atom(name), do: name
  end

  def type(%Message{}), do: nil

  @doc "Returns the names of a message's flags. Bits whose meaning is not known are one number at the end."
  @spec flags(Message.t()) :: [Message.flag() | pos_integer]
  def flags(%Message{flags: flags} = message) do
    {names, rest} = Enum.flat_map_reduce(@common ++ more(message), flags, &take/2)
    if rest == 0, do: names, else: names ++ [rest]
  end

  defp take(name, flags) do
    bits = Message.flags([name])
    if Bitwise.band(flags, bits) == bits, do: {[name], flags - bits}, else: {[], flags}
  end

  defp more(message) do
    cond do
      type(message) in @acknowledgements -> @more.acknowledgement
      message.protocol == :route -> @more[request(message.type)]
      # Both bits are a dump in any protocol, unless something is to be created.
      Bitwise.band(message.flags, @dump_and_create) == Message.flags([:dump]) -> [:dump]
      true -> []
    end
  end

  # The types of rtnetlink come in groups of four, in this order. The fourth changes an existing object.
  defp request(type), do: elem({:new, :delete, :get, :new}, rem(type, 4))

  defimpl Inspect, for: Message do
    import Inspect.Algebra

    alias LinxNative.Message.Description

    # Fields of a struct may hold any term, so only valid types and flags are named.
    def inspect(%{type: type, flags: flags} = message, opts)
        when type in 0..0xFFFF and flags in 0..0xFFFF do
      fields = [
        string(type(message)),
        string("flags: #{flags(message)}"),
        field("sequence: ", message.sequence, opts),
        field("port_id: ", message.port_id, opts),
        field("body: ", message.body, opts)
      ]

      separate = fn doc, _opts -> doc end
      all = %{opts | limit: :infinity}
      container_doc("#LinxNative.Message<", fields, ">", all, separate)
    end

    def inspect(message, opts), do: Inspect.Any.inspect(message, opts)

    defp field(name, value, opts), do: concat(name, to_doc(value, opts))

    defp type(message) do
      case Description.type(message) do
        nil -> "type: #{message.type}"
        name -> "#{Kernel.inspect(name)} (#{message.type})"
      end
    end

    defp flags(message) do
      names = Description.flags(message) |> Enum.map_join(", ", &flag/1)
      "[#{names}] (#{hex(message.flags)})"
    end

    defp flag(name) when is_atom(name), do: Kernel.inspect(name)
    defp flag(bits), do: hex(bits)

    defp hex(number), do: "0x" <> Integer.to_string(number, 16)
  end
end
