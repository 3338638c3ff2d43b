defmodule LinxNative.Conn.GrowthTest do
  @moduledoc """
  Requests leave nothing in a long-lived connection, however they end.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Conn.{Filter, KeyedQueue}
  alias LinxNative.Test.{ConnScenario, Links, Repeat}

  @moduletag :conn

  # The number of given up requests that are remembered on purpose.
  @remembered 4096
  @few 5
  @many 300

  # Returns the sizes of a connection's own state. The call is answered after all earlier work.
  defp held(conn) do
    state = :sys.get_state(conn)
    info = Process.info(conn, [:monitors, :monitored_by, :links, :dictionary, :message_queue_len])

    Map.new(info, fn
      {:message_queue_len, length} -> {:messages, length}
      {name, list} -> {name, length(list)}
    end)
    # Without what is shared, so that it is what would be copied.
    |> Map.merge(%{state: :erts_debug.flat_size(state), pending: Conn.info!(conn).pending})
  end

  # What is more now. A word of its state for each time would be as many as that; half as many are no sign, since what it
  # keeps in maps and queues does not always take the same.
  defp grown(now, before) do
    for {name, count} <- now,
        count > before[name] + if(name == :state, do: div(@many, 2), else: 0),
        into: %{},
        do: {name, {before[name], count}}
  end

  # A peer that takes requests and never answers, as long as its buffer holds them.
  defp silent! do
    conn = open!(:usersock, accept: :any)
    {conn, port_id(conn)}
  end

  for {name, protocol} <- [
        answered: :route,
        dumped: :route,
        refused: :route,
        not_sent: :route,
        timed_out: :usersock,
        killed: :usersock,
        received: :route,
        nothing_received: :route,
        killed_receiving: :usersock,
        active_once: :route,
        active_again: :route,
        subscriber_gone: :route,
        groups: :route,
        filters: :route,
        options: :route,
        sent: :route,
        sending_refused: :route,
        foreign: :usersock,
        traced: :route
      ] do
    test "#{name} #{@many} times" do
      conn = if unquote(protocol) == :route, do: route!(), else: open!(:usersock, accept: :any)
      {silent, port_id} = silent!()
      context = %{conn: conn, silent: silent, to: port_id}

      if unquote(name) in [:timed_out, :killed], do: fill(context)

      for n <- 1..@few, do: step(unquote(name), context, n)
      before = held(conn)
      for n <- 1..@many, do: step(unquote(name), context, n)
      # The connection learns of an ended process with a delay.
      Await.until(div(patience(), 20), fn -> grown(held(conn), before) == %{} end)
      assert grown(held(conn), before) == %{}
    end
  end

  # Until it remembers as many as it ever will. A request whose time is over before it is sent is not remembered.
  defp fill(%{conn: conn} = context) do
    wait = fn _ -> time_out(context, 20) end
    options = [max_concurrency: 100, timeout: :infinity]
    1..100 |> Task.async_stream(wait, options) |> Stream.run()
    if KeyedQueue.size(:sys.get_state(conn).requests.late) < @remembered, do: fill(context)
  end

  defp step(:answered, %{conn: conn}, _n) do
    assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
  end

  defp step(:dumped, %{conn: conn}, _n) do
    assert {:ok, [_ | _]} = Conn.request(conn, Links.dump())
  end

  defp step(:refused, %{conn: conn}, _n) do
    assert {:error, %Error{reason: :enodev}} = Conn.request(conn, Links.get(0x7FFF_FFFF))
  end

  defp step(:not_sent, %{conn: conn}, n) do
    # Larger than the buffer that it is to be sent from.
    request = %Message{Links.get(1) | body: :binary.copy(<<n>>, 1_000_000)}
    assert {:error, %Error{}} = Conn.request(conn, request)
  end

  defp step(:timed_out, context, n), do: time_out(context, rem(n, 2))

  defp step(:killed, %{conn: conn, silent: silent, to: to}, _n) do
    options = [to: to, timeout: :infinity]
    kill(fn -> Conn.request(conn, %Message{type: 20}, options) end)
    Conn.recv(silent, 0)
  end

  defp step(:received, %{conn: conn}, n) do
    assert :ok = Conn.join_group(conn, 1)
    do!(conn, Links.create("link", "ifb"))
    assert event!(conn) == {:new, "link"}
    do!(conn, Links.delete("link"))
    assert event!(conn) == {:deleted, "link"}
    if rem(n, 2) == 0, do: assert({:error, _} = Conn.recv(conn, 0))
    assert :ok = Conn.leave_group(conn, 1)
  end

  defp step(:nothing_received, %{conn: conn}, n) do
    assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, rem(n, 2))
  end

  defp step(:killed_receiving, %{conn: conn}, _n), do: kill(fn -> Conn.recv(conn) end)

  defp step(:active_once, %{conn: conn}, _n) do
    assert :ok = Conn.active(conn, :once)
    assert :ok = Conn.active(conn, false)
  end

  defp step(:active_again, %{conn: conn}, n) do
    for active <- [true, n, :once, true, 2, false], do: assert(:ok = Conn.active(conn, active))
  end

  defp step(:subscriber_gone, %{conn: conn}, n) do
    active = Enum.at([true, :once, 3], rem(n, 3))
    task = Task.async(fn -> Conn.active(conn, active) end)
    assert Task.await(task, :infinity) == :ok
  end

  defp step(:groups, %{conn: conn}, _n) do
    assert :ok = Conn.join_group(conn, 5)
    assert :ok = Conn.leave_group(conn, 5)
  end

  defp step(:filters, %{conn: conn}, n) do
    assert :ok = Conn.attach_filter(conn, List.duplicate(Filter.return(0xFFFF_FFFF), n))
    assert :ok = Conn.detach_filter(conn)
  end

  defp step(:options, %{conn: conn}, n) do
    assert :ok = Conn.set_option(conn, :packet_info, rem(n, 2) == 0)
    assert {:ok, _} = Conn.get_option(conn, :packet_info)
    assert :ok = Conn.set_option(conn, :packet_info, true)
    assert :ok = Conn.set_option(conn, :read_buffer, 50_000)
  end

  defp step(:sent, %{conn: conn}, n) do
    request = %Message{Links.get(1) | flags: Message.flags([:request]), sequence: n}
    assert {:ok, _} = Conn.send(conn, request)
    assert {:ok, [_answer], _origin} = Conn.recv(conn)
  end

  # Larger than the buffer that it is to be sent from.
  defp step(:sending_refused, %{conn: conn}, n) do
    message = %Message{Links.get(1) | body: :binary.copy(<<n>>, 1_000_000)}
    assert {:error, %Error{reason: :emsgsize}} = Conn.send(conn, message)
  end

  # To whom nothing was sent, and from whom nothing is expected.
  defp step(:foreign, %{conn: conn, silent: silent}, _n) do
    assert {:ok, _} = Conn.send(silent, %Message{type: 20}, to: port_id(conn))
    assert {:ok, [%Message{type: 20}], _origin} = Conn.recv(conn)
  end

  defp step(:traced, %{conn: conn}, _n) do
    assert :ok = Conn.trace(conn, self())
    assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
    assert :ok = Conn.trace(conn, false)
  end

  defp time_out(%{conn: conn, silent: silent, to: to}, timeout) do
    options = [to: to, timeout: timeout]
    assert {:error, %Error{reason: :timeout}} = Conn.request(conn, %Message{type: 20}, options)
    # So that the buffer of the other one never fills.
    Conn.recv(silent, 0)
  end

  # When it waits for the connection.
  defp kill(call) do
    caller = Task.async(call)
    Process.unlink(caller.pid)
    await_blocked!(caller)
    Task.shutdown(caller, :brutal_kill)
  end

  describe "timers" do
    test "are cancelled when a request is answered" do
      conn = route!()
      timeout = 200

      # A request that is answered in time. The next one, which times out, ends later than this timer would.
      assert Await.until(fn ->
               match?({:ok, _}, Conn.request(conn, Links.get(1), timeout: timeout))
             end)

      :erlang.trace(conn, true, [:receive])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, timeout)
      _ = Conn.info!(conn)
      :erlang.trace(conn, false, [:receive])

      # The call, its end, and the call of `info!/1`; what the connection tells itself to do is no timer.
      received = conn |> flush() |> Enum.reject(&(&1 == :work))
      calls = for {:"$gen_call", _from, _request} <- received, do: :call
      assert length(calls) == 2
      assert length(received) <= 3, "more than the one timer went off: #{inspect(received)}"
    end

    defp flush(conn) do
      receive do
        {:trace, ^conn, :receive, message} -> [message | flush(conn)]
      after
        0 -> []
      end
    end
  end

  describe "the VM does not grow" do
    @lives 300

    test "from connections that were opened and closed" do
      container = Container.start([:net])
      vm = Vm.start()

      for netns <- [:host, pid: container.pid] do
        life = {ConnScenario, :life, [netns]}
        before = Vm.call(vm, Repeat, :run, [[life], 20])
        Vm.call(vm, Repeat, :run, [[life], @lives])
        # Memory that the VM frees later varies, but by less than a connection needs.
        grown = fn -> Vm.call(vm, Repeat, :run, [[], 0]) - before end
        Await.until(div(patience(), 20), fn -> grown.() < 64 * @lives end)
        assert grown.() < 64 * @lives
      end
    end

    @tag :memory_size
    test "from buffers for the longest datagrams, after they were received" do
      # One thread that receives.
      vm = Vm.start(env: %{"ERL_FLAGS" => "+SDio 1"})
      answer = &Vm.eval(vm, asking(), options: &1)
      assert answer.([]) == :ok
      before = data_size(vm)
      assert answer.(datagram: 16 * 1024 * 1024) == :ok
      assert answer.([]) == :ok
      assert data_size(vm) - before < 8 * 1024
    end

    defp asking do
      quote do
        {:ok, conn} = LinxNative.Conn.start_link(:route, var!(options))
        {:ok, [_ | _]} = LinxNative.Conn.request(conn, LinxNative.Test.Links.dump())
        LinxNative.Conn.close(conn)
      end
    end

    # In KiB: what is mapped, whether it was written to or not.
    defp data_size(%{os_pid: pid}) do
      [_, size] = Regex.run(~r/^VmData:\s*(\d+) kB$/m, File.read!("/proc/#{pid}/status"))
      String.to_integer(size)
    end
  end
end
