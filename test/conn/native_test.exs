defmodule LinxNative.Conn.NativeTest do
  @moduledoc """
  The socket as a resource of the VM: its owner, how it is closed, and wrong arguments.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Message, Native}
  alias LinxNative.Test.SyscallStepper

  @moduletag :conn

  @datagram 65_536
  @all 0xFFFFFFFF

  defp open! do
    {:ok, socket} = Native.open(:host, 0, @datagram)
    {:ok, fd} = Native.descriptor(socket)
    {socket, fd, File.read_link!("/proc/self/fd/#{fd}")}
  end

  defp closed?({_socket, fd, link}), do: File.read_link("/proc/self/fd/#{fd}") != {:ok, link}

  defp dump do
    flags = Message.flags([:request, :dump])
    Message.encode(%Message{type: 18, flags: flags, sequence: 1, body: <<0::128>>})
  end

  # A process that opened one, and goes on when told how.
  defp owner do
    test = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        send(test, open!())
        receive do: ({:do, fun} -> fun.())
      end)

    receive do: ({_socket, _fd, _link} = opened -> {pid, monitor, opened})
  end

  defp await_end(monitor), do: receive(do: ({:DOWN, ^monitor, _, _, reason} -> reason))

  describe "a socket is closed" do
    test "by close, at once; a second close is :ok" do
      {socket, _, _} = opened = open!()
      refute closed?(opened)
      assert Native.close(socket) == :ok
      assert Await.until(fn -> closed?(opened) end)
      assert Native.close(socket) == :ok
    end

    test "by close while it is watched, by any process" do
      {socket, _, _} = opened = open!()
      assert Native.select(socket, make_ref()) == :ok
      assert Task.await(Task.async(fn -> Native.close(socket) end), :infinity) == :ok
      assert Await.until(fn -> closed?(opened) end)
    end

    test "when its owner ends, also if others have the term" do
      for reason <- [:normal, :kill, :boom], watched? <- [true, false] do
        {pid, monitor, {socket, _, _} = opened} = owner()
        if watched?, do: Native.select(socket, make_ref())

        if reason == :normal,
          do: send(pid, {:do, fn -> :ok end}),
          else: Process.exit(pid, reason)

        await_end(monitor)
        assert Await.until(fn -> closed?(opened) end), "owner ended with #{reason}"
        assert Native.exchange(socket, [], @all) == {:error, :closed}
      end
    end

    test "when no process has the term any more, also if the owner lives" do
      test = self()

      forget = fn ->
        {_socket, fd, link} = open!()
        send(test, {:opened, nil, fd, link})
      end

      {pid, monitor} =
        spawn_monitor(fn ->
          forget.()
          :erlang.garbage_collect()
          receive do: (:end -> :ok)
        end)

      assert_receive {:opened, nil, fd, link}
      assert Await.until(fn -> closed?({nil, fd, link}) end)
      assert Process.alive?(pid)
      send(pid, :end)
      await_end(monitor)
    end

    test "and every function then returns :closed" do
      {socket, _, _} = open!()
      :ok = Native.close(socket)

      for {function, arguments} <- [
            exchange: [[{0, dump()}], @all],
            only_kernel: [],
            select: [make_ref()],
            join: [1],
            leave: [1],
            groups: [],
            port_id: [],
            drops: [],
            descriptor: [],
            attach_filter: [<<0::64>>],
            detach_filter: [],
            set_flag: [:ext_ack, true],
            flag: [:ext_ack],
            set_buffer: [:read_buffer, 4096],
            buffer: [:read_buffer],
            netns: []
          ] do
        assert apply(Native, function, [socket | arguments]) == {:error, :closed}, "#{function}"
      end
    end
  end

  describe "an exchange" do
    test "sends, and returns the answers of the kernel" do
      {socket, _, _} = open!()
      assert [:drained, :sent | entries] = Native.exchange(socket, [{0, dump()}], @all)
      assert {datagrams, [:drained]} = Enum.split(entries, -1)
      assert Enum.all?(datagrams, &match?({:datagram, 0, 0, nil, <<_::binary>>}, &1))
      {:ok, last} = datagrams |> List.last() |> elem(4) |> Message.decode()
      assert List.last(last).type == 3
      Native.close(socket)
    end

    test "returns :drained when nothing is left, and nothing else if there was nothing" do
      {socket, _, _} = open!()
      assert Native.exchange(socket, [], @all) == [:drained]
      # With 0 datagrams it does not receive.
      assert Native.exchange(socket, [], 0) == []

      assert [:drained, :sent, {:datagram, _, _, _, _}] =
               Native.exchange(socket, [{0, dump()}], 1)

      Native.close(socket)
    end

    test "returns refused messages in order" do
      {socket, _, _} = open!()
      messages = [{0xFFFFFFF0, dump()}, {0, dump()}]

      assert [:drained, {:refused, 111}, :drained, :sent | _] =
               Native.exchange(socket, messages, @all)

      Native.close(socket)
    end

    test "stops after many bytes, and does not send the rest" do
      {socket, _, _} = open!()
      requests = List.duplicate({0, dump()}, 500)
      entries = Native.exchange(socket, requests, @all)
      refute List.last(entries) == :drained
      assert Enum.count(entries, &(&1 == :sent)) in 1..499
      Native.close(socket)
    end

    test "receives the given number of datagrams and leaves the others" do
      {socket, _, _} = open!()
      assert [:sent] = Native.exchange(socket, [{0, dump()}], 0)
      assert [{:datagram, _, _, _, _}] = Native.exchange(socket, [], 1)
      assert [{:datagram, _, _, _, _} | _] = Native.exchange(socket, [], @all)
      Native.close(socket)
    end

    test "sends, however much there is to receive" do
      {:ok, crowded} = Native.open(:host, 2, @datagram)
      {:ok, port_id} = Native.port_id(crowded)
      :ok = Native.set_buffer(crowded, :read_buffer, 16 * 1024 * 1024)
      {:ok, sender} = Native.open(:host, 2, @datagram)
      messages = List.duplicate({port_id, <<0::128>>}, 1000)
      assert Native.exchange(sender, messages, 0) == List.duplicate(:sent, 1000)

      entries = Native.exchange(crowded, [{0xFFFFFFF0, <<0::128>>}], @all)

      # There was more when it sent.
      assert {[_ | _], [{:refused, 111}, {:datagram, _, _, _, _} | _]} =
               Enum.split_while(entries, &datagram?/1)

      Enum.each([crowded, sender], &Native.close/1)
    end

    test "returns EBUSY while another process is in one" do
      hold = SyscallStepper.start(["recvmsg"])

      first =
        quote do
          {:ok, socket} = Native.open(:host, 0, unquote(@datagram))
          :persistent_term.put(Native, socket)
          Native.exchange(socket, [], 1)
        end

      second = quote(do: Native.exchange(:persistent_term.get(Native), [], 1))
      held = SyscallStepper.begin_at(hold, {Code, :eval_quoted, [first]}, "recvmsg")
      other = Task.async(fn -> Vm.eval(hold.vm, second) end)
      assert Task.yield(other, patience()) == {:ok, {:error, 16}}
      assert %{answer: {[:drained], _binding}} = SyscallStepper.finish(held)
    end

    test "returns the length of a datagram that is longer than the buffer" do
      {:ok, socket} = Native.open(:host, 0, 100)
      assert [:drained, :sent | entries] = Native.exchange(socket, [{0, dump()}], @all)
      assert [{:truncated, 0, 0, nil, beginning, length} | _] = entries
      assert byte_size(beginning) == 16
      assert length > 100
      Native.close(socket)
    end
  end

  describe "a socket in the namespace of another socket" do
    test "is in that namespace, also if nothing else refers to it" do
      container = Container.start([:net])
      {:ok, socket} = Native.open({:path, Container.ns_path(container, :net)}, 0, @datagram)
      {:ok, id} = Native.netns(socket)
      Container.stop(container)
      assert {:ok, same} = Native.open({:same_as, socket}, 0, @datagram)
      Native.close(socket)
      assert Native.netns(same) == {:ok, id}
      Native.close(same)
    end

    test "is not opened if the other socket is closed" do
      {socket, _, _} = open!()
      Native.close(socket)
      assert Native.open({:same_as, socket}, 0, @datagram) == {:error, :closed}
    end
  end

  test "sockets of different lengths share a buffer, and each keeps to its own length" do
    [short, long] =
      for length <- [100, 16_777_216] do
        {:ok, socket} = Native.open(:host, 0, length)
        socket
      end

    for _ <- 1..50 do
      assert [_, _, {:datagram, _, _, _, bytes} | _] = Native.exchange(long, [{0, dump()}], @all)
      assert {:ok, [_ | _]} = Message.decode(bytes)

      assert [_, _, {:truncated, _, _, _, start, length} | _] =
               Native.exchange(short, [{0, dump()}], @all)

      assert {byte_size(start), length > 100} == {16, true}
    end

    Enum.each([short, long], &Native.close/1)
  end

  defp datagram?(entry), do: match?({:datagram, _, _, _, _}, entry)

  test "with only_kernel no other port can send to a socket" do
    {:ok, socket} = Native.open(:host, 2, @datagram)
    {:ok, port_id} = Native.port_id(socket)
    {:ok, sender} = Native.open(:host, 2, @datagram)
    assert [_, :sent | _] = Native.exchange(sender, [{port_id, <<0::128>>}], @all)
    assert :ok = Native.only_kernel(socket)
    assert [_, {:refused, 111} | _] = Native.exchange(sender, [{port_id, <<0::128>>}], @all)
    # The datagram that was queued before.
    assert [{:datagram, _, _, _, _}, :drained] = Native.exchange(socket, [], @all)
    Enum.each([socket, sender], &Native.close/1)
  end

  describe "select" do
    test "sends one message to the caller when there is something to receive" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      {:ok, socket} = Native.open({:path, path}, 0, @datagram)
      :ok = Native.set_flag(socket, :packet_info, true)
      # RTNLGRP_LINK
      :ok = Native.join(socket, 1)

      reference = make_ref()
      assert Native.select(socket, reference) == :ok
      refute_received {:select, _, _, _}
      Container.sh!(container, "ip link set lo up")
      assert_receive {:select, ^socket, ^reference, :ready_input}
      assert [{:datagram, 0, 1, nil, _} | _] = Native.exchange(socket, [], @all)
      Container.sh!(container, "ip link set lo down")
      refute_received {:select, _, _, _}
      Native.close(socket)
    end
  end

  describe "with the module loaded again" do
    test "a socket continues to work, also after the old code is purged" do
      vm = Vm.start()

      {before, answers} =
        Vm.eval(
          vm,
          quote do
            alias LinxNative.Native
            {:ok, socket} = Native.open(:host, 0, 65_536)
            Native.select(socket, make_ref())
            {Native, binary, file} = :code.get_object_code(Native)

            answers =
              for _ <- 1..20 do
                {:module, Native} = :code.load_binary(Native, file, binary)
                :code.purge(Native)
                {:ok, other} = Native.open(:host, 0, 65_536)
                :ok = Native.close(other)
                Native.port_id(socket)
              end

            before = Native.port_id(socket)
            :ok = Native.close(socket)
            {before, answers}
          end
        )

      assert {:ok, port_id} = before
      assert answers == List.duplicate({:ok, port_id}, 20)
    end
  end

  describe "arguments of another type or out of range are refused" do
    @wrong [:x, 1.0, "x", [], {}, %{}, -1, 0x100000000, 0x10000000000000000, nil]

    test "by open" do
      for wrong <- @wrong -- [:x] do
        assert_raise ArgumentError, fn -> Native.open(wrong, 0, 100) end
      end

      for wrong <- [
            :other,
            {:path, 1},
            {:path, ~c"x"},
            {:fd, "1"},
            {:fd, 0x100000000},
            {:pid, 1},
            {:same_as, make_ref()}
          ] do
        assert_raise ArgumentError, fn -> Native.open(wrong, 0, 100) end
      end

      for wrong <- @wrong -- [-1],
          do: assert_raise(ArgumentError, fn -> Native.open(:host, wrong, 100) end)

      for wrong <- [16_777_217 | @wrong],
          do: assert_raise(ArgumentError, fn -> Native.open(:host, 0, wrong) end)
    end

    test "by every function that takes a socket" do
      for {function, arity} <- Native.module_info(:exports),
          function not in [:module_info, :__info__, :open],
          not String.starts_with?(to_string(function), "netns_of"),
          wrong <- [make_ref() | @wrong] do
        arguments = [wrong | List.duplicate(0, arity - 1)]
        assert_raise ArgumentError, fn -> apply(Native, function, arguments) end
      end
    end

    test "by functions with more arguments" do
      {socket, _, _} = open!()

      no_lists = @wrong -- [[]]
      improper = for wrong <- no_lists, do: [{0, dump()} | wrong]
      no_messages = [{-1, ""}, {0x100000000, ""}, {0, ~c"x"}, {0, <<1::1>>}, {0}]
      no_messages = for wrong <- no_messages, do: [wrong]

      wrong = [
        exchange: for(wrong <- no_lists ++ improper ++ no_messages, do: [wrong, 0]),
        exchange: for(wrong <- @wrong, do: [[], wrong]),
        select: for(wrong <- @wrong, do: [wrong]),
        join: for(wrong <- @wrong -- [-1], do: [wrong]),
        leave: for(wrong <- @wrong -- [-1], do: [wrong]),
        attach_filter: for(wrong <- @wrong -- ["x"], do: [wrong]),
        flag: for(wrong <- @wrong, do: [wrong]),
        set_flag: for(wrong <- @wrong, do: [:ext_ack, wrong]),
        buffer: for(wrong <- @wrong, do: [wrong]),
        set_buffer: for(wrong <- @wrong, do: [:read_buffer, wrong])
      ]

      for {function, lists} <- wrong, arguments <- lists do
        assert_raise ArgumentError, fn -> apply(Native, function, [socket | arguments]) end
      end

      Native.close(socket)
    end

    test "by functions that identify namespaces" do
      for wrong <- @wrong -- ["x"],
          do: assert_raise(ArgumentError, fn -> Native.netns_of_file(wrong) end)

      for wrong <- @wrong -- [-1], function <- [:netns_of_socket, :netns_of_descriptor] do
        assert_raise ArgumentError, fn -> apply(Native, function, [wrong]) end
      end
    end

    test "an invalid filter program is EINVAL" do
      {socket, _, _} = open!()
      assert Native.attach_filter(socket, "") == {:error, 22}
      assert Native.attach_filter(socket, <<6::native-16, 0, 0, 0::32, 1>>) == {:error, 22}

      assert Native.attach_filter(socket, :binary.copy(<<6::native-16, 0, 0, 0::32>>, 65_536)) ==
               {:error, 22}

      Native.close(socket)
    end
  end
end
