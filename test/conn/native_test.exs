defmodule LinxNative.Conn.NativeTest do
  @moduledoc """
  The socket as a term: who owns it, what ends it, and what cannot be done to it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Conn.Native
  alias LinxNative.Message

  @moduletag :conn

  @datagram 65_536

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
    test "by close, at once, and by close again" do
      {socket, _, _} = opened = open!()
      refute closed?(opened)
      assert Native.close(socket) == :ok
      assert Await.until(fn -> closed?(opened) end)
      assert Native.close(socket) == :ok
    end

    test "by close while it is watched, by any process" do
      {socket, _, _} = opened = open!()
      assert Native.select(socket, make_ref()) == :ok
      assert Task.await(Task.async(fn -> Native.close(socket) end)) == :ok
      assert Await.until(fn -> closed?(opened) end)
    end

    test "when its owner ends, though others have the term" do
      for reason <- [:normal, :kill, :boom], watched? <- [true, false] do
        {pid, monitor, {socket, _, _} = opened} = owner()
        if watched?, do: Native.select(socket, make_ref())

        if reason == :normal,
          do: send(pid, {:do, fn -> :ok end}),
          else: Process.exit(pid, reason)

        await_end(monitor)
        assert Await.until(fn -> closed?(opened) end), "owner ended with #{reason}"
        assert Native.exchange(socket, []) == {:error, :closed}
      end
    end

    test "when nobody has the term any more, though the owner lives" do
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

    test "and answers so to everything" do
      {socket, _, _} = open!()
      :ok = Native.close(socket)

      for {function, arguments} <- [
            exchange: [[{0, dump()}]],
            receive: [],
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
    test "sends, and has the answers of the kernel" do
      {socket, _, _} = open!()
      assert {[:sent | datagrams], false} = Native.exchange(socket, [{0, dump()}])
      assert Enum.all?(datagrams, &match?({:datagram, 0, 0, nil, <<_::binary>>}, &1))
      {:ok, last} = datagrams |> List.last() |> elem(4) |> Message.decode()
      assert List.last(last).type == 3
      Native.close(socket)
    end

    test "has the messages that were refused in their places" do
      {socket, _, _} = open!()
      nobody = {0xFFFFFFF0, dump()}

      assert {[{:refused, 111}, :sent | _], false} =
               Native.exchange(socket, [nobody, {0, dump()}])

      Native.close(socket)
    end

    test "stops when there was much, with what it has not sent" do
      {socket, _, _} = open!()
      requests = List.duplicate({0, dump()}, 500)
      {entries, more?} = Native.exchange(socket, requests)
      assert more?
      assert Enum.count(entries, &(&1 == :sent)) < 500
      Native.close(socket)
    end

    test "of what is longer than the buffer says how long it is" do
      {:ok, socket} = Native.open(:host, 0, 100)
      assert {[:sent | entries], false} = Native.exchange(socket, [{0, dump()}])
      assert [{:truncated, 0, 0, nil, beginning, length} | _] = entries
      assert byte_size(beginning) == 100
      assert length > 100
      Native.close(socket)
    end
  end

  describe "select" do
    test "tells the caller once, when there is something" do
      container = Container.start([:net])
      path = Container.ns_path(container, :net)
      {:ok, socket} = Native.open({:path, path}, 0, @datagram)
      # RTNLGRP_LINK
      :ok = Native.join(socket, 1)

      reference = make_ref()
      assert Native.select(socket, reference) == :ok
      refute_received {:select, _, _, _}
      Container.sh!(container, "ip link set lo up")
      assert_receive {:select, ^socket, ^reference, :ready_input}
      assert {[_ | _], false} = Native.receive(socket)
      Container.sh!(container, "ip link set lo down")
      refute_received {:select, _, _, _}
      Native.close(socket)
    end
  end

  describe "with the module loaded again" do
    test "a socket goes on, also when the old code is gone" do
      vm = Vm.start()

      {before, answers} =
        Vm.eval(
          vm,
          quote do
            alias LinxNative.Conn.Native
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

      for wrong <- [:other, {:path, 1}, {:path, ~c"x"}, {:fd, "1"}, {:fd, 0x100000000}, {:pid, 1}] do
        assert_raise ArgumentError, fn -> Native.open(wrong, 0, 100) end
      end

      for wrong <- @wrong -- [-1],
          do: assert_raise(ArgumentError, fn -> Native.open(:host, wrong, 100) end)

      for wrong <- [16_777_217 | @wrong],
          do: assert_raise(ArgumentError, fn -> Native.open(:host, 0, wrong) end)
    end

    test "by every function that takes a socket" do
      for {function, arity} <- Native.module_info(:exports),
          function not in [:module_info, :__info__, :open, :netns_of_descriptor],
          wrong <- [make_ref() | @wrong] do
        arguments = [wrong | List.duplicate(0, arity - 1)]
        assert_raise ArgumentError, fn -> apply(Native, function, arguments) end
      end
    end

    test "by those that take more" do
      {socket, _, _} = open!()

      calls =
        for(wrong <- @wrong -- [[]], do: {:exchange, [wrong]}) ++
          (for(wrong <- @wrong, do: {:exchange, [[{0, dump()} | wrong]]}) --
             ([{:exchange, [[{0, dump()}]]}] ++
                for(
                  wrong <- [{-1, ""}, {0x100000000, ""}, {0, ~c"x"}, {0, <<1::1>>}, {0}],
                  do: {:exchange, [[wrong]]}
                ) ++
                for(wrong <- @wrong, do: {:select, [wrong]}) ++
                for(wrong <- @wrong -- [-1], f <- [:join, :leave], do: {f, [wrong]}) ++
                for(wrong <- @wrong -- ["x"], do: {:attach_filter, [wrong]}) ++
                for(wrong <- @wrong, do: {:flag, [wrong]}) ++
                for(wrong <- @wrong, do: {:set_flag, [:ext_ack, wrong]}) ++
                for(wrong <- @wrong, do: {:buffer, [wrong]}) ++
                for(wrong <- @wrong, do: {:set_buffer, [:read_buffer, wrong]})))

      for {function, arguments} <- calls do
        assert_raise ArgumentError, fn -> apply(Native, function, [socket | arguments]) end
      end

      Native.close(socket)
    end

    test "a program that is none is EINVAL" do
      {socket, _, _} = open!()
      assert Native.attach_filter(socket, "") == {:error, 22}
      assert Native.attach_filter(socket, <<6::native-16, 0, 0, 0::32, 1>>) == {:error, 22}

      assert Native.attach_filter(socket, :binary.copy(<<6::native-16, 0, 0, 0::32>>, 65_536)) ==
               {:error, 22}

      Native.close(socket)
    end
  end
end
