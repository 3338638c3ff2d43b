defmodule LinxNative.Conn.OptionsTest do
  @moduledoc """
  The arguments of `LinxNative.Conn`: a wrong one raises in the calling process, and both ends of each range are accepted.
  """

  use LinxNative.Test.Case

  import LinxNative.Conn.Filter, only: [load_length: 0, return: 1]
  import LinxNative.Test.Conns, only: [most: 2, open!: 1, open!: 2]

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  @flags [:packet_info, :ext_ack, :cap_ack, :strict_check] ++
           [:listen_all_nsid, :no_enobufs, :broadcast_error]
  @max32 0xFFFF_FFFF
  @max_buffer 0x3FFF_FFFF
  @odd [nil, :odd, "1", 1.0, [1], {:pid, 1}, %{}]

  defp raises!(call) do
    flunk("it did not raise, but said #{inspect(call.())}")
  rescue
    error in [ArgumentError, FunctionClauseError] -> error
  end

  # Each call raises in this process, and the connection answers as before.
  defp all_raise!(conn, calls) do
    for call <- calls, do: raises!(fn -> call.(conn) end)
    assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
    assert %{pending: 0, counters: %{requests: 1, sent: 1, events: 0}} = Conn.info!(conn)
  end

  describe "a wrong argument raises in the caller, and the connection goes on:" do
    test "request/3" do
      message = Links.get(1)

      all_raise!(
        open!(:route),
        for(odd <- [18 | @odd], do: &Conn.request(&1, odd)) ++
          for field <- [:type, :flags, :body], odd <- [nil, -1, 0x10000, :odd] do
            &Conn.request(&1, Map.put(message, field, odd))
          end ++
          for options <- [:odd, %{}, [:odd], [odd: 1], [{"timeout", 1}]] do
            &Conn.request(&1, message, options)
          end ++
          for odd <- [-1, @max32 + 1 | @odd], name <- [:timeout, :to, :ack] do
            &Conn.request(&1, message, [{name, odd}])
          end
      )
    end

    test "send/3 and send_many/3" do
      message = Links.get(1)

      all_raise!(
        open!(:route),
        for(odd <- @odd, do: &Conn.send(&1, odd)) ++
          for(odd <- [[] | @odd], do: &Conn.send_many(&1, odd)) ++
          [&Conn.send_many(&1, [message, nil]), &Conn.send_many(&1, [message | message])] ++
          for field <- [:type, :flags, :sequence, :port_id, :body],
              odd <- [nil, -1, @max32 + 1] do
            &Conn.send(&1, Map.put(message, field, odd))
          end ++
          for options <- [:odd, [odd: 1], [timeout: -1], [to: -1], [to: @max32 + 1], [to: nil]] do
            &Conn.send(&1, message, options)
          end
      )
    end

    test "recv/2" do
      all_raise!(open!(:route), for(odd <- [-1, @max32 + 1 | @odd], do: &Conn.recv(&1, odd)))
    end

    test "active/2" do
      all_raise!(open!(:route), for(odd <- [-1, 0, 32_768 | @odd], do: &Conn.active(&1, odd)))
    end

    test "trace/2" do
      all_raise!(open!(:route), for(odd <- [:all | @odd], do: &Conn.trace(&1, odd)))
    end

    test "join_group/2 and leave_group/2" do
      odd = [-1, 0, 0x8000_0000 | @odd]

      all_raise!(
        open!(:route),
        for(odd <- odd, do: &Conn.join_group(&1, odd)) ++
          for(odd <- odd, do: &Conn.leave_group(&1, odd))
      )
    end

    test "set_option/3 and get_option/2" do
      all_raise!(
        open!(:route),
        for(odd <- [:datagram, :netns | @odd], do: &Conn.get_option(&1, odd)) ++
          for(odd <- [:datagram, :netns | @odd], do: &Conn.set_option(&1, odd, true)) ++
          for(flag <- @flags, odd <- [0, 1 | @odd], do: &Conn.set_option(&1, flag, odd)) ++
          for buffer <- [:read_buffer, :write_buffer],
              odd <- [0, -1, @max_buffer + 1, true | @odd] do
            &Conn.set_option(&1, buffer, odd)
          end
      )
    end

    test "attach_filter/2" do
      odd = [nil, :odd, "program", %{}, [return(0) | return(0)]]
      all_raise!(open!(:route), for(odd <- odd, do: &Conn.attach_filter(&1, odd)))
    end

    test "a term that is not a connection" do
      for odd <- [1, "conn", [], %{}], call <- [&Conn.info/1, &Conn.recv/1, &Conn.netns/1] do
        raises!(fn -> call.(odd) end)
      end
    end
  end

  describe "start_link/2" do
    test "raises for an unknown option, before anything is opened" do
      wrong =
        [odd: 1, active: true, active: :once, active: 1] ++
          for(
            name <- [:netns, :groups, :subscriber, :trace],
            odd <- [1, "1", :odd],
            do: {name, odd}
          ) ++
          for(netns <- [pid: 0, pid: "1", path: 1, fd: -1, fd: "1"], do: {:netns, netns}) ++
          for(group <- [0, -1, 0x8000_0000, :odd], do: {:groups, [1, group]}) ++
          for(size <- [0, @max_buffer + 1, :odd], do: {:read_buffer, size}) ++
          for(size <- [0, @max_buffer + 1, :odd], do: {:write_buffer, size}) ++
          for(size <- [31, 16_777_217, nil], do: {:datagram, size}) ++
          for(size <- [-1, nil, 1.0], do: {:event_buffer, size}) ++
          for(filter <- [:odd, [], [load_length()], [:odd]], do: {:filter, filter}) ++
          for(accept <- [nil, :none, true], do: {:accept, accept}) ++
          for(active <- [0, -1, 32_768, :twice], do: {:active, active}) ++
          for(flag <- @flags, odd <- [nil, 1, :odd], do: {flag, odd})

      for option <- wrong do
        assert %ArgumentError{} = raises!(fn -> Conn.start_link(:route, [option]) end)
      end

      for protocol <- [:odd, nil, "route", 1.0, 0x8000_0000, -0x8000_0001] do
        assert %ArgumentError{} = raises!(fn -> Conn.start_link(protocol) end)
      end

      for options <- [:odd, [:odd], %{netns: :host}] do
        raises!(fn -> Conn.start_link(:route, options) end)
      end

      refute_received {:EXIT, _pid, _reason}
    end

    test "takes both ends of each range" do
      for options <- [
            [datagram: 32],
            [datagram: 16_777_216],
            [event_buffer: 0],
            [event_buffer: 1_000_000_000_000],
            [read_buffer: 1, write_buffer: 1],
            [read_buffer: @max_buffer, write_buffer: @max_buffer],
            [active: 1, subscriber: self()],
            [active: 32_767, subscriber: self()],
            [active: true, subscriber: self()],
            [active: false, subscriber: self()],
            [filter: [return(1)]],
            [groups: []],
            [groups: [1, 1]]
          ] do
        assert :route |> open!(options) |> Conn.close() == :ok
      end
    end

    test "takes the longest filter, if the system's limit of a socket's memory does" do
      longest = [filter: List.duplicate(return(@max32), 4096)]

      case Conn.start_link(:route, longest) do
        {:ok, conn} ->
          assert Harness.can?("filter-of-4096-instructions")
          Conn.close(conn)

        {:error, error} ->
          assert %{stage: :filter, reason: :enomem} = error
          refute Harness.can?("filter-of-4096-instructions")
      end
    end

    test "sets the packet info first and joins the groups last" do
      # Otherwise an event is taken for an answer, or passes a filter that is not attached yet.
      start =
        quote do
          options = [groups: [1], filter: [return(1)], read_buffer: 50_000, strict_check: true]
          {:ok, conn} = Conn.start_link(:route, options)
          Conn.close(conn)
        end

      call = {Code, :eval_quoted, [start]}
      {{:ok, _binding}, calls} = Strace.calls(Vm.start(), ["setsockopt"], call)
      calls = Enum.filter(calls, &(&1 =~ "SOL_NETLINK" or &1 =~ "SOL_SOCKET"))
      assert hd(calls) =~ "NETLINK_PKTINFO"
      assert Enum.any?(calls, &(&1 =~ "SO_ATTACH_FILTER"))
      assert List.last(calls) =~ "NETLINK_ADD_MEMBERSHIP"
    end

    test "returns the stage and the reason of a failure" do
      closed = unused_descriptor()

      for {protocol, options, reason} <- [
            {:route, [netns: {:path, "/nowhere"}], {:open, :enoent}},
            {:route, [netns: {:path, ""}], {:open, :enoent}},
            {:route, [netns: {:path, "/proc/self/ns/net\0"}], {:open, :einval}},
            {:route, [netns: {:path, String.duplicate("/", 4096)}], {:open, :enametoolong}},
            {:route, [netns: {:pid, 0x7FFF_FFFF}], {:open, :enoent}},
            {:route, [netns: {:fd, closed}], {:open, :ebadf}},
            {:route, [netns: {:path, "/proc/self/ns/mnt"}], {:setns, :einval}},
            {:route, [netns: {:path, "/etc/passwd"}], {:setns, :einval}},
            {99, [], {:socket, :eprotonosupport}},
            {-1, [netns: {:path, "/proc/self/ns/net"}], {:socket, :eprotonosupport}},
            {0x7FFF_FFFF, [], {:socket, :eprotonosupport}},
            {:route, [groups: [1, 99]], {{:group, 99}, :einval}},
            {:route, [groups: [0x7FFF_FFFF]], {{:group, 0x7FFF_FFFF}, :einval}}
          ] do
        assert {:error, %Error{} = error} = Conn.start_link(protocol, options)
        assert {error.stage, error.reason} == reason
      end
    end

    test "fails with :enoprotoopt for an option that is true and that the kernel does not have" do
      missing = Vm.start(wrap: Harness.seccomp(without(@flags -- [:packet_info])))
      none = [ext_ack: false, cap_ack: false]

      for flag <- @flags -- [:packet_info] do
        assert {flag, starts(missing, Keyword.put(none, flag, true))} ==
                 {flag, {flag, :enoprotoopt}}
      end

      # An option that is false is not set.
      assert starts(missing, for(flag <- @flags, do: {flag, false})) == :answers

      # The receiver of an event depends on its group, so every connection needs the option at first.
      missing = Vm.start(wrap: Harness.seccomp(without([:packet_info])))
      assert starts(missing, packet_info: false) == {:packet_info, :enoprotoopt}
    end

    test "needs ext_ack: false before Linux 4.12, and also cap_ack: false before Linux 4.3" do
      before = Vm.start(wrap: Harness.seccomp(without([:strict_check, :ext_ack])))
      assert starts(before, []) == {:ext_ack, :enoprotoopt}
      assert starts(before, ext_ack: false) == :answers

      before = Vm.start(wrap: Harness.seccomp(without([:strict_check, :ext_ack, :cap_ack])))
      assert starts(before, ext_ack: false) == {:cap_ack, :enoprotoopt}
      assert starts(before, ext_ack: false, cap_ack: false) == :answers
    end

    # The rules of a filter that answers like a kernel without these options.
    defp without(flags) do
      Enum.map_join(flags, ",", &"netlink-#{String.replace("#{&1}", "_", "-")}=ENOPROTOOPT")
    end

    # Starts a connection there and makes a request. Returns the stage and the reason of a failure.
    defp starts(vm, options) do
      start =
        quote do
          with {:ok, conn} <- LinxNative.Conn.start_link(:route, var!(options)) do
            {:ok, [_loopback]} = LinxNative.Conn.request(conn, var!(request))
            LinxNative.Conn.close(conn)
          end
        end

      with {:error, %Error{} = error} <-
             Vm.eval(vm, start, options: options, request: Links.get(1)),
           do: {error.stage, error.reason},
           else: (:ok -> :answers)
    end

    test "fails without an exit signal, and leaves no descriptor" do
      Process.flag(:trap_exit, true)
      before = Machine.descriptors()

      assert {:error, %Error{stage: {:group, 99}, reason: :einval}} =
               Conn.start_link(:route, groups: [99])

      assert Machine.descriptors() == before
      # An exit signal would have arrived before the answer.
      refute_received {:EXIT, _pid, _reason}
    end

    test "takes a name for one connection" do
      {:ok, conn} = Conn.start_link(:route, name: __MODULE__)
      assert {:error, {:already_started, ^conn}} = Conn.start_link(:route, name: __MODULE__)
      assert {:ok, [_loopback]} = Conn.request(__MODULE__, Links.get(1))
      assert LinxNative.netns_id(__MODULE__) == LinxNative.netns_id(:host)
      assert Conn.close(__MODULE__) == :ok
      assert {:noproc, _call} = catch_exit(Conn.info(__MODULE__))
    end

    test "has a child specification with the name as its id, or a unique id" do
      assert %{id: {Conn, Blue}} = Conn.child_spec({:route, name: Blue})

      named = {Conn, {:route, netns: :host, name: __MODULE__}}
      children = [{Conn, :route}, {Conn, :route}, {Conn, {:route, netns: :host}}, named]
      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      assert %{active: 4} = Supervisor.count_children(supervisor)
      assert {:ok, [_loopback]} = Conn.request(__MODULE__, Links.get(1))
      :ok = Supervisor.stop(supervisor)
      assert {:noproc, _call} = catch_exit(Conn.info(__MODULE__))
    end
  end

  describe "both ends of each range are taken by" do
    test "request/3" do
      conn = open!(:route, accept: :any)

      for timeout <- [@max32, :infinity], ack <- [true, false] do
        assert {:ok, [%Message{type: 16}]} =
                 Conn.request(conn, Links.get(1), timeout: timeout, ack: ack, to: 0)
      end

      assert {:error, %Error{reason: :econnrefused}} =
               Conn.request(conn, Links.get(1), to: @max32)

      assert {:ok, _} = Conn.request(conn, %{Links.get(1) | sequence: @max32, port_id: @max32})
    end

    test "send/3" do
      {conn, other} = {open!(:usersock), open!(:usersock, accept: :any)}
      %{port_id: to} = Conn.info!(other)

      for n <- [1, @max32] do
        message = %Message{type: 0xFFFF, flags: 0xFFFF, sequence: n, port_id: n}
        assert Conn.send(conn, message, to: to) == {:ok, message}
        assert {:ok, [^message], _origin} = Conn.recv(other, @max32)
      end

      assert {:error, %Error{reason: :econnrefused}} = Conn.send(conn, %Message{}, to: @max32)
    end

    test "active/2" do
      conn = open!(:route)
      for active <- [true, false, :once, 1, 32_767], do: assert(Conn.active(conn, active) == :ok)
    end

    test "join_group/2" do
      conn = open!(:usersock)
      for group <- [1, 32], do: assert(Conn.join_group(conn, group) == :ok)
      assert Conn.info!(conn).groups == [1, 32]

      for group <- [33, 0x7FFF_FFFF],
          do: assert({:error, %Error{reason: :einval}} = Conn.join_group(conn, group))

      assert {:error, %Error{reason: :einval}} = Conn.leave_group(conn, 0x7FFF_FFFF)
      for group <- [1, 32], do: assert(Conn.leave_group(conn, group) == :ok)
      assert Conn.info!(conn).groups == []
    end

    test "set_option/3 of a buffer" do
      conn = open!(:route)

      for {buffer, limit} <- [read_buffer: "rmem_max", write_buffer: "wmem_max"] do
        assert Conn.set_option(conn, buffer, 1) == :ok
        # The kernel has a least size.
        assert {:ok, least} = Conn.get_option(conn, buffer)
        assert least in 2..10_000
        assert Conn.set_option(conn, buffer, @max_buffer) == :ok
        assert Conn.get_option(conn, buffer) == {:ok, 2 * most(@max_buffer, limit)}
      end
    end
  end

  # Far beyond what the VM has, and within what it may.
  defp unused_descriptor, do: Machine.descriptors() |> Map.keys() |> Enum.max() |> Kernel.+(1000)
end
