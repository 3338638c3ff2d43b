defmodule LinxNative.Conn.NamesFuzzTest do
  @moduledoc """
  Decodes messages of the kernel with changed, removed and inserted bytes, by the modules that name their numbers.
  """

  # Not async: the atoms are those of the whole VM.
  use LinxNative.Test.Case

  import LinxNative.Test.Conns, only: [do!: 2, open!: 2]

  alias LinxNative.{Conn, Error, Genetlink, Rtnetlink}
  alias LinxNative.Conn.Trace
  alias LinxNative.Test.Links

  @moduletag :conn

  @inputs 30_000
  @warm_up 3_000
  @seed {2026, 11, 24}

  # ETHTOOL_MSG_LINKSTATE_GET of linux/ethtool_netlink.h
  @linkstate_get 6
  @linkstate %{
    header: {1, {:nested, %{dev_index: {1, :u32}, dev_name: {2, :string}}}},
    link: {2, {:enum, :u8, [down: 0, up: 1]}}
  }

  test "#{@inputs} messages are decoded or refused as documented, can be inspected, and make no atom" do
    :rand.seed(:exsss, @seed)
    messages = List.to_tuple(messages())
    read_all(messages, @warm_up)
    before = :erlang.system_info(:atom_count)
    seen = read_all(messages, @inputs)
    assert :erlang.system_info(:atom_count) == before

    # Inputs that all fail alike would prove little.
    for outcome <- [:ok, :short_header, :bad_length, :truncated, :bad_value],
        do: assert({outcome, Map.get(seen, outcome, 0)} > {outcome, 100})
  end

  # A link, addresses, routes, neighbours and an answer of ethtool, as the kernel writes them.
  defp messages do
    netns = {:pid, Container.start([:net]).pid}
    conn = open!(:route, netns: netns)
    do!(conn, Links.create("blue"))
    index = Links.index!(conn, "blue")
    do!(conn, Links.up(index))
    do!(conn, Links.add_address(index, <<192, 0, 2, 1>>))
    neighbour = [dst: {192, 0, 2, 9}, lladdr: <<2, 0, 0, 0, 0, 9>>]
    header = [family: :inet, ifindex: index, state: [:permanent]]

    do!(
      conn,
      Rtnetlink.message(:newneigh, flags: [:create], header: header, attributes: neighbour)
    )

    route =
      for type <- [:getlink, :getaddr, :getroute, :getneigh],
          {:ok, answer} = Conn.request(conn, Rtnetlink.message(type, flags: [:dump])),
          message <- answer,
          do: message

    generic = open!(:generic, netns: netns)
    {:ok, ethtool} = Genetlink.family(generic, "ethtool")
    options = [flags: [:dump], attributes: [header: []], schema: @linkstate]
    request = Genetlink.message(ethtool, @linkstate_get, options)
    {:ok, replies} = Conn.request(generic, request)
    route ++ replies
  end

  defp read_all(messages, count) do
    Enum.reduce(1..count, %{}, fn _, seen ->
      message = elem(messages, random(tuple_size(messages)))
      message = %{message | body: mutate(random(4), message.body)}
      outcome = outcome(message, read(message))
      shown!(message)
      Map.update(seen, outcome, 1, &(&1 + 1))
    end)
  end

  defp read(%{protocol: :route} = message), do: Rtnetlink.decode(message)
  defp read(message), do: Genetlink.decode(message, @linkstate)

  # A decoded message encodes and decodes to the same.
  defp outcome(message, {:ok, decoded}) do
    assert read(write(message, decoded)) == {:ok, decoded}
    :ok
  end

  defp outcome(message, {:error, %Error{reason: :malformed} = error}) do
    assert error.offset in 0..byte_size(message.body)
    assert is_binary(Exception.message(error))

    case error.detail do
      {:bad_value, _key} -> :bad_value
      detail -> detail
    end
  end

  defp write(%{protocol: :route}, decoded) do
    Rtnetlink.message(decoded.type, header: decoded.header, attributes: decoded.attributes)
  end

  defp write(message, decoded) do
    family = %Genetlink.Family{
      name: "ethtool",
      id: message.type,
      version: decoded.version,
      header_size: 0,
      max_attribute: 0,
      commands: %{},
      groups: %{}
    }

    options = [attributes: decoded.attributes, schema: @linkstate]
    Genetlink.message(family, decoded.command, options)
  end

  defp shown!(message) do
    event = %Trace{direction: :received, time: ~U[2026-11-24 08:00:00Z], port_id: 0}
    assert Trace.format(self(), %{event | messages: [message]}) =~ "#LinxNative.Message<"
  end

  defp mutate(0, body), do: body
  defp mutate(1, body), do: binary_part(body, 0, random(byte_size(body) + 1))

  defp mutate(2, body) do
    {head, <<byte, tail::binary>>} = :erlang.split_binary(body, random(byte_size(body)))
    <<head::binary, Bitwise.bxor(byte, Enum.random([1, 2, 4, 8, 16, 32, 64, 128])), tail::binary>>
  end

  # A length or a type of an attribute.
  defp mutate(3, body) do
    {head, tail} = :erlang.split_binary(body, 2 * random(div(byte_size(body), 2)))
    <<_::16, tail::binary>> = tail
    <<head::binary, random(70)::native-16, tail::binary>>
  end

  defp random(count), do: :rand.uniform(count) - 1
end
