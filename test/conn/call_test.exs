defmodule LinxNative.Conn.CallTest do
  @moduledoc """
  Calls of a connection: by an unknown name, while it is suspended, from another node, and by very many processes at a time.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.Conn.{Inbox, KeyedQueue}
  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.{Await, Container, Links}

  @moduletag :conn

  @patience Await.patience()
  @timeout {:error, %Error{reason: :timeout}}

  # Every function that calls the process, with a timeout of 20 ms if it has one.
  defp calls(timeout) do
    [
      request: &Conn.request(&1, Links.get(1), timeout: timeout),
      send: &Conn.send(&1, Links.get(1), timeout: timeout),
      recv: &Conn.recv(&1, timeout),
      active: &Conn.active(&1, false, timeout),
      trace: &Conn.trace(&1, false, timeout),
      join_group: &Conn.join_group(&1, 1, timeout),
      join_group_by_name: &Conn.join_group(&1, :link, timeout),
      leave_group: &Conn.leave_group(&1, 1, timeout),
      set_option: &Conn.set_option(&1, :ext_ack, true, timeout),
      get_option: &Conn.get_option(&1, :ext_ack, timeout),
      attach_filter: &Conn.attach_filter(&1, [Conn.Filter.return(0xFFFFFFFF)], timeout),
      detach_filter: &Conn.detach_filter(&1, timeout),
      descriptor: &Conn.descriptor(&1, timeout),
      netns: &Conn.netns(&1, timeout),
      info: &Conn.info(&1, timeout)
    ]
  end

  describe "an unknown name" do
    test "exits, as in GenServer.call/3" do
      for {name, call} <- calls(5000) ++ [close: &Conn.close/1],
          nobody <- [:nobody_has_this_name, {:global, :nobody_has_this_name}] do
        assert {^name, {:noproc, _call}} = {name, catch_exit(call.(nobody))}
      end
    end
  end

  describe "a process that has ended" do
    test "gives :closed" do
      conn = route!()
      :ok = Conn.close(conn)

      for {name, call} <- calls(5000),
          do: assert({^name, {:error, %Error{reason: :closed}}} = {name, call.(conn)})

      assert Conn.close(conn) == :ok
    end
  end

  describe "while a connection is suspended" do
    test "every call times out, and unsent messages are not sent later" do
      conn = route!()
      :ok = :sys.suspend(conn)

      for {name, call} <- calls(20), do: assert({name, call.(conn)} == {name, @timeout})
      assert Conn.recv(conn, 0) == @timeout
      :ok = :sys.resume(conn)
      assert %{pending: 0, counters: %{sent: 0, events: 0}} = Conn.info!(conn)
      assert Process.info(self(), :messages) == {:messages, []}
    end

    test "an event for a caller that gave up goes to the next one" do
      conn = route!(groups: [1])
      :ok = :sys.suspend(conn)
      assert Conn.recv(conn, 20) == @timeout
      :ok = :sys.resume(conn)
      do!(conn, Links.create("blue"))
      assert event!(conn) == {:new, "blue"}
    end
  end

  test "no event is lost that arrives when callers time out" do
    netns = {:pid, Container.start([:net]).pid}
    [conn, other] = [open!(:route, netns: netns, groups: [1]), open!(:route, netns: netns)]
    do!(other, Links.create("blue"))
    assert event!(conn) == {:new, "blue"}
    index = Links.index!(other, "blue")
    names = for n <- 1..300, do: "name#{n}"

    renaming = Task.async(fn -> for name <- names, do: do!(other, Links.rename(index, name)) end)
    assert collect(conn, []) == names
    Task.await(renaming, :infinity)
  end

  # With a timeout that is over about when the event comes, until the last one.
  defp collect(conn, ["name300" | _] = names) do
    assert Conn.recv(conn, 0) == @timeout
    Enum.reverse(names)
  end

  defp collect(conn, names) do
    case Conn.recv(conn, 1) do
      {:ok, [message], _origin} -> collect(conn, [Links.read(message).name | names])
      @timeout -> collect(conn, names)
    end
  end

  # A node with a connection, its name, and another node, in a network namespace of their own. There is no epmd: each
  # listens at the same port of an address of its own.
  defp nodes! do
    container = Container.start([:net])
    Container.sh!(container, "ip link set lo up")

    [owner, other] =
      for n <- 1..2 do
        # With a cookie, because without one OTP writes a file for it to the home directory.
        flags =
          "-setcookie linx_native -start_epmd false -erl_epmd_port 4370 " <>
            "-kernel inet_dist_use_interface {127,0,0,#{n}}"

        vm = Vm.start(wrap: Container.nsenter(container), env: %{"ERL_FLAGS" => flags})
        {:ok, _} = Vm.call(vm, :net_kernel, :start, [[:"n@127.0.0.#{n}", :longnames]])
        vm
      end

    {owner, other, Vm.call(owner, :erlang, :node, [])}
  end

  describe "from another node" do
    test "timeouts start with the call, by the caller's clock, and a stream works" do
      {owner, other, there} = nodes!()

      # The process that evaluates it ends, and the connection must not.
      Vm.eval(
        owner,
        quote do
          starter =
            spawn(fn ->
              {:ok, _} = LinxNative.Conn.start_link(:route, name: Blue)
              Process.sleep(:infinity)
            end)

          Process.register(starter, :starter)
        end
      )

      assert Await.until(fn -> Vm.call(owner, Process, :whereis, [Blue]) end)

      answers =
        Vm.eval(
          other,
          quote do
            alias LinxNative.Conn
            conn = {Blue, var!(there)}
            get = LinxNative.Rtnetlink.message(:getlink, flags: [:dump])

            %{
              # A clock that counts from the start of its VM says something else on each node.
              request: Conn.request(conn, get, timeout: 5_000),
              recv: Conn.recv(conn, 50),
              recv_none: Conn.recv(conn, 0),
              stream: conn |> Conn.stream(get) |> Enum.to_list(),
              nobody:
                try do
                  Conn.info({:nobody, var!(there)})
                catch
                  :exit, {reason, _call} -> reason
                end
            }
          end,
          there: there
        )

      assert {:ok, [_ | _] = links} = answers.request
      assert Enum.map(answers.stream, &Links.read/1) == Enum.map(links, &Links.read/1)
      assert {answers.recv, answers.recv_none} == {@timeout, @timeout}
      assert answers.nobody == :noproc
    end
  end

  describe "callers that leave at the same time delay nobody:" do
    @many 16_000

    # The server looks at each waiting caller at most once more, whatever their number: it takes some millions of steps (of the
    # VM's reductions), not half the square of that number, which is a hundred million. How many each takes depends on OTP.
    @most 500

    defp reductions(conn), do: conn |> Process.info(:reductions) |> elem(1)

    defp leave!(conn, callers, gone?) do
      before = reductions(conn)
      for caller <- callers, do: Process.exit(caller, :kill)
      assert Await.until(gone?)
      assert reductions(conn) - before < @most * @many
    end

    test "callers that wait in recv/2" do
      conn = route!()
      callers = for _ <- 1..@many, do: spawn(fn -> Conn.recv(conn) end)
      waiting = fn -> length(Inbox.waiting(:sys.get_state(conn, @patience).inbox)) end
      assert Await.until(fn -> waiting.() == @many end)
      leave!(conn, callers, fn -> waiting.() == 0 end)
    end

    test "callers that wait for a dump" do
      {silent, conn} = {open!(:usersock, accept: :any), open!(:route)}
      # One dump is on its way as long as its parts are not received.
      :ok = :sys.suspend(silent)

      callers =
        for _ <- 1..@many,
            do: spawn(fn -> Conn.request(conn, Links.dump(), timeout: :infinity) end)

      leave!(conn, callers, fn -> Conn.info!(conn, @patience).pending == 0 end)
      assert KeyedQueue.size(:sys.get_state(conn, @patience).requests.dumps) == 0
      assert {:ok, [_ | _]} = Conn.request(conn, Links.dump())
    end

    test "callers whose timeout is over" do
      conn = route!()
      :ok = :sys.suspend(conn)
      test = self()

      for _ <- 1..@many do
        spawn(fn ->
          @timeout = Conn.recv(conn, 1)
          send(test, :left)
        end)
      end

      for _ <- 1..@many, do: assert_receive(:left, @patience)
      before = reductions(conn)
      :ok = :sys.resume(conn)
      # It looks at all of them first.
      assert %{pending: 0} = Conn.info!(conn, @patience)
      assert Inbox.waiting(:sys.get_state(conn, @patience).inbox) == []
      assert reductions(conn) - before < 2 * @most * @many
    end
  end

  describe "an interrupted dump" do
    defp interrupted(times) do
      request = Links.dump()
      link = &%Message{type: 16, flags: Message.flags(&1), body: <<0::128>>}
      changed = {request, {:ok, [link.([:multi]), link.([:multi, :dump_intr])]}}

      {:ok, conn} =
        Conn.Test.start_link(
          List.duplicate(changed, times) ++ [{request, {:ok, [link.([:multi])]}}]
        )

      {conn, request}
    end

    test "is asked for again, as often as :retry says" do
      {conn, request} = interrupted(3)
      assert {:ok, [_link]} = Conn.request(conn, request, retry: 3)
      assert Conn.Test.unused(conn) == []
    end

    test "is an error with the messages that had arrived, after the last attempt" do
      {conn, request} = interrupted(3)

      assert {:error, %Error{reason: :dump_interrupted} = error} =
               Conn.request(conn, request, retry: 2)

      assert length(error.messages) == 2
      assert {:ok, [_link]} = Conn.request(conn, request)
    end

    test "is not asked for again by default, and no other error is" do
      {conn, request} = interrupted(1)
      assert {:error, %Error{reason: :dump_interrupted}} = Conn.request(conn, request)
      {:ok, refusing} = Conn.Test.start_link([{request, {:error, :eperm}}, {request, :ok}])
      assert {:error, %Error{reason: :eperm}} = Conn.request(refusing, request, retry: 5)
    end

    test "while links come and go in a real namespace is told, and is whole when asked for again" do
      container = Container.start([:net])
      links = for n <- 1..150, do: "link add link#{n} type bridge\n"
      Container.sh!(container, "ip -batch - <<'E'\n#{links}E")
      conn = open!(:route, netns: {:pid, container.pid})
      start_supervised!({Task, fn -> come_and_go(container) end})

      # A dump of so few links is rarely interrupted, so many are asked for.
      assert {:error, error} =
               Await.until(fn ->
                 with {:ok, _links} <- Conn.request(conn, Links.dump(), timeout: :infinity),
                      do: nil
               end)

      assert %Error{reason: :dump_interrupted, messages: [_ | _] = come} = error
      assert Enum.all?(come, &match?(%{name: _}, Links.read(&1)))

      lasting = for n <- 1..150, into: MapSet.new(["lo"]), do: "link#{n}"

      for _dump <- 1..100 do
        {:ok, links} = Conn.request(conn, Links.dump(), retry: 1000, timeout: :infinity)
        names = for link <- links, do: Links.read(link).name
        assert Enum.sort(names -- ["passing"]) == Enum.sort(lasting)
      end
    end

    defp come_and_go(container) do
      conn = open!(:route, netns: {:pid, container.pid})

      for _round <- Stream.cycle([:again]) do
        {:ok, []} = Conn.request(conn, Links.create("passing"), timeout: :infinity)
        {:ok, []} = Conn.request(conn, Links.delete("passing"), timeout: :infinity)
      end
    end
  end
end
