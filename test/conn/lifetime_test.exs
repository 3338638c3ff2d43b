defmodule LinxNative.Conn.LifetimeTest do
  @moduledoc """
  The descriptor of a connection is closed however the connection ends, and so its namespace is released.
  """

  use LinxNative.Test.Case

  import ExUnit.CaptureLog

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Conn.{Filter, Inbox}
  alias LinxNative.Test.{KilledCallers, Links}

  @moduletag :conn

  @starts 1_000
  @kills 1_000
  @seed {2026, 11, 24}

  # Loads and starts what the VM needs on first use, so that the tests do not count it.
  setup_all do
    {:ok, conn} = Conn.start_link(:route)
    {:ok, _links} = Conn.request(conn, Links.dump())
    Conn.close(conn)
  end

  defp failure({:error, %Error{stage: stage, reason: reason}}), do: {stage, reason}

  describe "the descriptor" do
    test "is a socket that programs do not inherit, until it is closed" do
      {:ok, conn} = Conn.start_link(:route)
      {:ok, fd} = Conn.descriptor(conn)
      assert {"socket:" <> _, :close_on_exec} = Machine.descriptors()[fd]
      :ok = Conn.close(conn)
      assert gone?(fd)
    end

    test "is the only one of a connection, in any namespace" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      file = File.open!(path)
      before = Machine.descriptors()

      conns =
        for netns <- [:host, {:pid, container.pid}, {:path, path}] do
          {:ok, conn} = Conn.start_link(:route, netns: netns)
          conn
        end

      fds = Enum.map(conns, &elem(Conn.descriptor(&1), 1))
      new = Map.drop(Machine.descriptors(), Map.keys(before))
      assert new |> Map.keys() |> Enum.sort() == Enum.sort(fds)
      Enum.each(conns, &Conn.close/1)
      assert descriptors?(before)
      File.close(file)
    end

    test "is closed, also while the VM watches it" do
      for prepare <- [
            &Conn.active(&1, true),
            &Conn.active(&1, :once),
            &Conn.recv(&1, 0),
            fn _ -> :ok end
          ] do
        {:ok, conn} = Conn.start_link(:route, groups: [1])
        {:ok, fd} = Conn.descriptor(conn)
        prepare.(conn)
        :ok = Conn.close(conn)
        assert gone?(fd)
      end
    end
  end

  describe "the namespace of a container that has ended is released" do
    setup do
      witness = Container.start([:net])
      {:ok, watcher} = Conn.start_link(:route, netns: {:pid, witness.pid})
      %{witness: witness, watcher: watcher}
    end

    test "however the connection ends", context do
      for {name, ending} <- [
            close: &Conn.close(&1.conn),
            stop: &GenServer.stop(&1.conn, :shutdown),
            kill: &Process.exit(&1.conn, :kill),
            crash:
              &capture_log(fn -> end_of(&1.conn, fn conn -> GenServer.cast(conn, :no) end) end),
            starter_normal: &send(&1.starter, :normal),
            starter_boom: &send(&1.starter, {:shutdown, :boom}),
            starter_kill: &Process.exit(&1.starter, :kill)
          ] do
        container = container(context, "ending")
        started = start_elsewhere(netns: {:pid, container.pid})
        {:ok, fd} = Conn.descriptor(started.conn)
        Container.stop(container)

        # The namespace exists as long as the connection.
        assert {:ok, [_lo, _peer]} = Conn.request(started.conn, Links.dump())
        assert {name, true} == {name, linked?(context, "ending")}

        monitor = Process.monitor(started.conn)
        ending.(started)
        assert_receive {:DOWN, ^monitor, :process, _, _}, patience()
        assert {name, true} == {name, gone?(fd)}
        assert {name, true} == {name, namespace_gone?(context, "ending")}
        Process.exit(started.starter, :kill)
      end
    end

    test "after #{@starts} starts and stops", context do
      container = container(context, "starts")
      path = Container.ns_path(container, :net)
      before = Machine.descriptors()

      for n <- 1..@starts do
        {:ok, conn} = Conn.start_link(:route, netns: {:path, path}, groups: [1])
        if rem(n, 4) == 0, do: {:ok, [_ | _]} = Conn.request(conn, Links.dump())
        if rem(n, 4) == 1, do: :ok = Conn.active(conn, true)
        if rem(n, 4) == 2, do: {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
        :ok = Conn.close(conn)
      end

      assert descriptors?(before)
      Container.stop(container)
      assert namespace_gone?(context, "starts")
    end

    test "after #{@kills} callers were killed at random moments", context do
      container = container(context, "kills")
      before = Machine.descriptors()
      {:ok, shared} = Conn.start_link(:route, netns: {:pid, container.pid})

      steps = [
        :start,
        :dump,
        :join,
        :receive,
        :get,
        :active,
        :restart,
        :dump,
        :shared_dump,
        :shared_get,
        :shared_receive,
        :leave,
        :close,
        :shared_active,
        :restart
      ]

      calls = for step <- steps, do: {__MODULE__, :step, [step, shared, container.pid]}
      begun = KilledCallers.run(calls, @kills, @seed)
      IO.puts("\n#{@kills} callers killed in #{begun} steps, seed #{inspect(@seed)}")

      # No request of the killed callers is pending, and others are answered.
      assert Await.until(fn -> Conn.info!(shared).pending == 0 end)
      assert {:ok, [_lo, _peer]} = Conn.request(shared, Links.dump())
      Conn.close(shared)
      assert descriptors?(before)
      Container.stop(container)
      assert namespace_gone?(context, "kills")
    end
  end

  describe "a start that fails" do
    setup do
      # More than a socket may have of filters (net.core.optmem_max): the kernel's own instructions are more.
      huge = List.duplicate({0x3C, 0, 0, 0}, 4_095) ++ [Filter.return(1)]

      failing = [
        {[netns: {:path, "/proc/self/ns/nothing"}], {:open, :enoent}},
        {[netns: {:path, "a\0b"}], {:open, :einval}},
        {[netns: {:pid, 0x3FFFFFFF}], {:open, :enoent}},
        {[netns: {:fd, 0x7FFFFFFF}], {:open, :ebadf}},
        {[netns: {:path, "/proc/self/ns/mnt"}], {:setns, :einval}},
        {[groups: [1, 0x7FFFFFFF]], {{:group, 0x7FFFFFFF}, :einval}},
        {[filter: huge], {:filter, :enomem}}
      ]

      %{failing: failing}
    end

    test "returns the stage", %{failing: failing} do
      for {options, reason} <- failing do
        assert {options, failure(Conn.start_link(:route, options))} == {options, reason}
      end

      assert failure(Conn.start_link(31)) == {:socket, :eprotonosupport}
    end

    test "leaves nothing", %{failing: failing} do
      before = Machine.descriptors()
      for {options, _} <- failing, do: {:error, _} = Conn.start_link(:route, options)
      assert descriptors?(before)
    end

    test "does not end its caller, sends it no message, and writes no log", %{
      failing: failing
    } do
      log =
        capture_log(fn ->
          for {options, reason} <- failing, trap? <- [true, false] do
            caller =
              Task.async(fn ->
                Process.flag(:trap_exit, trap?)
                answer = Conn.start_link(:route, options)
                {answer, Process.info(self(), [:links, :messages])}
              end)

            test = self()
            assert {answer, [links: [^test], messages: []]} = Task.await(caller, :infinity)
            assert failure(answer) == reason
          end
        end)

      assert log == ""
    end

    test "does not register its name" do
      for _ <- 1..2 do
        options = [netns: {:path, "/no"}, name: __MODULE__]
        assert failure(Conn.start_link(:route, options)) == {:open, :enoent}
      end

      {:ok, conn} = Conn.start_link(:route, name: __MODULE__)
      assert Conn.start_link(:route, name: __MODULE__) == {:error, {:already_started, conn}}
      assert %{port_id: _} = Conn.info!(__MODULE__)
      Conn.close(__MODULE__)
    end

    test "because of missing descriptors leaves nothing" do
      vm = Vm.start(wrap: ["prlimit", "--nofile=64", "--"])
      before = settled(vm)
      options = [netns: {:path, "/proc/self/ns/net"}]
      start = &Vm.call(vm, Descriptors, :with_only, [&1, Conn, :start_link, [:route, options]])

      assert failure(start.(0)) == {:open, :emfile}
      assert failure(start.(1)) == {:socket, :emfile}
      assert {:ok, _} = start.(2)
      assert Vm.call(vm, Machine, :changes, [before]) == []
    end

    @tag :machine_root
    test "because of a missing permission leaves nothing" do
      vm = Vm.start(user: :nobody)
      before = settled(vm)
      start = &Vm.call(vm, Conn, :start_link, [:route, &1])

      assert failure(start.(netns: {:path, "/proc/self/ns/net"})) == {:setns, :eperm}
      assert failure(start.(netns: {:pid, 1})) == {:open, :eacces}
      assert failure(start.(listen_all_nsid: true)) == {:listen_all_nsid, :eperm}
      assert Vm.call(vm, Machine, :changes, [before]) == []
    end
  end

  describe "with no descriptor left a connection continues to work:" do
    test "its first request is answered" do
      assert {:ok, [%Message{}]} = first(Links.get(1))
      assert {:ok, [%Message{} | _]} = first(Links.dump())
    end

    test "its first error has its message" do
      assert first(Links.get(0x7FFF_FFFF)) ==
               {:error, Error.from_errno(:request, 19)}

      # In the kernel's own words.
      assert {:error, %Error{reason: :einval, text: text}} =
               first(%{Links.dump() | body: <<0, 0, 1::native-16, 0::96>>})

      assert text =~ "Invalid values"
    end

    # Returns the result of the first request of a VM.
    defp first(request) do
      Vm.eval(
        Vm.start(wrap: ["prlimit", "--nofile=64", "--"]),
        quote do
          {:ok, conn} = LinxNative.Conn.start_link(:route, strict_check: true)
          arguments = [conn, var!(request)]
          LinxNative.Test.Descriptors.with_only(0, LinxNative.Conn, :request, arguments)
        end,
        request: request
      )
    end
  end

  # Loads the code for a start and for a failed start. The connection ends with the process that calls there.
  defp settled(vm) do
    before = Vm.call(vm, Machine, :descriptors, [])
    {:ok, _} = Vm.call(vm, Conn, :start_link, [:route])
    {:error, _} = Vm.call(vm, Conn, :start_link, [:route, [netns: {:path, "/no"}]])
    assert Await.until(fn -> Vm.call(vm, Machine, :descriptors, []) == before end)
    Vm.call(vm, Machine, :snapshot, [])
  end

  describe "a supervisor" do
    test "restarts it in the same namespace and with the same name" do
      container = Container.start([:net])
      Container.sh!(container, "ip link add marker type bridge")
      options = [netns: {:pid, container.pid}, name: __MODULE__, groups: [1]]

      {:ok, supervisor} =
        Supervisor.start_link([{Conn, {:route, options}}], strategy: :one_for_one)

      for _ <- 1..3 do
        first = Process.whereis(__MODULE__)
        Process.exit(first, :kill)
        assert Await.until(fn -> Process.whereis(__MODULE__) not in [first, nil] end)
        assert {:ok, [_marker]} = Conn.request(__MODULE__, Links.get("marker"))
        assert %{groups: [1]} = Conn.info!(__MODULE__)
      end

      :ok = Supervisor.stop(supervisor)
      assert {:noproc, _call} = catch_exit(Conn.info(__MODULE__))
    end

    test "gets the reason of a failed start" do
      child = {Conn, {:route, netns: {:path, "/no"}}}
      Process.flag(:trap_exit, true)

      assert {:error,
              {:shutdown, {:failed_to_start_child, _id, %Error{stage: :open, reason: :enoent}}}} =
               Supervisor.start_link([child], strategy: :one_for_one)
    end
  end

  describe "close/1" do
    test "ends callers that wait for events" do
      {:ok, conn} = Conn.start_link(:route, groups: [1])
      waiting = for _ <- 1..3, do: Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 3 end)
      :ok = Conn.close(conn)

      assert Task.await_many(waiting, :infinity) ==
               List.duplicate({:error, %Error{reason: :closed}}, 3)
    end

    test "ends callers that wait for an answer" do
      # This filter drops long datagrams, so the answers do not arrive.
      short = [Filter.load_length(), Filter.jump_greater(100, 0, 1), Filter.return(0)]
      {:ok, conn} = Conn.start_link(:route, filter: short ++ [Filter.return(1_000)])

      # The second dump waits for the first one.
      requests = [Links.get(1), Links.get(1), Links.dump(), Links.dump()]
      options = [ack: false, timeout: :infinity]
      waiting = for request <- requests, do: Task.async(Conn, :request, [conn, request, options])

      assert Await.until(fn -> match?(%{pending: 4, counters: %{sent: 3}}, Conn.info!(conn)) end)
      :ok = Conn.close(conn)

      assert Task.await_many(waiting, :infinity) ==
               List.duplicate({:error, %Error{reason: :closed}}, 4)
    end

    test "a killed connection ends its waiting callers too" do
      %{conn: conn, starter: starter} = start_elsewhere([])
      waiting = Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 1 end)
      Process.exit(conn, :kill)
      assert {:error, %Error{reason: :closed}} = Task.await(waiting, :infinity)
      Process.exit(starter, :kill)
    end

    test "is :ok a second time; every other function gives :closed" do
      {:ok, conn} = Conn.start_link(:route)
      for _ <- 1..3, do: assert(Conn.close(conn) == :ok)

      for call <- [
            &Conn.request(&1, Links.dump()),
            &Conn.send(&1, Links.dump()),
            &Conn.send_many(&1, [Links.dump()]),
            &Conn.recv(&1),
            &Conn.active(&1, true),
            &Conn.join_group(&1, 1),
            &Conn.leave_group(&1, 1),
            &Conn.set_option(&1, :ext_ack, true),
            &Conn.get_option(&1, :read_buffer),
            &Conn.attach_filter(&1, [Filter.return(1)]),
            &Conn.detach_filter/1,
            &Conn.descriptor/1,
            &Conn.netns/1,
            &Conn.info/1
          ] do
        assert {:error, %Error{reason: :closed}} = call.(conn)
      end
    end

    test "by many processes at once is :ok for all" do
      for _ <- 1..20 do
        {:ok, conn} = Conn.start_link(:route)
        closing = for _ <- 1..4, do: Task.async(fn -> Conn.close(conn) end)
        assert Task.await_many(closing, :infinity) == [:ok, :ok, :ok, :ok]
      end
    end
  end

  # For `KilledCallers`: a caller has a connection of its own, if it came to start one, and one that it shares with all others.
  def step(:start, _shared, pid), do: Process.put(:conn, start(pid))
  def step(:restart, _shared, pid), do: own(&{Conn.close(&1), Process.put(:conn, start(pid))})
  def step(:dump, _shared, _pid), do: own(&Conn.request(&1, Links.dump()))
  def step(:get, _shared, _pid), do: own(&Conn.request(&1, Links.get(1)))
  def step(:join, _shared, _pid), do: own(&Conn.join_group(&1, 1))
  def step(:leave, _shared, _pid), do: own(&Conn.leave_group(&1, 1))
  def step(:receive, _shared, _pid), do: own(&Conn.recv(&1, 1))
  def step(:active, _shared, _pid), do: own(&Conn.active(&1, true))
  def step(:close, _shared, _pid), do: own(&{Conn.close(&1), Process.delete(:conn)})
  def step(:shared_dump, shared, _pid), do: Conn.request(shared, Links.dump())
  def step(:shared_get, shared, _pid), do: Conn.request(shared, Links.get(1))
  def step(:shared_receive, shared, _pid), do: Conn.recv(shared, 1)
  def step(:shared_active, shared, _pid), do: Conn.active(shared, true)

  defp start(pid) do
    {:ok, conn} = Conn.start_link(:route, netns: {:pid, pid}, groups: [1, 5])
    conn
  end

  defp own(call) do
    with conn when conn != nil <- Process.get(:conn), do: call.(conn)
  end

  # One that the test is not linked to, and the process that started it.
  defp start_elsewhere(options) do
    test = self()

    starter =
      spawn(fn ->
        send(test, {self(), Conn.start_link(:route, options)})
        receive(do: (reason -> exit(reason)))
      end)

    receive do
      {^starter, {:ok, conn}} -> %{starter: starter, conn: conn}
    end
  end

  defp end_of(conn, ending) do
    monitor = Process.monitor(conn)
    ending.(conn)
    assert_receive {:DOWN, ^monitor, :process, _, _}, patience()
  end

  # A pair of links goes with the namespace of one of the two.
  defp container(%{witness: witness}, name) do
    container = Container.start([:net])
    Container.sh!(witness, "ip link add #{name} type veth peer name peer netns #{container.pid}")
    container
  end

  defp linked?(%{watcher: watcher}, name) do
    match?({:ok, [_link]}, Conn.request(watcher, Links.get(name)))
  end

  defp namespace_gone?(context, name), do: Await.until(fn -> not linked?(context, name) end)

  defp gone?(fd), do: Await.until(fn -> not is_map_key(Machine.descriptors(), fd) end)

  defp descriptors?(before), do: Await.until(fn -> Machine.descriptors() == before end)

  defp waiting(conn),
    do: conn |> :sys.get_state() |> Map.fetch!(:inbox) |> Inbox.waiting() |> length()
end
