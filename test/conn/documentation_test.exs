defmodule LinxNative.DocumentationTest do
  @moduledoc """
  Runs the examples in the documentation of the modules around `LinxNative.Conn`.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Attributes, Conn, Genetlink, Message, Rtnetlink}
  alias LinxNative.Test.{Conns, Links}

  @moduletag :conn

  # The lines of code of a part of the documentation, with a process of its own for the one they name.
  defp code(text, pid \\ 4711) do
    text
    |> String.split("\n")
    |> Enum.filter(&(String.starts_with?(&1, "    ") or &1 == ""))
    |> Enum.join("\n")
    |> String.replace("4711", "#{pid}")
  end

  defp moduledoc(module) do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(module)
    text
  end

  defp doc(module, function) do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(module)
    [text] = for {{:function, ^function, _arity}, _, _, %{"en" => text}, _} <- docs, do: text
    text
  end

  defp before(text, mark) do
    [before, _after] = String.split(text, mark, parts: 2)
    before
  end

  defp section(text, title) do
    [_before, section] = String.split(text, "## #{title}\n", parts: 2)
    section |> String.split("\n## ") |> hd()
  end

  test "LinxNative.Attributes" do
    code = Attributes |> moduledoc() |> code()
    {_value, _binding} = Code.eval_string("alias LinxNative.Attributes\n" <> code)
  end

  test "LinxNative.Message" do
    code = Message |> moduledoc() |> code()
    {_value, _binding} = Code.eval_string("alias LinxNative.Message\n" <> code)
  end

  test "LinxNative.Rtnetlink" do
    container = Container.start([:net])
    code = Rtnetlink |> moduledoc() |> before("Every name is") |> code(container.pid)
    {_value, binding} = Code.eval_string(code)
    assert binding[:index] == Links.index!(binding[:conn], "blue")
  end

  test "LinxNative.Rtnetlink.message/2, accepted by the kernel" do
    {:ok, conn} = Conn.start_link(:route, netns: {:pid, Container.start([:net]).pid})
    # The three messages need a link with the index 3, in the network of the gateway.
    for name <- ["one", "two"],
        do: {:ok, []} = Conn.request(conn, Links.create(name))

    assert Links.index!(conn, "two") == 3
    {:ok, []} = Conn.request(conn, Links.up(3))
    {:ok, []} = Conn.request(conn, Links.add_address(3, <<198, 51, 100, 2>>))
    {:ok, []} = Conn.request(conn, Links.down(3))

    blocks = Rtnetlink |> doc(:message) |> code() |> String.split("\n\n", trim: true)
    blocks = Enum.filter(blocks, &(&1 =~ "Rtnetlink.message"))
    assert length(blocks) == 3

    for block <- blocks do
      {message, _binding} = Code.eval_string("alias LinxNative.Rtnetlink\n" <> block)
      assert {:ok, _answer} = Conn.request(conn, message)
    end

    assert {:ok, [link]} = Conn.request(conn, Links.get("two"))
    assert Links.read(link).up?
    {:ok, routes} = Conn.request(conn, Rtnetlink.message(:getroute, flags: [:dump]))
    assert {192, 0, 2, 0} in Enum.map(routes, &Rtnetlink.decode!(&1).attributes[:dst])
  end

  test "LinxNative.Genetlink" do
    container = Container.start([:net])

    code =
      Genetlink |> moduledoc() |> before("Commands and attributes are") |> code(container.pid)

    {_value, binding} = Code.eval_string(code)

    events = Genetlink |> moduledoc() |> section("Events") |> code()
    conn = binding[:conn]
    {:ok, links} = Conn.start_link(:route, netns: {:pid, container.pid})
    {:ok, []} = Conn.request(links, Links.create("blue"))
    # The event is made before it is waited for.
    [join, receive_it] = events |> String.trim() |> String.split("\n", parts: 2)
    {:ok, _binding} = Code.eval_string("alias LinxNative.Genetlink\n" <> join, binding)
    {:ok, other} = Conn.start_link(:generic, netns: {:pid, container.pid})
    change_feature!(other, binding[:ethtool], "blue")
    receive_it = "alias LinxNative.{Conn, Genetlink}\n" <> receive_it
    {_value, binding} = Code.eval_string(receive_it, binding)
    assert binding[:command] == 13
    assert binding[:attributes][:header][:dev_name] == "blue"
    :ok = Conn.close(conn)
  end

  # ETHTOOL_MSG_FEATURES_SET, with the bit by name.
  defp change_feature!(conn, ethtool, name) do
    bit = {:nested, %{name: {2, :string}, value: {3, :flag}}}

    schema = %{
      header: {1, {:nested, %{dev_name: {2, :string}}}},
      wanted: {3, {:nested, %{bits: {3, {:nested, %{bit: {1, bit}}}}}}}
    }

    wanted = [bits: [bit: [name: "tx-nocache-copy", value: true]]]
    attributes = [header: [dev_name: name], wanted: wanted]

    {:ok, _} =
      Conn.request(conn, Genetlink.message(ethtool, 12, attributes: attributes, schema: schema))
  end

  # The code that the example of LinxNative.Conn.Test is a test of.
  defmodule Names do
    def names(conn) do
      alias LinxNative.Rtnetlink
      {:ok, links} = LinxNative.Conn.request(conn, Rtnetlink.message(:getlink, flags: [:dump]))
      for link <- links, do: Rtnetlink.decode!(link).attributes[:ifname]
    end
  end

  test "LinxNative.Conn.Test" do
    text = moduledoc(Conn.Test)

    [_head, body] =
      text |> before("## Answers") |> code() |> String.split(~s(test "names are listed" do\n))

    body =
      body
      |> String.split("\n      end\n")
      |> hd()
      |> String.replace("MyApp.Links", inspect(__MODULE__.Names))

    import = "import ExUnit.Assertions\nalias LinxNative.{Conn, Rtnetlink}\n"
    {true, _binding} = Code.eval_string(import <> body)

    events = text |> section("Events") |> code()
    {{:netlink, conn, [message], _}, binding} = Code.eval_string(import <> events)
    assert {conn, message} == {binding[:conn], binding[:message]}
    assert Rtnetlink.decode!(message).attributes == [ifname: "eth1"]
  end

  test "the schema for WireGuard" do
    code = Genetlink |> moduledoc() |> section("WireGuard") |> code()
    {schema, _binding} = Code.eval_string(code)

    device = [
      ifname: "wg0",
      private_key: <<1::256>>,
      flags: [:replace_peers],
      listen_port: 51_820,
      peers: [
        [
          public_key: <<2::256>>,
          flags: [:replace_allowedips],
          persistent_keepalive_interval: 25,
          allowedips: [[family: :inet, ipaddr: {10, 0, 0, 0}, cidr_mask: 24]]
        ]
      ]
    ]

    assert device |> Attributes.encode(schema) |> Attributes.decode!(schema) == device
  end

  describe "LinxNative.Conn.start_link/2" do
    setup do
      [options, booleans] =
        Conn
        |> doc(:start_link)
        |> section("Options")
        |> String.split("These options of `netlink(7)`")

      %{options: names(options), booleans: names(booleans)}
    end

    # The first words of each item: `:a`, `:b` - …
    defp names(text) do
      for [item] <- Regex.scan(~r/^  \* (`:.+?) - /m, text, capture: :all_but_first),
          [name] <- Regex.scan(~r/`:(\w+)`/, item, capture: :all_but_first),
          do: String.to_atom(name)
    end

    test "every option that it takes, and no other", %{options: options, booleans: booleans} do
      refused = assert_raise ArgumentError, fn -> Conn.start_link(:route, none: 1) end
      taken = Regex.scan(~r/:(\w+)/, Exception.message(refused), capture: :all_but_first)
      taken = for [name] <- taken, name != "none", uniq: true, do: String.to_atom(name)
      assert Enum.sort(taken) == Enum.sort(options ++ booleans)
    end

    test "the boolean options are options of the socket", %{booleans: booleans} do
      for name <- booleans, on <- [true, false] do
        {:ok, conn} = Conn.start_link(:route, [{name, on}])
        assert Conns.flag(conn, name) == Conns.flag_answer(name, on)
      end
    end
  end
end
