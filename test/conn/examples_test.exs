defmodule LinxNative.Conn.ExamplesTest do
  @moduledoc """
  Runs the programs of `examples/` and the examples of `README.md`, and checks their output.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Attributes, Conn, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  @root Path.expand("../..", __DIR__)

  defp run!(example) do
    # Compiled it is already, for this run.
    args = ["run", "--no-compile", "examples/" <> example]
    options = [cd: @root, env: [{"MIX_ENV", to_string(Mix.env())}], stderr_to_stdout: true]
    assert {output, 0} = System.cmd("mix", args, options)
    output
  end

  # Returns the line of one namespace. The machine may have others.
  defp line!(output, inode) do
    lines = String.split(output, "\n", trim: true)
    assert [line] = Enum.filter(lines, &String.starts_with?(&1, "#{inode}  ")), output
    line
  end

  test "link_events.exs prints each change of a link, in order" do
    output = run!("link_events.exs")
    assert [_, inode] = Regex.run(~r/^Network namespace (\d+), of process \d+$/m, output)
    {:ok, {_device, own}} = LinxNative.netns_id(:host)
    refute inode == "#{own}"

    time = "\\d\\d:\\d\\d:\\d\\d\\.\\d{3}"

    said =
      for [_, words] <- Regex.scan(~r/^#{time}  link \d+  (.*)$/m, output),
          do: String.split(words, ~r/ {2,}/)

    assert [["blue", "down", "new"], ["green", "down", "renamed, was blue"] | rest] = said
    assert ["green", "up", "changed"] in rest
    assert List.last(rest) == ["green", "down", "deleted"]
  end

  test "links.exs prints a line for each network namespace, with its links" do
    name = "linx_native_#{System.pid()}"
    container = Container.start([:net])
    Container.sh!(container, "ip link add marker type bridge && ip link set marker up")
    {_, 0} = System.cmd("ip", ["netns", "add", name])
    {:ok, {_, own}} = LinxNative.netns_id(:host)
    {:ok, {_, theirs}} = LinxNative.netns_id({:pid, container.pid})
    {:ok, {_, named}} = LinxNative.netns_id({:path, "/run/netns/#{name}"})

    output =
      try do
        run!("links.exs")
      after
        {_, 0} = System.cmd("ip", ["netns", "delete", name])
      end

    assert line!(output, own) =~ "lo"
    assert line!(output, theirs) =~ ~r/ \(\d+\).*: 1 lo down, 2 marker (down|up|unknown)$/
    assert line!(output, named) == "#{named}  netns #{name}: 1 lo down"
  end

  test "ethtool.exs prints a line for each link, with its speed if it has one" do
    lines = run!("ethtool.exs") |> String.split("\n", trim: true)
    {:ok, conn} = Conn.start_link(:route)
    {:ok, links} = Conn.request(conn, Links.dump())
    names = for link <- links, do: Links.read(link).name

    said =
      for line <- lines,
          do: Regex.run(~r/^(\S+)  (up|down|unknown)(  \d+ Mb\/s  (half|full|unknown))?$/, line)

    assert Enum.sort(for([_line, name | _] <- said, do: name)) == Enum.sort(names)
  end

  # In their order, with what the ones before have bound. The first finds the container that the reader has started.
  test "the examples of the README run as pasted" do
    container = Container.start([:mount, :net, :pid])
    readme = File.read!(Path.join(@root, "README.md"))
    [_, section] = String.split(readme, "## Examples\n")
    [section, _] = String.split(section, "## Guarantees\n")
    blocks = for [_, code] <- Regex.scan(~r/```elixir\n(.*?)```/s, section), do: code
    assert ["pid = " <> _ | code] = blocks
    assert length(code) == 3

    Code.eval_string(Enum.join(code, "\n"), pid: container.pid)

    {:ok, conn} = Conn.start_link(:route, netns: {:pid, container.pid})
    {:ok, links} = Conn.request(conn, Links.dump())
    assert Enum.map(links, &Links.read(&1).name) == ["lo", "blue"]
    assert %{fstype: "proc"} = Container.mount_at(container, "/proc")
    assert %{options: ["ro" | _]} = Container.mount_at(container, "/mnt/usr")
  end

  test "the example in the documentation of LinxNative.Conn runs" do
    container = Container.start([:net])
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Conn)
    [text, _] = String.split(text, "or under a supervisor")
    code = text |> String.split("\n") |> Enum.filter(&String.starts_with?(&1, "    "))
    code = code |> Enum.join("\n") |> String.replace("4711", "#{container.pid}")

    {_value, binding} = Code.eval_string(code)
    assert [%Message{body: <<_::128, attributes::binary>>}] = binding[:links]
    {:ok, attributes} = Attributes.decode(attributes, %{3 => :string})
    assert Attributes.get(attributes, 3) == "lo"
  end
end
