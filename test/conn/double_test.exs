defmodule LinxNative.Conn.DoubleTest do
  @moduledoc """
  `LinxNative.Conn.Test`: a test double of a connection.
  """

  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias LinxNative.{Attributes, Conn, Error, Genetlink, Message, Rtnetlink}

  @moduletag :conn

  @patience LinxNative.Test.Await.patience()

  defp link(index, name) do
    Rtnetlink.message(:newlink, header: [index: index], attributes: [ifname: name])
  end

  defp get, do: Rtnetlink.message(:getlink, header: [index: 1])
  defp dump, do: Rtnetlink.message(:getlink, flags: [:dump])
  defp delete, do: Rtnetlink.message(:dellink, header: [index: 1])

  defp names(messages),
    do: for(message <- messages, do: Rtnetlink.decode!(message).attributes[:ifname])

  defp start!(answers, options \\ []) do
    {:ok, conn} = Conn.Test.start_link(answers, options)
    conn
  end

  describe "answers" do
    test "are given in the order of the requests" do
      conn =
        start!([
          {dump(), {:ok, [link(1, "lo"), link(2, "eth0")]}},
          {get(), {:ok, [link(1, "lo")]}},
          {delete(), :ok}
        ])

      assert [_, _, _] = Conn.Test.unused(conn)
      assert {:ok, links} = Conn.request(conn, dump())
      assert names(links) == ["lo", "eth0"]
      assert {:ok, [%Message{protocol: :route} = link]} = Conn.request(conn, get())
      assert names([link]) == ["lo"]
      assert {:ok, []} = Conn.request(conn, delete())
      assert Conn.Test.unused(conn) == []
    end

    test "have the number and the port of their request" do
      conn =
        start!([
          {dump(), {:ok, [link(1, "lo"), link(2, "eth0")]}},
          {get(), {:ok, [link(1, "lo")]}}
        ])

      {:ok, %{port_id: port_id}} = Conn.info(conn)
      {:ok, [first, second]} = Conn.request(conn, dump())
      {:ok, [third]} = Conn.request(conn, get())
      assert first.sequence == second.sequence
      assert first.sequence != third.sequence
      assert Enum.uniq(for message <- [first, second, third], do: message.port_id) == [port_id]
      assert Message.flag?(first, :multi)
      refute Message.flag?(third, :multi)
    end

    test "come from a function" do
      test = self()

      conn =
        start!(fn %Message{} = request ->
          send(test, {:asked, Rtnetlink.decode!(request).header.index})
          {:ok, [link(1, "lo")]}
        end)

      assert {:ok, [_link]} = Conn.request(conn, get())
      assert_received {:asked, 1}
      assert Conn.Test.unused(conn) == []
    end

    test "can be errors, as those of the kernel" do
      conn =
        start!([
          {get(), {:error, :enodev}},
          {dump(), {:error, :ebusy}},
          {delete(), {:error, {:eperm, "not for you"}}}
        ])

      assert {:error, %Error{reason: :enodev, errno: 19, stage: :request, text: nil}} =
               Conn.request(conn, get())

      assert {:error, %Error{reason: :ebusy}} = Conn.request(conn, dump())

      assert {:error, %Error{reason: :eperm, errno: 1, text: "not for you"}} =
               Conn.request(conn, delete())
    end

    test "can be missing" do
      conn = start!([{get(), :ignore}, {get(), :ok}])
      assert {:error, %Error{reason: :timeout}} = Conn.request(conn, get(), timeout: 200)
      assert {:ok, []} = Conn.request(conn, get())
    end

    test "can interrupt a dump" do
      interrupted = %{link(1, "lo") | flags: Message.flags([:dump_intr])}
      conn = start!([{dump(), {:ok, [interrupted]}}])
      assert {:error, %Error{reason: :dump_interrupted} = error} = Conn.request(conn, dump())
      assert names(error.messages) == ["lo"]
    end

    test "are given to a request without acknowledgement" do
      conn = start!([{get(), {:ok, [link(1, "lo")]}}])
      assert {:ok, [_link]} = Conn.request(conn, get(), ack: false)
    end

    test "are given to messages of send/3" do
      requests =
        for index <- 1..2,
            do: Rtnetlink.message(:getlink, flags: [:request], header: [index: index])

      conn = start!(for request <- requests, do: {request, {:ok, [link(7, "blue")]}})
      {:ok, [%{sequence: first}, %{sequence: second}]} = Conn.send_many(conn, requests)

      assert {:ok, [%Message{sequence: ^first}], %{group: 0, port_id: 0}} =
               Conn.recv(conn, @patience)

      assert {:ok, [%Message{sequence: ^second}], _origin} = Conn.recv(conn, @patience)
    end

    test "are given to a stream, each time it is enumerated" do
      links = for index <- 1..100, do: link(index, "link#{index}")
      interrupted = %{link(1, "lo") | flags: Message.flags([:dump_intr])}

      conn =
        start!([{dump(), {:ok, links}}, {dump(), {:ok, links}}, {dump(), {:ok, [interrupted]}}])

      stream = Conn.stream(conn, dump())
      assert stream |> names() |> length() == 100
      assert stream |> Enum.take(2) |> names() == ["link1", "link2"]

      assert %Error{reason: :dump_interrupted} =
               assert_raise(Error, fn -> Enum.to_list(stream) end)

      assert Conn.Test.unused(conn) == []
    end

    test "go to their own callers, if many ask at a time" do
      conn = start!(fn request -> {:ok, [link(Rtnetlink.decode!(request).header.index, "x")]} end)

      1..200
      |> Task.async_stream(
        fn index ->
          request = Rtnetlink.message(:getlink, header: [index: index])
          assert {:ok, [link]} = Conn.request(conn, request)
          assert Rtnetlink.decode!(link).header.index == index
        end,
        timeout: :infinity
      )
      |> Stream.run()
    end

    test "can be of generic netlink" do
      conn =
        start!(
          fn %Message{type: 16} ->
            {:ok,
             [%Message{type: 16, body: <<1, 2, 0, 0>> <> family("made_up", 30, "events", 9)}]}
          end,
          protocol: :generic
        )

      assert {:ok, %Genetlink.Family{id: 30, groups: %{"events" => 9}}} =
               Genetlink.family(conn, "made_up")

      assert :ok = Genetlink.join_group(conn, "made_up", "events")
      assert {:ok, %{groups: [9]}} = Conn.info(conn)
    end
  end

  # CTRL_ATTR_* of linux/genetlink.h
  defp family(name, id, group, number) do
    groups = {:nested, [{1, {:nested, [{1, {:string, group}}, {2, {:u32, number}}]}}]}

    Attributes.encode([
      {1, {:u16, id}},
      {2, {:string, name}},
      {3, {:u32, 1}},
      {4, {:u32, 0}},
      {5, {:u32, 0}},
      {7, groups}
    ])
  end

  describe "a test fails" do
    # Returns the exit reason of a process that is linked to the connection.
    defp ending(answers, request) do
      Process.flag(:trap_exit, true)
      conn = start!(answers)

      capture_log(fn ->
        assert {:error, %Error{reason: :closed}} = Conn.request(conn, request, timeout: :infinity)
        assert_receive {:EXIT, ^conn, reason}, @patience
        send(self(), {:reason, Exception.format_exit(reason)})
      end)

      assert_received {:reason, reason}
      reason
    end

    test "with a request that was not expected" do
      reason = ending([{dump(), :ok}], delete())
      assert reason =~ "this request was expected:"
      assert reason =~ ~r/expected:.*:getlink \(18\).*came:.*:dellink \(17\)/s
    end

    test "with one request too many" do
      assert ending([], get()) =~ "no more requests were expected, but this one came:"
    end

    test "with a function that raises, or has no clause" do
      assert ending(fn _request -> raise "no links today" end, get()) =~ "no links today"
      assert ending(fn %Message{type: 1} -> :ok end, get()) =~ "FunctionClauseError"
    end

    test "with an invalid answer" do
      for answer <- [nil, {:ok, :links}, {:ok, [:link]}, {:ok, link(1, "lo")}] do
        assert ending([{get(), answer}], get()) =~
                 "an answer is :ok, {:ok, messages}, {:error, name}, {:error, {name, text}} or :ignore, not #{inspect(answer)}"
      end

      assert ending([{get(), {:error, :enodve}}], get()) =~
               "no errno is named :enodve, did you mean :enodev?"
    end

    test "with invalid answers" do
      for answers <- [nil, [:ok], [{:getlink, :ok}], fn -> :ok end] do
        assert_raise ArgumentError, ~r/^answers are a list of/, fn ->
          Conn.Test.start_link(answers)
        end
      end
    end
  end

  describe "events" do
    test "go to the subscriber of a connection in the group" do
      conn = start!([], groups: [:link], active: true, subscriber: self())
      assert :ok = Conn.Test.send_event(conn, :link, [link(3, "blue")])
      assert_receive {:netlink, ^conn, [event], %{group: 1, port_id: 0, nsid: nil}}, @patience
      assert names([event]) == ["blue"]
    end

    test "wait until they are claimed" do
      conn = start!([{get(), :ok}])
      assert :not_joined = Conn.Test.send_event(conn, :link, [link(3, "blue")])
      :ok = Conn.join_group(conn, :link)
      for name <- ["blue", "green"], do: :ok = Conn.Test.send_event(conn, 1, [link(3, name)])
      assert {:ok, []} = Conn.request(conn, get())
      assert {:ok, [event], %{group: 1}} = Conn.recv(conn, @patience)
      assert names([event]) == ["blue"]
      assert {:ok, [event], _origin} = Conn.recv(conn, @patience)
      assert names([event]) == ["green"]
      :ok = Conn.leave_group(conn, :link)
      assert :not_joined = Conn.Test.send_event(conn, :link, [link(3, "blue")])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "wake a waiting caller" do
      conn = start!([], groups: [:link])
      task = Task.async(fn -> Conn.recv(conn, :infinity) end)
      :ok = Conn.Test.send_event(conn, :link, [link(3, "blue")])
      assert {:ok, [_event], _origin} = Task.await(task, :infinity)
    end

    test "can be lost" do
      conn = start!([{get(), :ok}], groups: [:link], active: true, subscriber: self())
      :ok = Conn.Test.overrun(conn)
      assert_receive {:netlink_error, ^conn, %Error{reason: :overrun}}, @patience
      :ok = Conn.Test.send_event(conn, :link, [link(3, "blue")])
      assert_receive {:netlink, ^conn, [_event], _origin}, @patience
      assert {:ok, []} = Conn.request(conn, get())
    end

    test "that are too long are errors" do
      conn = start!([], groups: [:link], datagram: 64)
      event = link(3, String.duplicate("x", 100))
      length = byte_size(Message.encode(event))
      :ok = Conn.Test.send_event(conn, :link, [event])
      assert {:error, %Error{reason: :truncated, detail: ^length}} = Conn.recv(conn, @patience)
    end
  end

  describe "the rest of a connection" do
    test "options are kept" do
      conn = start!([], read_buffer: 1000, ext_ack: false, strict_check: true)
      assert {:ok, 2000} = Conn.get_option(conn, :read_buffer)
      assert {:ok, _default} = Conn.get_option(conn, :write_buffer)
      assert {:ok, false} = Conn.get_option(conn, :ext_ack)
      assert {:ok, true} = Conn.get_option(conn, :strict_check)
      :ok = Conn.set_option(conn, :ext_ack, true)
      assert {:ok, true} = Conn.get_option(conn, :ext_ack)
    end

    test "filters are checked" do
      conn = start!([])
      assert {:error, %Error{reason: :filter}} = Conn.attach_filter(conn, [])
      assert {:error, %Error{reason: :enoent}} = Conn.detach_filter(conn)
      :ok = Conn.attach_filter(conn, [LinxNative.Conn.Filter.return(1)])
      :ok = Conn.detach_filter(conn)
    end

    test "a descriptor and other ports are refused" do
      conn = start!([], accept: :any)
      assert {:error, %Error{reason: :ebadf}} = Conn.descriptor(conn)
      assert {:error, %Error{reason: :econnrefused}} = Conn.request(conn, get(), to: 7)
      assert {:ok, {0, 0}} = Conn.netns(conn)
    end

    test "a trace shows its messages" do
      conn = start!([{get(), :ok}], trace: self())
      {:ok, []} = Conn.request(conn, get())

      assert_received {:netlink_trace, ^conn,
                       %Conn.Trace{direction: :sent, messages: [%{type: 18}]}}

      assert_received {:netlink_trace, ^conn,
                       %Conn.Trace{direction: :received, messages: [%{type: 2}]}}
    end

    test "waiting callers get :closed when it is closed, and nothing is left" do
      conn = start!([], name: __MODULE__)
      waiting = Task.async(fn -> Conn.recv(__MODULE__, :infinity) end)
      LinxNative.Test.Conns.await_blocked!(waiting)
      kernel = kernel(conn)
      monitor = Process.monitor(kernel)
      :ok = Conn.close(conn)
      assert {:error, %Error{reason: :closed}} = Task.await(waiting, :infinity)
      assert_receive {:DOWN, ^monitor, :process, ^kernel, _reason}, @patience
    end

    test "it ends when the process that started it ends or is killed" do
      for ending <- [:normal, :kill] do
        test = self()

        owner =
          spawn(fn ->
            send(test, start!([]))
            receive(do: (:end -> :ok))
          end)

        conn = receive(do: (conn when is_pid(conn) -> conn))
        monitors = for pid <- [conn, kernel(conn)], do: {Process.monitor(pid), pid}
        if ending == :kill, do: Process.exit(owner, :kill), else: send(owner, :end)

        for {monitor, pid} <- monitors,
            do: assert_receive({:DOWN, ^monitor, _, ^pid, _}, @patience)
      end
    end

    test "it runs under a supervisor, with a name" do
      conn = start_supervised!({Conn.Test, {[{get(), :ok}], name: Links}})
      assert {:ok, []} = Conn.request(Links, get())
      other = start_supervised!({Conn.Test, []})
      refute conn == other
    end
  end

  # The process that stands in for the kernel.
  defp kernel(conn) do
    {:links, links} = Process.info(conn, :links)

    [kernel] =
      for pid <- links,
          {:dictionary, words} = Process.info(pid, :dictionary),
          match?({Conn.Test.Kernel, _, _}, words[:"$initial_call"]),
          do: pid

    kernel
  end
end
