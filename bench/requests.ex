defmodule LinxNative.Bench.Requests do
  @moduledoc """
  Measures requests a second of many callers: over one `LinxNative.Conn` for all, over one for each, and over one socket with a lock,
  which each caller holds from its request to the end of the answer.
  """

  alias LinxNative.Bench.{Container, Load, Stats, Table}
  alias LinxNative.{Conn, Message}
  alias LinxNative.Native

  @callers [1, 4, 16, 64]
  @rounds 9
  @turn_ms 200

  @getlink 18
  @done 3
  @error 2
  @longest_datagram 65_536
  @all 0xFFFFFFFF
  # Of so many requests one is a dump; the others ask for the loopback device.
  @dump_every 10

  @doc """
  Measures, prints the table and writes `requests.txt` and `requests.csv` to a folder.
  """
  def main(harness, folder) do
    container = Container.make!(harness)

    try do
      rates = for callers <- @callers, rate <- measure(container, callers), do: rate
      text = table(rates)
      IO.puts(text)
      File.write!(Path.join(folder, "requests.txt"), text)
      File.write!(Path.join(folder, "requests.csv"), raw(rates))
    after
      Container.remove(container)
    end
  end

  defp measure(container, callers) do
    IO.puts(:stderr, "  #{callers} callers")
    {:ok, conn} = Conn.start_link(:route, netns: {:path, container.net})
    {:ok, socket} = Native.open({:path, container.net}, 0, @longest_datagram)
    lock = spawn_link(&lock/0)

    contestants = [
      shared: fn _ -> ask(conn) end,
      own: fn path -> ask(own(path)) end,
      lock: fn _ -> locked(lock, fn -> ask_alone(socket) end) end
    ]

    rates = Load.rates(contestants, callers, [container.net], @rounds, @turn_ms)
    Process.unlink(lock)
    Process.exit(lock, :kill)
    Native.close(socket)
    Conn.close(conn)
    rates
  end

  # It ends with the caller.
  defp own(path) do
    with nil <- Process.get(__MODULE__) do
      {:ok, conn} = Conn.start_link(:route, netns: {:path, path})
      Process.put(__MODULE__, conn)
      conn
    end
  end

  defp ask(conn), do: {:ok, [_ | _]} = Conn.request(conn, message())

  # What a library does that has a lock: the socket is the caller's until the answer is there.
  defp ask_alone(socket) do
    flags = Message.flags([:request, :ack])
    message = message()
    message = %{message | flags: Bitwise.bor(message.flags, flags), sequence: 1}
    receive_all(socket, [{0, Message.encode(message)}])
  end

  defp receive_all(socket, messages) do
    entries = Native.exchange(socket, messages, @all)

    ended? =
      Enum.any?(entries, fn entry ->
        with {:datagram, 0, 0, nil, bytes} <- entry do
          {:ok, messages} = Message.decode(bytes)
          List.last(messages).type in [@done, @error]
        else
          _ -> false
        end
      end)

    if not ended?, do: receive_all(socket, [])
  end

  defp message do
    number = Process.get(:number, 0)
    Process.put(:number, number + 1)

    if rem(number, @dump_every) == 0,
      do: %Message{type: @getlink, flags: Message.flags([:dump]), body: <<0::128>>},
      else: %Message{type: @getlink, body: <<0::32, 1::native-32, 0::64>>}
  end

  defp locked(lock, fun) do
    reference = make_ref()
    send(lock, {self(), reference})
    receive do: (^reference -> :ok)
    fun.()
    send(lock, :unlock)
  end

  defp lock do
    receive do
      {pid, reference} -> send(pid, reference)
    end

    receive do: (:unlock -> lock())
  end

  defp table(rates) do
    rows =
      for callers <- @callers do
        [shared, own, lock] =
          for name <- [:shared, :own, :lock], do: Stats.median(of(rates, callers, name))

        ratios = for other <- [own, lock], do: Float.round(shared / other, 2)
        Enum.map([callers, round(shared), round(own), round(lock) | ratios], &to_string/1)
      end

    Table.text(
      ["callers", "one for all/s", "one each/s", "lock/s", "to one each", "to lock"],
      rows
    )
  end

  defp of(rates, callers, name) do
    for %{callers: ^callers, contestant: ^name, rate: rate} <- rates, do: rate
  end

  defp raw(rates) do
    rows = for rate <- rates, do: [rate.callers, rate.contestant, rate.round, round(rate.rate)]
    Table.csv("callers,contestant,round,requests_a_second", rows)
  end
end
