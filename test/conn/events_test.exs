defmodule LinxNative.Conn.EventsTest do
  @moduledoc """
  Events: all of them arrive in order, or a loss is reported at its place.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Conn.Inbox
  alias LinxNative.Test.Links

  @moduletag :conn

  # RTNLGRP_* of linux/rtnetlink.h
  @link_group 1
  @address_group 5

  @many 300
  # Enough for all of them, and for a few.
  @large 16 * 1024 * 1024
  @small 8_192
  # What a message that is kept counts besides its bytes.
  @overhead 256

  # A link of another namespace than ours to rename: each time is an event.
  setup do
    container = Container.start([:net])
    {:ok, maker} = Conn.start_link(:route, netns: {:pid, container.pid})
    {:ok, []} = Conn.request(maker, Links.create("link", "ifb"))
    on_exit(fn -> Conn.close(maker) end)
    %{container: container, maker: maker, index: Links.index!(maker, "link")}
  end

  describe "at a rate that fits into the buffer, no event is lost" do
    test "while a subscriber wants them", context do
      conn = start(context, active: true, subscriber: self(), read_buffer: @large)
      names = rename(context, 1..@many)
      assert await_names(conn, List.last(names)) == names
      refute_received {:netlink_error, ^conn, _}
      assert %{drops: 0, counters: %{overruns: 0}} = Conn.info!(conn)
    end

    test "while they are unclaimed", context do
      conn = start(context, read_buffer: @large)
      names = rename(context, 1..@many)
      assert receive_names(conn, List.last(names)) == names
      assert %{drops: 0, counters: %{overruns: 0}} = Conn.info!(conn)
    end

    test "of the whole life of links", context do
      conn = start(context, active: true, subscriber: self(), read_buffer: @large)

      indexes =
        for n <- 1..20 do
          {:ok, []} = Conn.request(context.maker, Links.create("life#{n}", "ifb"))
          index = Links.index!(context.maker, "life#{n}")
          {:ok, []} = Conn.request(context.maker, Links.up(index))
          {:ok, []} = Conn.request(context.maker, Links.rename(index, "other#{n}"))
          {:ok, []} = Conn.request(context.maker, Links.delete(index))
          index
        end

      told = await_links(conn, &(&1.what == :deleted and &1.index == List.last(indexes)))

      for {index, n} <- Enum.with_index(indexes, 1) do
        # The kernel may tell the same state more than once.
        states = for %{index: ^index} = link <- told, do: {link.what, link.name, link.up?}

        assert Enum.dedup(states) == [
                 {:new, "life#{n}", false},
                 {:new, "life#{n}", true},
                 {:new, "other#{n}", true},
                 {:new, "other#{n}", false},
                 {:deleted, "other#{n}", false}
               ]
      end
    end

    test "to any of several connections", context do
      conns =
        for _ <- 1..5, do: start(context, active: true, subscriber: self(), read_buffer: @large)

      names = rename(context, 1..50)
      for conn <- conns, do: assert(await_names(conn, List.last(names)) == names)
    end
  end

  describe "at a rate that does not fit into the buffer" do
    test "the loss is reported once, in order, and the connection continues to work", context do
      conn = start(context, read_buffer: @small)
      names = rename(context, 1..@many)
      :ok = Conn.active(conn, true)

      # Told by what comes after it.
      await_overrun = fn -> Conn.info!(conn).counters.overruns == 1 end
      assert Await.until(await_overrun)
      :ok = Conn.active(conn, false)
      {before, [%Error{reason: :overrun}]} = conn |> mailbox() |> Enum.split_while(&is_binary/1)
      assert before != [] and List.starts_with?(names, before)

      :ok = Conn.active(conn, true)
      assert [name] = rename(context, [@many + 1])
      assert await_names(conn, name) == [name]
      assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
      refute_received {:netlink_error, ^conn, _}
      assert %{drops: drops} = Conn.info!(conn)
      assert drops > 0
    end

    test "the loss is reported to a waiting caller, in order", context do
      conn = start(context, read_buffer: @small)
      names = rename(context, 1..@many)
      before = receive_names(conn)
      assert before != [] and List.starts_with?(names, before)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)

      [name] = rename(context, [@many + 1])
      assert receive_names(conn, name) == [name]
    end

    test "the next loss is reported again", context do
      conn = start(context, read_buffer: @small)

      for n <- 1..3 do
        names = rename(context, (n * @many)..(n * @many + @many - 1))
        before = receive_names(conn)
        assert before != [] and List.starts_with?(names, before)
      end

      assert %{counters: %{overruns: 3}} = Conn.info!(conn)
    end

    test "a request in between is answered, and the loss is reported in order", context do
      conn = start(context, read_buffer: @small)
      names = rename(context, 1..@many)
      assert {:ok, [link]} = Conn.request(conn, Links.get(context.index))
      assert Links.read(link).name == List.last(names)
      before = receive_names(conn)
      assert before != [] and List.starts_with?(names, before)
    end

    test "nothing is reported with :no_enobufs", context do
      conn = start(context, read_buffer: @small, no_enobufs: true)
      names = rename(context, 1..@many)
      :ok = Conn.active(conn, true)
      [first | _] = names
      assert_receive {:netlink, ^conn, [message], _}, patience()
      assert Links.read(message).name == first
      assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
      refute_received {:netlink_error, ^conn, _}
    end
  end

  describe "flow control" do
    test "of one at a time", context do
      conn = start(context, read_buffer: @large)
      names = rename(context, 1..20)

      told =
        for _ <- names do
          :ok = Conn.active(conn, :once)
          assert_receive {:netlink, ^conn, [message], _origin}, patience()
          # It was one: the connection has done all that it was told by now.
          Conn.info!(conn)
          refute_received {:netlink, ^conn, _, _}
          Links.read(message).name
        end

      assert told == names
    end

    test "of a number at a time", context do
      conn = start(context, read_buffer: @large)
      names = rename(context, 1..20)

      for part <- Enum.chunk_every(names, 5) do
        :ok = Conn.active(conn, 5)
        assert_receive {:netlink_passive, ^conn}, patience()
        assert mailbox(conn) == part
      end

      # There is none.
      :ok = Conn.active(conn, 5)
      Conn.info!(conn)
      refute_received {:netlink_passive, ^conn}
    end

    test "of all, until active: false", context do
      conn = start(context, read_buffer: @large)
      :ok = Conn.active(conn, true)
      first = rename(context, 1..10)
      assert await_names(conn, List.last(first)) == first
      :ok = Conn.active(conn, false)
      second = rename(context, 11..20)
      Conn.info!(conn)
      assert mailbox(conn) == []
      :ok = Conn.active(conn, true)
      assert await_names(conn, List.last(second)) == second
    end

    test "comes after waiting callers", context do
      conn = start(context, read_buffer: @large)
      :ok = Conn.active(conn, true)
      waiting = Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 1 end)
      names = rename(context, 1..2)
      {:ok, [message], _origin} = Task.await(waiting, :infinity)
      assert [Links.read(message).name | await_names(conn, List.last(names))] == names
    end

    test "ends with the subscriber", context do
      conn = start(context, read_buffer: @large)

      {subscriber, monitor} =
        spawn_monitor(fn ->
          :ok = Conn.active(conn, true)
          receive(do: (:never -> :ok))
        end)

      assert Await.until(fn -> subscribed?(conn) end)
      Process.exit(subscriber, :kill)
      assert_receive {:DOWN, ^monitor, :process, _, :killed}
      assert Await.until(fn -> not subscribed?(conn) end)
      names = rename(context, 1..10)
      assert receive_names(conn, List.last(names)) == names
    end

    test "applies to the last subscriber", context do
      conn = start(context, read_buffer: @large)
      other = Task.async(fn -> Conn.active(conn, true) end)
      assert Task.await(other, :infinity) == :ok
      :ok = Conn.active(conn, true)
      assert Await.until(fn -> subscribed?(conn) end)
      names = rename(context, 1..5)
      assert await_names(conn, List.last(names)) == names
    end
  end

  describe "while events are unclaimed, requests" do
    test "are answered, and the events are kept in order", context do
      conn = start(context, read_buffer: @large)

      names =
        for n <- 1..30 do
          [name] = rename(context, [n])
          assert {:ok, [link]} = Conn.request(conn, Links.get(context.index))
          assert Links.read(link).name == name
          assert {:ok, [_lo, _link]} = Conn.request(conn, Links.dump())
          name
        end

      assert receive_names(conn, List.last(names)) == names
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "are answered, and a loss for lack of room is reported once", context do
      conn = start(context, read_buffer: @large, event_buffer: 8_000)
      names = rename(context, 1..20)

      for _ <- 1..3 do
        assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
        rename(context, 21..30)
      end

      assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
      before = receive_names(conn)
      assert before != [] and length(before) < 20 and List.starts_with?(names, before)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)

      [name] = rename(context, [31])
      assert receive_names(conn, name) == [name]
    end

    test "are answered, and each kept message counts #{@overhead} bytes more than its size" do
      message = %Message{type: 20, body: <<0::32>>}
      size = byte_size(Message.encode(message)) + @overhead
      {:ok, sender} = Conn.start_link(:usersock)

      for {event_buffer, datagrams, kept} <- [
            {2 * size, [1, 1], 2},
            {2 * size - 1, [1, 1], 1},
            {2 * size, [2], 1},
            {2 * size - 1, [2], 0},
            {size - 1, [1], 0}
          ] do
        {:ok, conn} = Conn.start_link(:usersock, accept: :any, event_buffer: event_buffer)
        to = Conn.info!(conn).port_id

        for count <- datagrams,
            do: {:ok, _} = Conn.send_many(sender, List.duplicate(message, count), to: to)

        # It receives all that came before, as somebody's answer may be behind.
        assert {:error, %Error{reason: :econnrefused}} =
                 Conn.request(conn, message, to: 0xFFFF_FFFF)

        overruns = length(datagrams) - kept
        assert %{counters: %{events: ^kept, overruns: ^overruns}} = Conn.info!(conn)

        told = for _ <- datagrams, do: elem(Conn.recv(conn, 0), 0)
        assert told == List.duplicate(:ok, kept) ++ List.duplicate(:error, overruns)
      end
    end
  end

  describe "unclaimed events stay in the kernel's buffer, also if none are kept:" do
    test "recv/2 takes one", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      names = rename(context, 1..5)
      assert receive_names(conn, List.last(names)) == names
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      assert %{drops: 0, counters: %{events: 5, overruns: 0}} = Conn.info!(conn)
    end

    test "several waiting callers take one each", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      waiting = for _ <- 1..2, do: Task.async(fn -> Conn.recv(conn) end)
      assert Await.until(fn -> waiting(conn) == 2 end)
      names = rename(context, 1..5)

      told =
        for {:ok, [message], _origin} <- Task.await_many(waiting, :infinity),
            do: Links.read(message).name

      assert Enum.sort(told) == Enum.take(names, 2)
      assert receive_names(conn, List.last(names)) == Enum.drop(names, 2)
      assert %{drops: 0, counters: %{events: 5, overruns: 0}} = Conn.info!(conn)
    end

    test "a subscriber takes as many as it wants", context do
      conn = start(context, read_buffer: @large, event_buffer: 0)
      names = rename(context, 1..10)

      for {active, part} <- [{1, 0..0}, {:once, 1..1}, {3, 2..4}, {5, 5..9}] do
        :ok = Conn.active(conn, active)
        part = Enum.slice(names, part)
        assert await_names(conn, List.last(part)) == part
        # It takes no more: the connection has done all that it was told by now.
        Conn.info!(conn)
        refute_received {:netlink, ^conn, _messages, _origin}
      end

      assert %{drops: 0, counters: %{events: 10, overruns: 0}} = Conn.info!(conn)
    end
  end

  describe "the origin of an event" do
    test "is the kernel, with the group", context do
      conn = start(context, [])
      rename(context, [1])

      assert {:ok, [%Message{}], %{port_id: 0, group: @link_group, nsid: nil}} =
               Conn.recv(conn, patience())
    end

    test "has no group with packet_info: false", context do
      conn = start(context, packet_info: false)
      rename(context, [1])
      assert {:ok, [message], %{port_id: 0, group: nil}} = Conn.recv(conn, patience())
      assert Links.read(message).name == "name1"
      # It is no answer all the same.
      rename(context, [2])
      assert {:ok, [_link]} = Conn.request(conn, Links.get(context.index))
      assert receive_names(conn, "name2") == ["name2"]

      :ok = Conn.set_option(conn, :packet_info, true)
      assert Conn.get_option(conn, :packet_info) == {:ok, true}
      rename(context, [3])
      assert {:ok, [_message], %{group: @link_group}} = Conn.recv(conn, patience())
    end

    test "has the namespace with :listen_all_nsid", context do
      other = Container.start([:net])
      unknown = Container.start([:net])
      conn = start(context, listen_all_nsid: true)
      {:ok, []} = Conn.request(context.maker, Links.number_namespace(other.pid, 7))

      for {container, name} <- [{unknown, "unknown"}, {other, "other"}] do
        {:ok, maker} = Conn.start_link(:route, netns: {:pid, container.pid})
        {:ok, []} = Conn.request(maker, Links.create(name, "ifb"))
        Conn.close(maker)
      end

      rename(context, [1])

      # The kernel may tell the same state more than once.
      assert Enum.dedup(receive_nsids(conn, "name1")) == [{"other", 7}, {"name1", nil}]
    end
  end

  describe "a change by the connection itself" do
    test "is an event with its sequence number, and not part of the answer", context do
      conn = start(context, groups: [@address_group])
      :ok = Conn.active(conn, true)
      port_id = Conn.info!(conn).port_id

      for n <- 1..20, address = <<10, 0, 0, n>> do
        assert {:ok, []} = Conn.request(conn, Links.add_address(context.index, address))
        assert {:ok, []} = Conn.request(conn, Links.delete_address(context.index, address))

        for what <- [:new, :deleted] do
          assert_receive {:netlink, ^conn, [message], %{port_id: 0, group: @address_group}},
                         patience()

          # By these alone it would be an answer.
          assert %Message{port_id: ^port_id, sequence: sequence} = message
          assert sequence != 0
          assert %{what: ^what, address: ^address} = Links.read_address(message)
        end
      end

      assert %{counters: %{late: 0}} = Conn.info!(conn)
    end

    test "is part of the answer if it asks for an echo, and not an event", context do
      conn = start(context, groups: [@address_group])
      request = Links.add_address(context.index, <<10, 0, 0, 1>>)
      request = %{request | flags: request.flags + Message.flags([:echo])}
      assert {:ok, [message]} = Conn.request(conn, request)
      assert %{what: :new, address: <<10, 0, 0, 1>>} = Links.read_address(message)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "is not an answer to another caller, whatever its sequence number", context do
      conn = start(context, groups: [@address_group], read_buffer: @large)

      changing =
        for n <- 1..8 do
          Task.async(fn ->
            for k <- 1..20, address = <<10, 0, n, k>> do
              assert {:ok, []} = Conn.request(conn, Links.add_address(context.index, address))
            end
          end)
        end

      asking =
        for _ <- 1..8 do
          Task.async(fn ->
            for _ <- 1..50 do
              assert {:ok, [link]} = Conn.request(conn, Links.get(context.index))
              assert Links.read(link).index == context.index
            end
          end)
        end

      Task.await_many(changing ++ asking, :infinity)

      told =
        for _ <- 1..160 do
          {:ok, [message], _origin} = Conn.recv(conn, patience())
          Links.read_address(message).address
        end

      assert Enum.sort(told) == for(n <- 1..8, k <- 1..20, do: <<10, 0, n, k>>)
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end
  end

  describe "the groups" do
    test "that were joined later, and left", context do
      conn = start(context, groups: [])
      rename(context, [1])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)

      :ok = Conn.join_group(conn, @link_group)
      assert %{groups: [@link_group]} = Conn.info!(conn)
      rename(context, [2])
      assert receive_names(conn, "name2") == ["name2"]

      :ok = Conn.leave_group(conn, @link_group)
      assert %{groups: []} = Conn.info!(conn)
      rename(context, [3])
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end
  end

  defp start(context, options) do
    options =
      Keyword.merge([groups: [@link_group], netns: {:pid, context.container.pid}], options)

    {:ok, conn} = Conn.start_link(:route, options)
    on_exit(fn -> Conn.close(conn) end)
    conn
  end

  # The names that it had one after the other.
  defp rename(%{maker: maker, index: index}, numbers) do
    for n <- numbers do
      {:ok, []} = Conn.request(maker, Links.rename(index, "name#{n}"))
      "name#{n}"
    end
  end

  # The names that come by messages, up to the last one.
  defp await_names(conn, last) do
    conn |> await_links(&(&1.name == last)) |> Enum.map(& &1.name)
  end

  defp await_links(conn, last?) do
    assert_receive {:netlink, ^conn, [message], %{port_id: 0, group: @link_group}}, patience()
    link = Links.read(message)
    if last?.(link), do: [link], else: [link | await_links(conn, last?)]
  end

  # Those that come by recv/2, up to the last one; or up to a gap.
  defp receive_names(conn, last \\ nil) do
    case {Conn.recv(conn, patience()), last} do
      {{:ok, [message], _origin}, _last} ->
        name = Links.read(message).name
        if name == last, do: [name], else: [name | receive_names(conn, last)]

      {{:error, %Error{reason: :overrun}}, nil} ->
        []
    end
  end

  # The names and the ids of their namespaces, up to the last one.
  defp receive_nsids(conn, last) do
    {:ok, [message], origin} = Conn.recv(conn, patience())
    name = Links.read(message).name
    told = {name, origin.nsid}
    if name == last, do: [told], else: [told | receive_nsids(conn, last)]
  end

  # Those that have come already.
  defp mailbox(conn) do
    receive do
      {:netlink, ^conn, [message], _origin} -> [Links.read(message).name | mailbox(conn)]
      {:netlink_error, ^conn, reason} -> [reason | mailbox(conn)]
    after
      0 -> []
    end
  end

  defp subscribed?(conn), do: :sys.get_state(conn).subscription != nil

  defp waiting(conn), do: length(Inbox.waiting(:sys.get_state(conn).inbox))
end
