defmodule LinxNative.Conn.RequestsAnswersTest do
  @moduledoc """
  `LinxNative.Conn.Requests`: assigns messages to requests, and returns answers.
  """

  use ExUnit.Case, async: true

  import LinxNative.Test.Requests

  alias LinxNative.{Attributes, Error}
  alias LinxNative.Conn.{Outcome, Requests}

  @moduletag :conn

  @max 0xFFFFFFFF

  # NLMSG_* of linux/netlink.h, and RTM_NEWLINK as an example of others.
  @noop 1
  @error 2
  @done 3
  @overrun 4
  @newlink 16

  @eperm 1

  # enum nlmsgerr_attrs
  @text 1
  @offset 2
  @missing 5

  describe "an answer" do
    test "has the messages up to the acknowledgement, in order" do
      requests = new() |> add(:a) |> send_all()
      messages = for body <- ~w(one two three), do: message(@newlink, 1, body)
      requests = taken(requests, messages)

      assert {{:ended, 1, %{from: :a}, {:ok, ^messages}}, requests} =
               take(requests, message(@error, 1, <<0::32, 0::128>>))

      assert Requests.all(requests) == []
      assert Requests.count(requests) == 0
      refute Requests.expecting?(requests)
    end

    test "has the messages up to the end of a dump" do
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

    test "goes to its own request, also if the answers of several are mixed" do
      requests = new() |> add(:a, dump?: true) |> add(:b) |> add(:c) |> send_all()
      [a, b, c] = for number <- 1..3, do: message(@newlink, number, "of #{number}")
      requests = taken(requests, [b, a, c, a])
      ack = &message(@error, &1, <<0::32>>)

      {{:ended, 3, %{from: :c}, {:ok, [^c]}}, requests} = take(requests, ack.(3))
      {{:ended, 1, %{from: :a}, {:ok, [^a, ^a]}}, requests} = take(requests, ack.(1))
      {{:ended, 2, %{from: :b}, {:ok, [^b]}}, _requests} = take(requests, ack.(2))
    end

    test "of the kernel may have no port id" do
      requests = new() |> add(:a) |> send_all()
      message = %{message(@error, 1, <<0::32>>) | port_id: 0}
      assert {{:ended, 1, _, {:ok, []}}, _} = take(requests, message)
    end

    test "does not contain a NOOP" do
      requests = new() |> add(:a) |> add(:b, ack?: false) |> send_all()
      requests = taken(requests, [message(@noop, 1, "x"), message(@noop, 2, "x")])
      assert {{:ended, 1, _, {:ok, []}}, _} = take(requests, message(@error, 1, <<0::32>>))
    end

    test "is the first message without NLM_F_MULTI, if no acknowledgement was asked for" do
      requests = new() |> add(:a, ack?: false) |> send_all()
      parts = for body <- ~w(one two), do: message(@newlink, 1, body, [:multi])
      last = message(@newlink, 1, "last")
      answer = parts ++ [last]
      assert {{:ended, 1, _, {:ok, ^answer}}, requests} = requests |> taken(parts) |> take(last)
      assert {:unknown, _} = take(requests, last)
    end

    test "ends with DONE, if no acknowledgement was asked for" do
      requests = new() |> add(:a, ack?: false) |> send_all()
      part = message(@newlink, 1, "part", [:multi])
      done = message(@done, 1, <<0::32>>, [:multi])
      assert {{:ended, 1, _, {:ok, [^part]}}, requests} = requests |> taken([part]) |> take(done)
      # And so nothing comes after it.
      assert {:unknown, _} = take(requests, message(@error, 1, <<0::32>>))
    end

    test "that ends with DONE and is not a dump's is followed by its acknowledgement" do
      requests = new() |> add(:a) |> send_all()
      {{:ended, 1, _, {:ok, []}}, requests} = take(requests, message(@done, 1, <<0::32>>))
      ack = message(@error, 1, <<0::32>>)
      assert {:late, requests} = take(requests, ack)
      assert {:unknown, _} = take(requests, ack)
    end
  end

  describe "a message to a group is an answer" do
    test "if a pending request asked for an echo" do
      requests = new() |> add(:a, echo?: true) |> add(:b) |> send_all()
      assert Requests.echo?(requests, message(@newlink, 1))
      refute Requests.echo?(requests, message(@newlink, 2))
      refute Requests.echo?(requests, message(@newlink, 3))
      refute Requests.echo?(requests, %{message(@newlink, 1) | port_id: 0})
      refute Requests.echo?(requests, %{message(@newlink, 1) | port_id: port_id() + 1})

      {_ended, requests} = take(requests, message(@error, 1, <<0::32>>))
      refute Requests.echo?(requests, message(@newlink, 1))
    end
  end

  describe "a message is unknown" do
    setup do
      %{requests: new(100) |> add(:a, to: 7) |> send_all()}
    end

    test "with another port id", %{requests: requests} do
      for port_id <- [port_id() + 1, 7, @max] do
        message = %{message(@error, 100, <<0::32>>) | port_id: port_id}
        assert {:unknown, ^requests} = Requests.take(requests, message, 7)
      end
    end

    test "from another port", %{requests: requests} do
      for port <- [0, 8, port_id()] do
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
               {:error, Error.from_errno(:request, @eperm)}
    end

    test "is returned without the messages before it" do
      requests = new() |> add(:a) |> send_all() |> taken([message(@newlink, 1, "x")])
      message = message(@error, 1, <<-@eperm::native-signed-32, 0::128>>)
      assert {{:ended, 1, _, {:error, %Error{reason: :eperm}}}, _} = take(requests, message)
    end

    test "may come at the end of a dump" do
      requests = new() |> add(:a, dump?: true) |> send_all()
      body = <<-@eperm::native-signed-32>> <> Attributes.encode([{@text, {:string, "no"}}])
      done = message(@done, 1, body, [:multi, :ack_tlvs])

      assert {{:ended, 1, _, {:error, %Error{reason: :eperm, text: "no"}}}, _} =
               take(requests, done)
    end

    test "has the kernel's attributes after the header of the request, if the request is capped" do
      # The length is that of the request, which is not there.
      request = <<400::native-32, 0::96>>

      assert outcome(
               <<-@eperm::native-signed-32>> <> request <> said(),
               [:capped, :ack_tlvs]
             ) == {:error, said(Error.from_errno(:request, @eperm))}
    end

    test "has the kernel's attributes after the whole request, if it is not capped" do
      for length <- 16..24 do
        padded = div(length + 3, 4) * 4
        request = <<length::native-32, 0::96, 0::size((padded - 16) * 8)>>

        assert outcome(<<-@eperm::native-signed-32>> <> request <> said(), [:ack_tlvs]) ==
                 {:error, said(Error.from_errno(:request, @eperm))}
      end
    end

    test "has no attributes without the flag for them" do
      request = <<16::native-32, 0::96>>

      for flags <- [[], [:capped]] do
        assert outcome(<<-@eperm::native-signed-32>> <> request <> said(), flags) ==
                 {:error, Error.from_errno(:request, @eperm)}
      end
    end

    test "is still returned if the kernel's attributes are malformed" do
      plain = {:error, Error.from_errno(:request, @eperm)}
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
        {{:ended, 1, _, result}, _requests} = take(requests, message(type, 1, body))
        assert result == {:error, %Error{reason: :malformed, detail: :no_outcome, offset: 0}}
      end

      assert outcome(<<>>) == {:error, %Error{reason: :malformed, detail: :no_outcome, offset: 0}}
    end

    test "is an overrun if the kernel reports lost data" do
      requests = new() |> add(:a) |> send_all()

      assert {{:ended, 1, _, {:error, %Error{reason: :overrun}}}, requests} =
               take(requests, message(@overrun, 1))

      assert Requests.all(requests) == []
    end

    test "is :dump_interrupted, whichever message has the flag" do
      for at <- 1..4 do
        flags = &if(&1 == at, do: [:multi, :dump_intr], else: [:multi])
        requests = new() |> add(:a, dump?: true) |> send_all()
        requests = taken(requests, for(n <- 1..3, do: message(@newlink, 1, "x", flags.(n))))
        done = message(@done, 1, <<0::32>>, flags.(4))
        assert {^at, {{:ended, 1, _, result}, _}} = {at, take(requests, done)}
        assert {^at, {:error, %Error{reason: :dump_interrupted} = error}} = {at, result}
        # The messages that had arrived are not lost.
        assert length(error.messages) == 3
      end
    end

    test "of the kernel has priority over an interruption" do
      requests = new() |> add(:a, dump?: true) |> send_all()
      requests = taken(requests, [message(@newlink, 1, "x", [:multi, :dump_intr])])
      done = message(@done, 1, <<-@eperm::native-signed-32>>, [:multi])
      assert {{:ended, 1, _, {:error, %Error{reason: :eperm}}}, _} = take(requests, done)
    end
  end

  describe "an answer is pending" do
    test "from the moment a request is sent until it ends" do
      requests = new() |> add(:a)
      refute Requests.expecting?(requests)
      requests = send_all(requests)
      assert Requests.expecting?(requests)
      {_ended, requests} = take(requests, message(@error, 1, <<0::32>>))
      refute Requests.expecting?(requests)
    end

    test "for a dump that continues after its request was given up" do
      requests = new() |> add(:a, dump?: true) |> send_all() |> give_up(1)
      assert Requests.expecting?(requests)
      refute requests |> Requests.drained() |> Requests.expecting?()
    end
  end

  defp outcome(body, flags \\ []), do: Outcome.read(message(@error, 1, body, flags), :error)

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
