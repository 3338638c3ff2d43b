defmodule LinxNative.Conn.StreamTest do
  @moduledoc """
  `LinxNative.Conn.stream/3`: a dump that is received as it is consumed.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.Conn.Streaming
  alias LinxNative.{Conn, Error, Message, Rtnetlink}
  alias LinxNative.Test.Links

  @moduletag :conn

  @patience Await.patience()
  # Their dump has several parts.
  @links 120

  defp crowded! do
    container = Container.start([:net])
    links = for n <- 1..@links, do: "link add link#{n} type ifb\n"
    Container.sh!(container, "ip -batch - <<'E'\n#{links}E")
    {container, open!(:route, netns: {:pid, container.pid})}
  end

  defp names_of(messages), do: Enum.map(messages, &Links.read(&1).name)

  # Takes so many messages, and says how to go on.
  defp begin(stream, count) do
    {:suspended, taken, continue} =
      Enumerable.reduce(stream, {:cont, []}, fn message, taken ->
        taken = [message | taken]
        {if(length(taken) == count, do: :suspend, else: :cont), taken}
      end)

    {Enum.reverse(taken), continue}
  end

  # Takes what is left.
  defp finish(continue) do
    case continue.({:cont, []}) do
      {:suspended, [message], continue} -> [message | finish(continue)]
      {ended, taken} when ended in [:done, :halted] -> Enum.reverse(taken)
    end
  end

  # The process with the socket of a stream that this process enumerates: it watches both.
  defp socket!(conn) do
    {:monitored_by, watching} = Process.info(self(), :monitored_by)

    [socket] = for pid <- watching, {:process, conn} in monitors(pid), do: pid
    socket
  end

  defp monitors(pid) do
    {:monitors, monitors} = Process.info(pid, :monitors)
    monitors
  end

  defp ends?(process), do: Await.until(fn -> not Process.alive?(process) end)

  describe "a stream" do
    test "has the messages of the dump, each time it is enumerated" do
      {_container, conn} = crowded!()
      {:ok, links} = Conn.request(conn, Links.dump())
      stream = Conn.stream(conn, Links.dump())
      assert names_of(stream) == names_of(links)
      assert names_of(stream) == names_of(links)
      assert Process.info(self(), [:messages, :monitors]) == [messages: [], monitors: []]
    end

    test "receives a part only when it is consumed" do
      {_container, conn} = crowded!()
      {[_first], continue} = begin(Conn.stream(conn, Links.dump()), 1)
      socket = socket!(conn)
      assert %{counters: %{datagrams: 1}} = Conn.info!(socket)
      # Nothing is on its way, either.
      assert %{counters: %{datagrams: 1}} = Conn.info!(socket)
      assert length(finish(continue)) == @links
      assert ends?(socket)
    end

    test "does not delay others while its consumer is slow" do
      {_container, conn} = crowded!()
      {[_first], continue} = begin(Conn.stream(conn, Links.dump()), 1)
      assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
      assert {:ok, links} = Conn.request(conn, Links.dump())
      assert length(links) == @links + 1
      assert length(Enum.to_list(Conn.stream(conn, Links.dump()))) == @links + 1
      do!(conn, Links.create("more"))
      assert [_ | _] = finish(continue)
    rescue
      # The kernel tells that the list is another now, or has looked at it already.
      error in Error -> assert error.reason == :dump_interrupted
    end

    test "can be stopped at any point, and leaves nothing" do
      {_container, conn} = crowded!()
      :ok = Conn.join_group(conn, 1)
      before = Machine.descriptors()

      for count <- [0, 1, 2, 50, @links, @links + 1] do
        assert length(Enum.take(Conn.stream(conn, Links.dump()), count)) == count
      end

      assert_raise RuntimeError, fn ->
        for _link <- Conn.stream(conn, Links.dump()), do: raise("enough")
      end

      assert catch_throw(for link <- Conn.stream(conn, Links.dump()), do: throw(link.type)) == 16
      assert Await.until(fn -> Machine.descriptors() == before end)
      assert Process.info(self(), [:messages, :monitors]) == [messages: [], monitors: []]
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "whose consumer is killed leaves nothing" do
      {_container, conn} = crowded!()
      before = Machine.descriptors()
      test = self()

      {consumer, monitor} =
        spawn_monitor(fn ->
          {_first, _continue} = begin(Conn.stream(conn, Links.dump()), 1)
          send(test, {:socket, socket!(conn)})
          Process.sleep(:infinity)
        end)

      assert_receive {:socket, socket}, @patience
      assert Process.alive?(socket)
      Process.exit(consumer, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, @patience
      assert ends?(socket)
      assert Await.until(fn -> Machine.descriptors() == before end)
    end

    test "is in the connection's namespace, also if nothing else refers to it" do
      {container, conn} = crowded!()
      Container.stop(container)
      assert length(Enum.to_list(Conn.stream(conn, Links.dump()))) == @links + 1
    end

    @tag :machine_root
    test "needs no capability in the VM's namespace" do
      vm = Vm.start(user: :nobody)

      answer =
        Vm.eval(
          vm,
          quote do
            {:ok, conn} = LinxNative.Conn.start_link(:route)
            request = LinxNative.Rtnetlink.message(:getlink, flags: [:dump])
            links = conn |> LinxNative.Conn.stream(request) |> Enum.to_list()
            {LinxNative.Conn.request(conn, request), links}
          end
        )

      assert {{:ok, [_ | _] = links}, streamed} = answer
      assert names_of(links) == names_of(streamed)
    end

    test "has the connection's options for answers, but not its filter" do
      conn = route!(strict_check: true, filter: [Conn.Filter.return(0)])
      request = %{Links.dump() | body: <<0, 0, 1::native-16, 0::96>>}
      error = catch_error(Enum.to_list(Conn.stream(conn, request)))
      assert %Error{reason: :einval, stage: :request, text: "" <> _} = error
      assert [_loopback] = Enum.to_list(Conn.stream(conn, Links.dump()))
    end
  end

  test "the example in the documentation runs" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Conn)
    [text] = for {{:function, :stream, 3}, _, _, %{"en" => text}, _} <- docs, do: text
    code = text |> String.split("\n") |> Enum.filter(&String.starts_with?(&1, "    "))
    {count, binding} = Code.eval_string(Enum.join(code, "\n"))
    {:ok, routes} = Conn.request(binding[:conn], binding[:request])
    assert count == length(routes)
  end

  describe "an error is raised after the messages that came before it:" do
    test "the connection is closed" do
      {_container, conn} = crowded!()
      stream = Conn.stream(conn, Links.dump())
      {[first], continue} = begin(stream, 1)
      assert Links.read(first).name == "lo"
      socket = socket!(conn)
      :ok = Conn.close(conn)
      assert ends?(socket)
      assert %Error{reason: :closed} = catch_error(finish(continue))
      assert %Error{reason: :closed} = catch_error(Enum.to_list(stream))
    end

    test "the kernel refuses the request" do
      request = Rtnetlink.message(:getlink, flags: [:dump])
      {:ok, conn} = Conn.Test.start_link([{request, {:error, {:eperm, "not you"}}}])
      error = catch_error(Enum.to_list(Conn.stream(conn, request)))
      assert %Error{reason: :eperm, stage: :request, text: "not you"} = error
    end

    test "the content has changed" do
      request = Rtnetlink.message(:getlink, flags: [:dump])
      link = &%{Rtnetlink.message(:newlink, attributes: [ifname: &1]) | flags: &2}
      interrupted = Message.flags([:multi, :dump_intr])
      links = [link.("one", Message.flags([:multi])), link.("two", interrupted)]
      {:ok, conn} = Conn.Test.start_link([{request, {:ok, links}}])
      {[one], continue} = begin(Conn.stream(conn, request), 1)
      assert Links.read(one).name == "one"
      error = catch_error(finish(continue))
      assert %Error{reason: :dump_interrupted, messages: [two]} = error
      assert Links.read(two).name == "two"
    end

    test "a datagram that does not fit" do
      conn = open!(:route, datagram: 64)

      assert %Error{reason: :truncated} =
               catch_error(Enum.to_list(Conn.stream(conn, Links.dump())))
    end

    test "no part comes in time" do
      {_container, conn} = crowded!()
      {continue, socket} = begun!(conn, 500)
      :ok = :sys.suspend(socket)
      spawn(fn -> await_stopping!(socket) end)
      assert %Error{reason: :timeout} = catch_error(finish(continue))
      assert ends?(socket)
    end

    # Begins a stream with a timeout that is long enough for its first part on this machine.
    defp begun!(conn, timeout) do
      {[_first], continue} = begin(Conn.stream(conn, Links.dump(), timeout: timeout), 1)
      {continue, socket!(conn)}
    rescue
      error in Error ->
        :timeout = error.reason
        begun!(conn, timeout * 4)
    end

    # Waits until the consumer stops the socket's process, when its timeout is over.
    defp await_stopping!(socket) do
      true =
        Await.until(fn -> match?({_, n} when n > 1, Process.info(socket, :message_queue_len)) end)

      :sys.resume(socket)
    end
  end

  describe "a stream that cannot begin" do
    test "raises for a message that is not a dump, and for wrong options" do
      conn = route!()

      for message <- [Links.get(1), %Message{}, %{Links.dump() | flags: nil}] do
        assert_raise ArgumentError, ~r/needs the flag :dump/, fn -> Conn.stream(conn, message) end
      end

      for options <- [5000, [timeout: -1], [retry: 1]] do
        assert_raise ArgumentError, fn -> Conn.stream(conn, Links.dump(), options) end
      end
    end

    test "exits for an unknown name" do
      stream = Conn.stream(:nobody_has_this_name, Links.dump())
      assert {:noproc, _call} = catch_exit(Enum.to_list(stream))
    end

    test "raises for a message of another protocol" do
      conn = open!(:generic)
      request = Rtnetlink.message(:getlink, flags: [:dump])
      assert %Error{reason: :protocol} = catch_error(Enum.to_list(Conn.stream(conn, request)))
    end
  end

  describe "a datagram of a dump" do
    @number 7
    @noop 1
    @done 3
    @data_lost 4

    defp message(type, flags \\ [], body \\ <<0::32>>) do
      %Message{type: type, flags: Message.flags(flags), sequence: @number, body: body}
    end

    test "has its messages, in order, without those of other requests" do
      [one, two] = [message(16, [:multi], "one"), message(16, [:multi], "two")]
      other = %{one | sequence: @number + 1}
      assert Streaming.part([one, message(@noop), other, two], @number) == {[one, two], :more}
      assert Streaming.part([], @number) == {[], :more}
    end

    test "may be the last" do
      one = message(16, [:multi], "one")
      assert Streaming.part([one, message(@done, [:multi])], @number) == {[one], :done}
      refused = message(@done, [:multi], <<-1::native-signed-32>>)
      assert {[^one], %Error{reason: :eperm}} = Streaming.part([one, refused], @number)

      assert {[^one], %Error{reason: :malformed}} =
               Streaming.part([one, message(@done, [], <<1>>)], @number)
    end

    test "may say that the content has changed, also at the end" do
      one = message(16, [:multi], "one")
      changed = message(16, [:multi, :dump_intr], "two")
      done = message(@done, [:multi, :dump_intr])

      assert {[^one], %Error{reason: :dump_interrupted, messages: [^changed]}} =
               Streaming.part([one, changed, done], @number)

      assert {[^one], %Error{reason: :dump_interrupted, messages: []}} =
               Streaming.part([one, done], @number)
    end

    test "may say that messages were lost" do
      one = message(16, [:multi], "one")

      assert {[^one], %Error{reason: :overrun}} =
               Streaming.part([one, message(@data_lost)], @number)
    end
  end
end
