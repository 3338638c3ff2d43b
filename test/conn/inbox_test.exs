defmodule LinxNative.Conn.InboxTest do
  use ExUnit.Case, async: true

  alias LinxNative.Conn.{Caller, Inbox}
  alias LinxNative.Error

  @moduletag :conn

  # The test is the connection, its subscriber and all those who wait. What they are sent is in its mailbox at once.
  @room 10
  @overrun {:error, %Error{reason: :overrun}}

  describe "without a subscriber" do
    test "nothing is wanted, and items are kept" do
      inbox = Inbox.new(@room)
      refute Inbox.wanted?(inbox)
      put(inbox, 1..3)
      assert received() == []
    end

    test "a waiting caller gets the item" do
      inbox = @room |> Inbox.new() |> wait(:a)
      assert Inbox.wanted?(inbox)
      inbox = put(inbox, 1..2)
      assert received() == [a: 1]
      refute Inbox.wanted?(inbox)
      wait(inbox, :b)
      assert received() == [b: 2]
    end
  end

  describe "a subscriber" do
    test "that wants all gets all" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), true) |> put(1..100)
      assert received() == Enum.to_list(1..100)
      assert Inbox.wanted?(inbox)
    end

    test "that wants one gets one, and has to ask again for the next" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), :once)
      assert Inbox.wanted?(inbox)
      inbox = put(inbox, 1..3)
      assert received() == [1]
      refute Inbox.wanted?(inbox)
      inbox = Inbox.activate(inbox, self(), :once)
      assert received() == [2]
      refute Inbox.wanted?(inbox)
    end

    test "that wants a number gets that many, then :netlink_passive" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), 3) |> put(1..2)
      assert received() == [1, 2]
      assert Inbox.wanted?(inbox)
      inbox = put(inbox, 3..5)
      assert received() == [3, :passive]
      refute Inbox.wanted?(inbox)
      inbox = Inbox.activate(inbox, self(), 1)
      assert received() == [4, :passive]
      refute Inbox.wanted?(inbox)
    end

    test "that wants a number gets kept items first" do
      inbox = @room |> Inbox.new() |> put(1..2) |> Inbox.activate(self(), 3)
      assert received() == [1, 2]
      put(inbox, 3..4)
      assert received() == [3, :passive]
    end

    test "that wants nothing gets nothing, not even :netlink_passive" do
      for active <- [true, :once, 2] do
        inbox = @room |> Inbox.new() |> Inbox.activate(self(), active)
        inbox = Inbox.activate(inbox, self(), false)
        refute Inbox.wanted?(inbox)
        put(inbox, 1..3)
        assert received() == []
      end
    end

    test "replaces the previous subscriber" do
      other = spawn_link(fn -> receive(do: (:stop -> :ok)) end)
      inbox = @room |> Inbox.new() |> Inbox.activate(other, true) |> put([1])
      inbox |> Inbox.activate(self(), true) |> put([2])
      assert received() == [2]
      assert Process.info(other, :messages) == {:messages, [item_message(1)]}
      send(other, :stop)
    end

    test "gets errors, which count as one item" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), 2)
      {:ok, inbox} = Inbox.put(inbox, {:error, %Error{reason: :truncated, detail: 99}}, 0)
      {:ok, inbox} = Inbox.put(inbox, @overrun, 0)
      assert received() == [{:error, %Error{reason: :truncated, detail: 99}}, @overrun, :passive]
      refute Inbox.wanted?(inbox)
    end
  end

  describe "waiting callers" do
    test "come before the subscriber, in order, and get one item each" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), true) |> wait(:a) |> wait(:b)
      put(inbox, 1..3)
      assert received() == [{:a, 1}, {:b, 2}, 3]
    end

    test "do not reduce the number that the subscriber wants" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), :once) |> wait(:a) |> put([1])
      assert received() == [a: 1]
      assert Inbox.wanted?(inbox)
      put(inbox, 2..3)
      assert received() == [2]
    end

    test "get kept items" do
      inbox = @room |> Inbox.new() |> put(1..2) |> wait(:a) |> wait(:b) |> wait(:c)
      assert received() == [a: 1, b: 2]
      assert [_c] = Inbox.waiting(inbox)
      put(inbox, [3])
      assert received() == [c: 3]
    end

    test "get errors" do
      inbox = @room |> Inbox.new() |> wait(:a)
      {:ok, _inbox} = Inbox.put(inbox, @overrun, 0)
      assert received() == [a: @overrun]
    end

    test "can leave" do
      [a, b, c] = callers = for name <- [:a, :b, :c], do: caller(name)
      inbox = Enum.reduce(callers, Inbox.new(@room), &Inbox.wait(&2, &1))

      assert {^b, inbox} = Inbox.leave(inbox, b.id)
      assert Inbox.waiting(inbox) == [a, c]
      assert {nil, inbox} = Inbox.leave(inbox, b.id)
      assert {nil, inbox} = Inbox.leave(inbox, make_ref())
      inbox = put(inbox, 1..3)
      assert received() == [a: 1, c: 2]
      assert Inbox.waiting(inbox) == []

      for caller <- callers, do: Caller.forget(caller)
    end

    test "but have given up get nothing, and are watched no more" do
      pid = start_supervised!({Agent, fn -> nil end})
      claim = Caller.new_claim()
      gave_up = Caller.watch({pid, :tag}, make_ref(), claim)
      assert Process.info(self(), :monitors) == {:monitors, [process: pid]}
      assert Caller.won?(claim)

      @room |> Inbox.new() |> Inbox.wait(gave_up) |> wait(:b) |> put([1])
      assert received() == [b: 1]
      assert Process.info(self(), :monitors) == {:monitors, []}
    end
  end

  describe "kept items" do
    test "use the given room, to the last byte" do
      inbox = Inbox.new(@room)
      {:ok, inbox} = Inbox.put(inbox, item(1), 4)
      {:ok, inbox} = Inbox.put(inbox, item(2), 6)
      {:overrun, inbox} = Inbox.put(inbox, item(3), 1)
      Inbox.activate(inbox, self(), true)
      assert received() == [1, 2, @overrun]
    end

    test "are delivered in order, and free their room" do
      inbox = Inbox.new(@room)

      for round <- 1..3, reduce: inbox do
        inbox ->
          items = (10 * round)..(10 * round + 9)
          inbox = inbox |> put(items) |> Inbox.activate(self(), true)
          assert received() == Enum.to_list(items)
          Inbox.activate(inbox, nil, false)
      end
    end

    test "are none, if there is no room at all" do
      {:overrun, inbox} = Inbox.put(Inbox.new(0), item(1), 1)
      inbox |> Inbox.activate(self(), true) |> put([2])
      assert received() == [@overrun, 2]
    end

    test "stay if a longer item has no room" do
      {:overrun, inbox} = Inbox.put(Inbox.new(@room), item(1), @room + 1)
      inbox |> put(2..3) |> Inbox.activate(self(), true)
      assert received() == [@overrun, 2, 3]
    end
  end

  describe "an overrun" do
    test "is reported once for each loss, in order" do
      inbox = Inbox.new(3)
      inbox = inbox |> put(1..3) |> overrun(4..9) |> wait(:a) |> wait(:b)
      inbox = inbox |> put(10..11) |> overrun(12..15)
      Inbox.activate(inbox, self(), true)
      assert received() == [{:a, 1}, {:b, 2}, 3, @overrun, 10, 11, @overrun]
    end

    test "counts as one item" do
      inbox = Inbox.new(1) |> put([1]) |> overrun([2]) |> Inbox.activate(self(), 2)
      assert received() == [1, @overrun, :passive]
      refute Inbox.wanted?(inbox)
    end

    test "of the kernel is reported too, and needs no room" do
      inbox = Inbox.new(1) |> put([1])
      # Any number of them is one gap, also with what was thrown away here.
      inbox = for _ <- 1..100, reduce: inbox, do: (inbox -> kernel_overrun(inbox))
      inbox = inbox |> overrun([2]) |> kernel_overrun()
      assert :queue.len(inbox.kept) == 2
      inbox |> Inbox.activate(self(), true) |> put([3])
      assert received() == [1, @overrun, 3]
    end

    test "is reported again after items that were delivered in between" do
      inbox = @room |> Inbox.new() |> Inbox.activate(self(), true)
      inbox |> kernel_overrun() |> kernel_overrun()
      assert received() == [@overrun, @overrun]
    end
  end

  defp put(inbox, items) do
    Enum.reduce(items, inbox, fn item, inbox ->
      {:ok, inbox} = Inbox.put(inbox, item(item), 1)
      inbox
    end)
  end

  defp overrun(inbox, items) do
    Enum.reduce(items, inbox, fn item, inbox ->
      {:overrun, inbox} = Inbox.put(inbox, item(item), 1)
      inbox
    end)
  end

  defp kernel_overrun(inbox) do
    {:ok, inbox} = Inbox.put(inbox, @overrun, 0)
    inbox
  end

  defp wait(inbox, name), do: Inbox.wait(inbox, caller(name))

  defp caller(name), do: Caller.watch({self(), {:reply, name}}, make_ref())

  defp item(number), do: {:messages, [number], %{port_id: 0}}
  defp item_message(number), do: {:netlink, self(), [number], %{port_id: 0}}

  # Returns the messages that the test received.
  defp received do
    test = self()

    receive do
      {{:reply, name}, {:ok, [number], %{port_id: 0}}} -> [{name, number} | received()]
      {{:reply, name}, error} -> [{name, error} | received()]
      {:netlink, ^test, [number], %{port_id: 0}} -> [number | received()]
      {:netlink_error, ^test, error} -> [{:error, error} | received()]
      {:netlink_passive, ^test} -> [:passive | received()]
    after
      0 -> []
    end
  end
end
