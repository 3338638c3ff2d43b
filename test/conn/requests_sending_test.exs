defmodule LinxNative.Conn.RequestsSendingTest do
  @moduledoc """
  `LinxNative.Conn.Requests`: the order of sending, sequence numbers, and requests that are given up.
  """

  use ExUnit.Case, async: true

  import LinxNative.Test.Requests

  alias LinxNative.Conn.{KeyedQueue, Requests}
  alias LinxNative.Message

  @moduletag :conn

  @max 0xFFFFFFFF

  # NLMSG_* of linux/netlink.h, and RTM_NEWLINK, RTM_GETLINK as examples of others.
  @error 2
  @done 3
  @overrun 4
  @newlink 16
  @getlink 18

  @eperm 1

  @remembered 4096

  describe "a sequence number" do
    test "is the previous one plus 1, and 1 after the last" do
      assert numbers(new(@max - 2), 5) == [@max - 2, @max - 1, @max, 1, 2]
    end

    test "is never 0" do
      assert numbers(new(0), 2) == [1, 2]
    end

    test "is not that of a pending request" do
      requests = new(@max) |> add(:a) |> add(:b)
      assert in_use(requests) == [:a, :b]
      assert Requests.count(requests) == 2
      assert numbers(%{requests | next: @max}, 2) == [2, 3]

      {_request, requests} = requests |> send_all() |> take(message(@error, 1, <<0::32>>))
      assert numbers(%{requests | next: @max}, 2) == [1, 2]
    end

    test "is not that of a request whose answer may come late" do
      requests = new(1) |> add(:a) |> add(:b) |> send_all() |> give_up(1) |> give_up(2)
      assert numbers(%{requests | next: 1}, 1) == [3]

      {:late, requests} = take(requests, message(@error, 1, <<0::32>>))
      assert numbers(%{requests | next: 1}, 2) == [1, 3]
    end

    test "and the port id are written into the request, whatever it has there" do
      message = %Message{type: @getlink, flags: 5, sequence: 77, port_id: 78, body: "body"}
      {_number, requests} = Requests.add(new(9), %{request(:a) | bytes: Message.encode(message)})
      {{9, 0, bytes}, _requests} = Requests.pop(requests)
      assert Message.decode(bytes) == {:ok, [%{message | sequence: 9, port_id: port_id()}]}
    end
  end

  describe "an item to send" do
    test "is popped once, in order" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 5, "bytes") |> add(:b, to: 6)
      assert Requests.waiting?(requests)
      assert {[{1, 0, _}, {{:posted, 1}, 5, "bytes"}, {2, 6, _}], requests} = pop_all(requests)
      refute Requests.waiting?(requests)
      assert Requests.pop(requests) == :empty
    end

    test "is sent next if it was put back, in the same order" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 5, "bytes") |> add(:b)
      {first, requests} = Requests.pop(requests)
      {second, requests} = Requests.pop(requests)
      requests = requests |> add(:c) |> Requests.unpop([first, second])

      assert {[^first, ^second, {2, 0, _}, {3, 0, _}], _requests} = pop_all(requests)
      requests = Requests.unpost(requests, {:posted, 1})
      assert {[^first, {2, 0, _}, {3, 0, _}], _requests} = pop_all(requests)
    end

    test "is not a request that was given up, before or after it was put back" do
      requests = new() |> add(:a) |> add(:b) |> give_up(1)
      {item = {2, 0, _}, requests} = Requests.pop(requests)
      assert requests |> give_up(2) |> Requests.unpop([item]) |> Requests.pop() == :empty
    end

    test "is not a post that was removed" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 0, "") |> add(:b)
      requests = Requests.post(requests, {:posted, 2}, 0, "")
      requests = requests |> Requests.unpost({:posted, 1}) |> Requests.unpost({:posted, 1})
      assert {[{1, _, _}, {2, _, _}, {{:posted, 2}, 0, ""}], requests} = pop_all(requests)
      assert Requests.unpost(requests, {:posted, 2}) == requests
    end
  end

  describe "of several dumps" do
    test "one is sent, and other requests are not delayed" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> add(:c)
      assert {[{1, 0, _}, {3, 0, _}], requests} = pop_all(requests)
      assert dumping(requests, 1..3) == [1]
      refute Requests.waiting?(requests)
    end

    test "the next is sent when one ends, in order" do
      for type <- [@done, @error, @overrun] do
        requests = Enum.reduce([:a, :b, :c], new(), &add(&2, &1, dump?: true))

        for number <- 1..3, reduce: requests do
          requests ->
            assert {[{^number, 0, _}], _requests} = pop_all(requests)
            requests = send_all(requests)
            {{:ended, ^number, _, _}, requests} = take(requests, message(type, number, <<0::32>>))
            requests
        end
        |> dumping(1..3)
        |> then(&assert(&1 == []))
      end
    end

    test "the next is not sent while the dump of a given up request may continue" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> send_all() |> give_up(1)
      refute Requests.waiting?(requests)
      assert dumping(requests, 1..2) == [1]

      {:late, requests} = take(requests, message(@newlink, 1, <<>>, [:multi]))
      refute Requests.waiting?(requests)

      {:late, requests} = take(requests, message(@done, 1, <<0::32>>, [:multi]))
      assert {[{2, 0, _}], _requests} = pop_all(requests)
    end

    test "the next is sent if one was given up and nothing is left to receive" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> send_all()
      # The dump has not ended.
      assert Requests.drained(requests) == requests

      requests = requests |> give_up(1) |> Requests.drained()
      assert {[{2, 0, _}], requests} = pop_all(requests)
      # A late message of the first dump does not end the second.
      requests = Requests.sent(requests, 2)
      {:late, requests} = take(requests, message(@done, 1, <<0::32>>))
      assert Requests.drained(requests) == requests
      assert dumping(requests, 1..2) == [2]
    end

    test "one that was given up before it was sent is not sent, and delays no other" do
      requests = Enum.reduce([:a, :b, :c], new(), &add(&2, &1, dump?: true))
      assert {[{3, 0, _}], _requests} = requests |> give_up(1) |> give_up(2) |> pop_all()
      assert {[{3, 0, _}], _requests} = requests |> give_up(2) |> give_up(1) |> pop_all()
      requests = requests |> give_up(1) |> give_up(2) |> give_up(3)
      assert Requests.pop(requests) == :empty
      assert requests |> Requests.drained() |> dumping(1..3) == []
    end

    test "one that was put back and then given up delays no other" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true)
      {item, requests} = Requests.pop(requests)
      requests = requests |> Requests.unpop([item]) |> give_up(1)
      assert {[{2, 0, _}], _requests} = pop_all(requests)
    end
  end

  describe "a request that was given up" do
    test "before it was sent leaves nothing" do
      for options <- [[], [dump?: true]] do
        requests = new() |> add(:a, options)
        {request, requests} = Requests.give_up(requests, 1)
        assert request.from == :a
        assert Requests.all(requests) == []
        assert {:unknown, _} = take(requests, message(@error, 1, <<0::32>>))
        refute requests |> Requests.drained() |> Requests.expecting?()
        assert numbers(%{requests | next: 1}, 1) == [1]
      end
    end

    test "after it was sent has late answers, up to its last message" do
      requests =
        new() |> add(:a) |> send_all() |> taken([message(@newlink, 1, "x")]) |> give_up(1)

      refute Requests.expecting?(requests)
      {:late, requests} = take(requests, message(@newlink, 1, "x"))
      {:late, requests} = take(requests, message(@error, 1, <<-@eperm::native-signed-32>>))
      assert {:unknown, _} = take(requests, message(@newlink, 1, "x"))
    end

    test "cannot be given up again" do
      requests = new() |> add(:a)
      assert {nil, ^requests} = Requests.give_up(requests, 2)
      requests = give_up(requests, 1)
      assert {nil, ^requests} = Requests.give_up(requests, 1)
    end

    test "with all sent requests leaves the unsent ones" do
      requests = new() |> add(:a) |> add(:b, dump?: true) |> send_all()
      requests = requests |> add(:c) |> add(:d, dump?: true)
      {given_up, requests} = Requests.give_up_sent(requests)
      assert for({number, %{from: from}} <- given_up, do: {number, from}) == [{1, :a}, {2, :b}]
      assert in_use(requests) == [:c, :d]
      assert Requests.count(requests) == 2
      # The kernel may be in the middle of the dump.
      assert {[{3, 0, _}], requests} = pop_all(requests)
      assert {[{4, 0, _}], _requests} = requests |> Requests.drained() |> pop_all()
    end

    test "is remembered while it is among the last #{@remembered}" do
      requests =
        for number <- 1..(2 * @remembered + 1), reduce: new() do
          requests ->
            requests = requests |> add(number) |> send_all() |> give_up(number)
            assert KeyedQueue.size(requests.late) <= @remembered
            assert {:late, _} = take(requests, message(@newlink, number))
            requests
        end

      # The oldest were forgotten first.
      [first, last] = [@remembered + 2, 2 * @remembered + 1]
      assert KeyedQueue.keys(requests.late) == Enum.to_list(first..last)
      assert {:unknown, _} = take(requests, message(@newlink, first - 1))
      assert {:late, _} = take(requests, message(@newlink, first))
    end
  end

  defp numbers(requests, count) do
    {numbers, _requests} =
      Enum.map_reduce(1..count, requests, fn _, requests -> Requests.number(requests) end)

    numbers
  end

  defp in_use(requests) do
    requests |> Requests.all() |> Enum.map(& &1.from) |> Enum.sort()
  end

  defp dumping(requests, numbers), do: Enum.filter(numbers, &Requests.dumping?(requests, &1))
end
