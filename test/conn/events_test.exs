defmodule LinxNative.Conn.EventsTest do
  @moduledoc """
  Events: all of them arrive in order, or a loss is reported at its place.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.RenamedLink

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  # RTNLGRP_* of linux/rtnetlink.h
  @link_group 1
  @address_group 5

  @many 300
  # Enough for all of them, and for a few.
  @large 16 * 1024 * 1024
  @small 8_192

  setup :make!

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
          # Linux 6.1 renames no link that is up.
          {:ok, []} = Conn.request(context.maker, Links.rename(index, "other#{n}"))
          {:ok, []} = Conn.request(context.maker, Links.up(index))
          {:ok, []} = Conn.request(context.maker, Links.delete(index))
          index
        end

      told = await_links(conn, &(&1.what == :deleted and &1.index == List.last(indexes)))

      for {index, n} <- Enum.with_index(indexes, 1) do
        # The kernel may tell the same state more than once.
        states = for %{index: ^index} = link <- told, do: {link.what, link.name, link.up?}

        assert Enum.dedup(states) == [
                 {:new, "life#{n}", false},
                 {:new, "other#{n}", false},
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

    test "the loss ends the requests in flight, and the connection continues to work", context do
      conn = start(context, read_buffer: @small, accept: :any)
      # It receives requests and never answers.
      silent = start(context, groups: [], accept: :any)
      request = Links.get(context.index)
      options = [to: Conn.info!(silent).port_id, timeout: :infinity]
      requests = for _ <- 1..3, do: Task.async(fn -> Conn.request(conn, request, options) end)
      for _ <- requests, do: assert({:ok, [_request], _origin} = Conn.recv(silent, patience()))
      assert %{pending: 3} = Conn.info!(conn)

      # With requests in flight the connection receives, and could keep up with the kernel.
      true = :erlang.suspend_process(conn)
      rename(context, 1..@many)
      true = :erlang.resume_process(conn)
      :ok = Conn.active(conn, true)

      for answer <- Task.await_many(requests, patience()),
          do: assert({:error, %Error{reason: :overrun}} = answer)

      assert_receive {:netlink_error, ^conn, %Error{reason: :overrun}}, patience()
      assert %{pending: 0, counters: %{overruns: 1}} = Conn.info!(conn)
      assert {:ok, [_link]} = Conn.request(conn, request)
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
      # The event is still not an answer.
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

  # The names and the ids of their namespaces, up to the last one.
  defp receive_nsids(conn, last) do
    {:ok, [message], origin} = Conn.recv(conn, patience())
    name = Links.read(message).name
    told = {name, origin.nsid}
    if name == last, do: [told], else: [told | receive_nsids(conn, last)]
  end
end
