defmodule LinxNative.Conn.RequestsTest do
  use ExUnit.Case, async: true

  alias LinxNative.{Attributes, Message}
  alias LinxNative.Conn.{Error, Requests}

  @moduletag :conn

  @port_id 4711
  @max 0xFFFFFFFF

  # NLMSG_* of linux/netlink.h, and RTM_NEWLINK, RTM_GETLINK as examples of others.
  @noop 1
  @error 2
  @done 3
  @overrun 4
  @newlink 16
  @getlink 18

  @eperm 1

  # enum nlmsgerr_attrs
  @text 1
  @offset 2
  @missing 5

  @remembered 4096

  describe "a sequence number" do
    test "is the one before and one more, and after the last comes 1" do
      assert numbers(Requests.new(@max - 2, @port_id), 5) == [@max - 2, @max - 1, @max, 1, 2]
    end

    test "is never 0" do
      assert numbers(Requests.new(0, @port_id), 2) == [1, 2]
    end

    test "is not that of a request that has not ended" do
      requests = new(@max) |> add(:a) |> add(:b)
      assert in_use(requests) == [1, @max]
      assert numbers(%{requests | next: @max}, 2) == [2, 3]

      {_request, requests} = requests |> send_all() |> take(message(@error, 1, <<0::32>>))
      assert numbers(%{requests | next: @max}, 2) == [1, 2]
    end

    test "is not that of a request of which an answer may come late" do
      requests = new(1) |> add(:a) |> add(:b) |> send_all() |> give_up(1) |> give_up(2)
      assert numbers(%{requests | next: 1}, 1) == [3]

      {:late, requests} = take(requests, message(@error, 1, <<0::32>>))
      assert numbers(%{requests | next: 1}, 2) == [1, 3]
    end

    test "and the port id are written into the request, whatever is in their place" do
      message = %Message{type: @getlink, flags: 5, sequence: 77, port_id: 78, body: "body"}
      {_number, requests} = Requests.add(new(9), %{request(:a) | bytes: Message.encode(message)})
      {{9, 0, bytes}, _requests} = Requests.pop(requests)
      assert Message.decode(bytes) == {:ok, [%{message | sequence: 9, port_id: @port_id}]}
    end
  end

  describe "what is to be sent" do
    test "is popped in its order, each once" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 5, "bytes") |> add(:b, to: 6)
      assert Requests.waiting?(requests)
      assert {[{1, 0, _}, {{:posted, 1}, 5, "bytes"}, {2, 6, _}], requests} = pop_all(requests)
      refute Requests.waiting?(requests)
      assert Requests.pop(requests) == :empty
    end

    test "is sent next when it was put back, in the same order" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 5, "bytes") |> add(:b)
      {first, requests} = Requests.pop(requests)
      {second, requests} = Requests.pop(requests)
      requests = requests |> add(:c) |> Requests.unpop([first, second])

      assert {[^first, ^second, {2, 0, _}, {3, 0, _}], _requests} = pop_all(requests)
      assert Requests.posted(requests) == [{:posted, 1}]
    end

    test "is no request that was given up, before or after it was put back" do
      requests = new() |> add(:a) |> add(:b) |> give_up(1)
      {item = {2, 0, _}, requests} = Requests.pop(requests)
      assert requests |> give_up(2) |> Requests.unpop([item]) |> Requests.pop() == :empty
    end

    test "is told apart: what was posted" do
      requests = new() |> add(:a) |> Requests.post({:posted, 1}, 0, "") |> add(:b)
      requests = Requests.post(requests, {:posted, 2}, 0, "")
      assert for({:posted, _} = id <- Requests.posted(requests), do: id) == posted([1, 2])

      {_items, requests} = pop_all(requests)
      assert Requests.posted(requests) == []
    end
  end

  describe "of several dumps" do
    test "one is sent, and other requests are not held up" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> add(:c)
      assert {[{1, 0, _}, {3, 0, _}], requests} = pop_all(requests)
      assert Requests.dumping?(requests)
      refute Requests.waiting?(requests)
    end

    test "the next is sent when one ends, in their order" do
      for type <- [@done, @error, @overrun] do
        requests = Enum.reduce([:a, :b, :c], new(), &add(&2, &1, dump?: true))

        for number <- 1..3, reduce: requests do
          requests ->
            assert {[{^number, 0, _}], _requests} = pop_all(requests)
            requests = send_all(requests)
            {{:ended, ^number, _, _}, requests} = take(requests, message(type, number, <<0::32>>))
            requests
        end
        |> Requests.dumping?()
        |> refute()
      end
    end

    test "the next is not sent while that of a request that was given up may go on" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> send_all() |> give_up(1)
      refute Requests.waiting?(requests)
      assert Requests.dumping?(requests)

      {:late, requests} = take(requests, message(@newlink, 1, <<>>, [:multi]))
      refute Requests.waiting?(requests)

      {:late, requests} = take(requests, message(@done, 1, <<0::32>>, [:multi]))
      assert {[{2, 0, _}], _requests} = pop_all(requests)
    end

    test "the next is sent when one was given up and nothing is left to receive" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true) |> send_all()
      # It has not ended.
      assert Requests.drained(requests) == requests

      requests = requests |> give_up(1) |> Requests.drained()
      assert {[{2, 0, _}], requests} = pop_all(requests)
      # What comes of the first all the same does not end the second.
      requests = Requests.sent(requests, 2)
      {:late, requests} = take(requests, message(@done, 1, <<0::32>>))
      assert Requests.drained(requests) == requests
      assert Requests.dumping?(requests)
    end

    test "one that was given up before it was sent is not sent, and holds up nobody" do
      requests = Enum.reduce([:a, :b, :c], new(), &add(&2, &1, dump?: true))
      assert {[{3, 0, _}], _requests} = requests |> give_up(1) |> give_up(2) |> pop_all()
      assert {[{3, 0, _}], _requests} = requests |> give_up(2) |> give_up(1) |> pop_all()
      requests = requests |> give_up(1) |> give_up(2) |> give_up(3)
      assert Requests.pop(requests) == :empty
      refute requests |> Requests.drained() |> Requests.dumping?()
    end

    test "one that was put back and then given up holds up nobody" do
      requests = new() |> add(:a, dump?: true) |> add(:b, dump?: true)
      {item, requests} = Requests.pop(requests)
      requests = requests |> Requests.unpop([item]) |> give_up(1)
      assert {[{2, 0, _}], _requests} = pop_all(requests)
    end
  end

  describe "an answer" do
    test "is the messages up to the acknowledgement, in their order" do
      requests = new() |> add(:a) |> send_all()
      messages = for body <- ~w(one two three), do: message(@newlink, 1, body)
      requests = taken(requests, messages)

      assert {{:ended, 1, %{from: :a}, {:ok, ^messages}}, requests} =
               take(requests, message(@error, 1, <<0::32, 0::128>>))

      assert Requests.all(requests) == []
      refute Requests.expecting?(requests)
    end

    test "is the messages up to the end of a dump" do
      requests = new() |> add(:a, dump?: true) |> send_all()
      messages = for body <- ~w(one two three), do: message(@newlink, 1, body, [:multi])
      requests = taken(requests, messages)
      done = message(@done, 1, <<0::32>>, [:multi])
      assert {{:ended, 1, %{from: :a}, {:ok, ^messages}}, requests} = take(requests, done)
      assert {:unknown, ^requests} = take(requests, done)
    end

    test "may be empty" do
      for {type, body} <- [{@error, <<0::32>>}, {@done, <<0::32>>}, {@done, <<>>}] do
        requests = new() |> add(:a) |> send_all()
        assert {{:ended, 1, _, {:ok, []}}, _} = take(requests, message(type, 1, body))
      end
    end

    test "goes to its own request, also when those of several come mixed" do
      requests = new() |> add(:a, dump?: true) |> add(:b) |> add(:c) |> send_all()
      [a, b, c] = for number <- 1..3, do: message(@newlink, number, "of #{number}")
      requests = taken(requests, [b, a, c, a])
      ack = &message(@error, &1, <<0::32>>)

      {{:ended, 3, %{from: :c}, {:ok, [^c]}}, requests} = take(requests, ack.(3))
      {{:ended, 1, %{from: :a}, {:ok, [^a, ^a]}}, requests} = take(requests, ack.(1))
      {{:ended, 2, %{from: :b}, {:ok, [^b]}}, _requests} = take(requests, ack.(2))
    end

    test "of the kernel may name no port" do
      requests = new() |> add(:a) |> send_all()
      message = %{message(@error, 1, <<0::32>>) | port_id: 0}
      assert {{:ended, 1, _, {:ok, []}}, _} = take(requests, message)
    end

    test "is not a NOOP" do
      requests = new() |> add(:a) |> add(:b, ack?: false) |> send_all()
      requests = taken(requests, [message(@noop, 1, "x"), message(@noop, 2, "x")])
      assert {{:ended, 1, _, {:ok, []}}, _} = take(requests, message(@error, 1, <<0::32>>))
    end

    test "is the first message that is not part of several, when none is acknowledged" do
      requests = new() |> add(:a, ack?: false) |> send_all()
      parts = for body <- ~w(one two), do: message(@newlink, 1, body, [:multi])
      last = message(@newlink, 1, "last")
      answer = parts ++ [last]
      assert {{:ended, 1, _, {:ok, ^answer}}, requests} = requests |> taken(parts) |> take(last)
      assert {:unknown, _} = take(requests, last)
    end

    test "ends with DONE, when none is acknowledged" do
      requests = new() |> add(:a, ack?: false) |> send_all()
      part = message(@newlink, 1, "part", [:multi])
      done = message(@done, 1, <<0::32>>, [:multi])
      assert {{:ended, 1, _, {:ok, [^part]}}, requests} = requests |> taken([part]) |> take(done)
      # And so nothing comes after it.
      assert {:unknown, _} = take(requests, message(@error, 1, <<0::32>>))
    end

    test "that ends with DONE and is no dump's is followed by its acknowledgement" do
      requests = new() |> add(:a) |> send_all()
      {{:ended, 1, _, {:ok, []}}, requests} = take(requests, message(@done, 1, <<0::32>>))
      ack = message(@error, 1, <<0::32>>)
      assert {:late, requests} = take(requests, ack)
      assert {:unknown, _} = take(requests, ack)
    end
  end

  describe "a message to a group is an answer" do
    test "when an echo was asked for, which has not ended" do
      requests = new() |> add(:a, echo?: true) |> add(:b) |> send_all()
      assert Requests.echo?(requests, message(@newlink, 1))
      refute Requests.echo?(requests, message(@newlink, 2))
      refute Requests.echo?(requests, message(@newlink, 3))
      refute Requests.echo?(requests, %{message(@newlink, 1) | port_id: 0})
      refute Requests.echo?(requests, %{message(@newlink, 1) | port_id: @port_id + 1})

      {_ended, requests} = take(requests, message(@error, 1, <<0::32>>))
      refute Requests.echo?(requests, message(@newlink, 1))
    end
  end

  describe "a message is unknown" do
    setup do
      %{requests: new(100) |> add(:a, to: 7) |> send_all()}
    end

    test "with another port id", %{requests: requests} do
      for port_id <- [@port_id + 1, 7, @max] do
        message = %{message(@error, 100, <<0::32>>) | port_id: port_id}
        assert {:unknown, ^requests} = Requests.take(requests, message, 7)
      end
    end

    test "from another port", %{requests: requests} do
      for port <- [0, 8, @port_id] do
        assert {:unknown, ^requests} =
                 Requests.take(requests, message(@error, 100, <<0::32>>), port)
      end

      assert {{:ended, 100, _, {:ok, []}}, _} =
               Requests.take(requests, message(@error, 100, <<0::32>>), 7)
    end

    test "with another sequence number", %{requests: requests} do
      for number <- [0, 99, 101, @max] do
        assert {:unknown, ^requests} =
                 Requests.take(requests, message(@error, number, <<0::32>>), 7)
      end
    end

    test "before the request was sent" do
      requests = new() |> add(:a)
      assert {:unknown, ^requests} = take(requests, message(@error, 1, <<0::32>>))
      {_item, requests} = Requests.pop(requests)
      assert {:unknown, _} = take(requests, message(@error, 1, <<0::32>>))
    end
  end

  describe "an error" do
    test "has the kernel's number and its name" do
      assert outcome(<<-@eperm::native-signed-32, 0::128>>) ==
               {:error, %Error{name: :eperm, errno: @eperm}}
    end

    test "is told without the messages before it" do
      requests = new() |> add(:a) |> send_all() |> taken([message(@newlink, 1, "x")])
      message = message(@error, 1, <<-@eperm::native-signed-32, 0::128>>)
      assert {{:ended, 1, _, {:error, %Error{name: :eperm}}}, _} = take(requests, message)
    end

    test "may come at the end of a dump" do
      requests = new() |> add(:a, dump?: true) |> send_all()
      body = <<-@eperm::native-signed-32>> <> Attributes.encode([{@text, {:string, "no"}}])
      done = message(@done, 1, body, [:multi, :ack_tlvs])

      assert {{:ended, 1, _, {:error, %Error{name: :eperm, text: "no"}}}, _} =
               take(requests, done)
    end

    test "has what the kernel says besides, after the header of the request when that is capped" do
      # The length is that of the request, which is not there.
      request = <<400::native-32, 0::96>>

      assert outcome(
               <<-@eperm::native-signed-32>> <> request <> said(),
               [:capped, :ack_tlvs]
             ) == {:error, said(%Error{name: :eperm, errno: @eperm})}
    end

    test "has what the kernel says besides, after the whole request when it is not capped" do
      for length <- 16..24 do
        padded = div(length + 3, 4) * 4
        request = <<length::native-32, 0::96, 0::size((padded - 16) * 8)>>

        assert outcome(<<-@eperm::native-signed-32>> <> request <> said(), [:ack_tlvs]) ==
                 {:error, said(%Error{name: :eperm, errno: @eperm})}
      end
    end

    test "has nothing besides without the flag for it" do
      request = <<16::native-32, 0::96>>

      for flags <- [[], [:capped]] do
        assert outcome(<<-@eperm::native-signed-32>> <> request <> said(), flags) ==
                 {:error, %Error{name: :eperm, errno: @eperm}}
      end
    end

    test "is what it is when what the kernel says besides is malformed" do
      plain = {:error, %Error{name: :eperm, errno: @eperm}}
      request = <<16::native-32, 0::96>>

      for rest <- [
            <<>>,
            <<16::native-32>>,
            binary_part(request, 0, 15),
            <<@max::native-32, 0::96>>,
            request <> <<3::native-16, @text::native-16>>,
            request <> <<100::native-16, @text::native-16, "x">>,
            request <> <<5::native-16, @offset::native-16, 1, 0, 0, 0>>,
            request <> <<0, 0>>
          ],
          flags <- [[:ack_tlvs], [:ack_tlvs, :capped]] do
        assert {rest, flags, outcome(<<-@eperm::native-signed-32>> <> rest, flags)} ==
                 {rest, flags, plain}
      end
    end

    test "without a number is malformed" do
      for type <- [@error, @done], body <- [<<1>>, <<0, 0, 0>>, <<1::native-32>>] do
        requests = new() |> add(:a) |> send_all()

        assert {{:ended, 1, _, {:error, :malformed}}, _} = take(requests, message(type, 1, body))
      end

      assert outcome(<<>>) == {:error, :malformed}
    end

    test "is an overrun when the kernel says that data was lost" do
      requests = new() |> add(:a) |> send_all()
      assert {{:ended, 1, _, {:error, :overrun}}, requests} = take(requests, message(@overrun, 1))
      assert Requests.all(requests) == []
    end

    test "is that the dump was interrupted, whichever of its messages says so" do
      for at <- 1..4 do
        flags = &if(&1 == at, do: [:multi, :dump_intr], else: [:multi])
        requests = new() |> add(:a, dump?: true) |> send_all()
        requests = taken(requests, for(n <- 1..3, do: message(@newlink, 1, "x", flags.(n))))
        done = message(@done, 1, <<0::32>>, flags.(4))
        assert {at, {{:ended, 1, _, result}, _}} = {at, take(requests, done)}
        assert {at, result} == {at, {:error, :dump_interrupted}}
      end
    end

    test "of the kernel comes before an interruption" do
      requests = new() |> add(:a, dump?: true) |> send_all()
      requests = taken(requests, [message(@newlink, 1, "x", [:multi, :dump_intr])])
      done = message(@done, 1, <<-@eperm::native-signed-32>>, [:multi])
      assert {{:ended, 1, _, {:error, %Error{name: :eperm}}}, _} = take(requests, done)
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

    test "after it was sent is nobody's, up to its last message" do
      requests =
        new() |> add(:a) |> send_all() |> taken([message(@newlink, 1, "x")]) |> give_up(1)

      refute Requests.expecting?(requests)
      {:late, requests} = take(requests, message(@newlink, 1, "x"))
      {:late, requests} = take(requests, message(@error, 1, <<-@eperm::native-signed-32>>))
      assert {:unknown, _} = take(requests, message(@newlink, 1, "x"))
    end

    test "is there no more" do
      requests = new() |> add(:a)
      assert {nil, ^requests} = Requests.give_up(requests, 2)
      requests = give_up(requests, 1)
      assert {nil, ^requests} = Requests.give_up(requests, 1)
    end

    test "with all that were sent leaves those that were not" do
      requests = new() |> add(:a) |> add(:b, dump?: true) |> send_all()
      requests = requests |> add(:c) |> add(:d, dump?: true)
      {given_up, requests} = Requests.give_up_sent(requests)
      assert for({number, %{from: from}} <- given_up, do: {number, from}) == [{1, :a}, {2, :b}]
      assert in_use(requests) == [3, 4]
      # The kernel may be in the middle of the dump.
      assert {[{3, 0, _}], requests} = pop_all(requests)
      assert {[{4, 0, _}], _requests} = requests |> Requests.drained() |> pop_all()
    end

    test "is remembered for some time, the last ones always, and #{@remembered} at most" do
      requests =
        for number <- 1..(2 * @remembered + 1), reduce: new() do
          requests ->
            requests = requests |> add(number) |> send_all() |> give_up(number)
            assert map_size(requests.late) <= @remembered
            assert {:late, _} = take(requests, message(@newlink, number))
            requests
        end

      assert {:unknown, _} = take(requests, message(@newlink, 1))
    end
  end

  describe "an answer is expected" do
    test "of what was sent, until it ended" do
      requests = new() |> add(:a)
      refute Requests.expecting?(requests)
      requests = send_all(requests)
      assert Requests.expecting?(requests)
      {_ended, requests} = take(requests, message(@error, 1, <<0::32>>))
      refute Requests.expecting?(requests)
    end

    test "of a dump that goes on though its request was given up" do
      requests = new() |> add(:a, dump?: true) |> send_all() |> give_up(1)
      assert Requests.expecting?(requests)
      refute requests |> Requests.drained() |> Requests.expecting?()
    end
  end

  defp new(first \\ 1), do: Requests.new(first, @port_id)

  defp request(from, options \\ []) do
    message = Message.encode(%Message{type: @getlink})

    Map.merge(
      %{from: from, to: 0, bytes: message, dump?: false, ack?: true, echo?: false},
      Map.new(options)
    )
  end

  defp add(requests, from, options \\ []) do
    {_number, requests} = Requests.add(requests, request(from, options))
    requests
  end

  defp numbers(requests, count) do
    {numbers, _requests} =
      Enum.map_reduce(1..count, requests, fn _, requests -> Requests.number(requests) end)

    numbers
  end

  defp in_use(requests) do
    requests |> Requests.all() |> Enum.map(&elem(&1, 0)) |> Enum.sort()
  end

  defp pop_all(requests, items \\ []) do
    case Requests.pop(requests) do
      :empty -> {Enum.reverse(items), requests}
      {item, requests} -> pop_all(requests, [item | items])
    end
  end

  defp send_all(requests) do
    {items, requests} = pop_all(requests)

    Enum.reduce(items, requests, fn {number, _, _}, requests ->
      Requests.sent(requests, number)
    end)
  end

  defp give_up(requests, number) do
    {request, requests} = Requests.give_up(requests, number)
    assert request
    requests
  end

  defp take(requests, message), do: Requests.take(requests, message, 0)

  # Messages that end nothing.
  defp taken(requests, messages) do
    Enum.reduce(messages, requests, fn message, requests ->
      assert {:taken, requests} = take(requests, message)
      requests
    end)
  end

  defp message(type, number, body \\ <<>>, flags \\ []) do
    %Message{
      type: type,
      flags: Message.flags(flags),
      sequence: number,
      port_id: @port_id,
      body: body
    }
  end

  defp posted(ids), do: Enum.map(ids, &{:posted, &1})

  defp outcome(body, flags \\ []), do: Error.outcome(message(@error, 1, body, flags), :error)

  defp said do
    Attributes.encode([
      {@text, {:string, "no such thing"}},
      {3, "a cookie"},
      {@offset, {:u32, 20}},
      {@missing, {:u32, 3}}
    ])
  end

  defp said(error), do: %{error | text: "no such thing", offset: 20, missing: 3}
end
