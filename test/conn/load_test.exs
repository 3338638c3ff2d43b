defmodule LinxNative.Conn.LoadTest do
  @moduledoc """
  Many processes on one connection: each gets the answer to its own request.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Conn.Inbox
  alias LinxNative.Test.Links

  @moduletag :conn

  @callers 64
  @requests 10_000
  @hasty 8
  @killed 200
  @seed 2026

  # So many that a list of them is several datagrams, of which the kernel makes the next when one is received.
  @pairs 40
  @no_such_link 4_711

  setup do
    container = Container.start([:net])

    commands = [
      "link add bridge type bridge",
      "link add ifb type ifb",
      tun(),
      "addr add 10.1.0.1/16 dev bridge",
      "addr add 10.2.0.1/16 dev ifb"
      | for(n <- 1..@pairs, do: "link add left#{n} type veth peer name right#{n}")
    ]

    Container.sh!(container, "ip -batch - <<END\n#{Enum.join(commands, "\n")}\nEND")
    {:ok, conn} = Conn.start_link(:route, netns: {:pid, container.pid})
    on_exit(fn -> Conn.close(conn) end)

    links = links(container)
    assert length(links) == 2 * @pairs + 4
    names = Map.new(links, fn {index, name} -> {name, index} end)

    addresses = Enum.sort([{names["bridge"], <<10, 1, 0, 1>>}, {names["ifb"], <<10, 2, 0, 1>>}])

    %{conn: conn, known: %{links: Enum.sort(links), addresses: addresses}}
  end

  # Without an address of its own. Asks the kernel whether one can be made here: not everybody may open the device.
  defp tun do
    case :file.open("/dev/net/tun", [:read, :write, :raw]) do
      {:ok, file} ->
        :ok = :file.close(file)
        "tuntap add dev tun mode tun"

      {:error, _} ->
        "link add tun type ifb"
    end
  end

  test "#{@requests} requests of #{@callers} processes, dumps among them, get the right answers",
       %{conn: conn, known: known} do
    1..@callers
    |> Enum.map(fn caller ->
      Task.async(fn ->
        for n <- caller..@requests//@callers do
          {name, request, check} = call(n, known)
          answer = Conn.request(conn, request, timeout: :infinity)
          assert {n, name, true} == {n, name, check.(answer)}
        end
      end)
    end)
    |> Task.await_many(:infinity)

    assert %{pending: 0, counters: counters} = Conn.info!(conn)
    assert %{requests: @requests, sent: @requests, events: 0, late: 0, foreign: 0} = counters
  end

  test "callers with short timeouts get only their own answers",
       %{conn: conn, known: known} do
    hasty =
      for caller <- 1..@hasty do
        Task.async(fn ->
          for n <- caller..div(@requests, 5)//@hasty, reduce: 0 do
            timeouts ->
              {name, request, check} = call(n, known)

              case Conn.request(conn, request, timeout: rem(n, 2)) do
                {:error, %Error{reason: :timeout}} ->
                  timeouts + 1

                answer ->
                  assert {n, name, true} == {n, name, check.(answer)}
                  timeouts
              end
          end
        end)
      end

    patient = patient(conn, known, div(@requests, 5))
    timeouts = hasty |> Task.await_many(:infinity) |> Enum.sum()
    Task.await_many(patient, :infinity)
    IO.puts("\n#{timeouts} of #{div(@requests, 5)} hasty requests were given up")

    assert nothing_pending?(conn)
    assert %{counters: %{events: 0}} = Conn.info!(conn)
  end

  test "killed callers get no answer of others", %{conn: conn, known: known} do
    :rand.seed(:exsss, @seed)
    patient = patient(conn, known, div(@requests, 5))

    victims =
      for _ <- 1..@killed do
        first = :rand.uniform(100)

        victim =
          spawn(fn ->
            for n <- Stream.iterate(first, &(&1 + 1)) do
              {_name, request, _check} = call(n, known)
              Conn.request(conn, request, timeout: :infinity)
            end
          end)

        # The victim is in a request at that moment, or between two.
        for _ <- 1..:rand.uniform(50), do: :erlang.yield()
        Process.exit(victim, :kill)
        victim
      end

    Task.await_many(patient, :infinity)
    refute Enum.any?(victims, &Process.alive?/1)
    IO.puts("\n#{@killed} callers killed, seed #{@seed}")

    assert nothing_pending?(conn)
    assert %{counters: %{events: 0}} = Conn.info!(conn)
    assert {:ok, _links} = Conn.request(conn, Links.dump())
  end

  test "killed callers leave no pending request", %{conn: conn} do
    {:ok, silent} = Conn.start_link(:usersock, accept: :any)
    {:ok, asking} = Conn.start_link(:usersock, accept: :any)
    to = Conn.info!(silent).port_id
    request = %Message{type: 20}
    options = [to: to, timeout: :infinity]

    callers = for _ <- 1..@callers, do: spawn(fn -> Conn.request(asking, request, options) end)

    assert Await.until(fn -> Conn.info!(asking).pending == @callers end)
    for caller <- callers, do: Process.exit(caller, :kill)
    assert nothing_pending?(asking)
    for conn <- [silent, asking], do: Conn.close(conn)

    # Neither do they take what comes then.
    callers = for _ <- 1..@callers, do: spawn(fn -> Conn.recv(conn) end)
    assert Await.until(fn -> waiting(conn) == @callers end)
    for caller <- callers, do: Process.exit(caller, :kill)
    assert Await.until(fn -> waiting(conn) == 0 end)
    {:ok, sent} = Conn.send(conn, plain(Links.get(1)))
    assert {:ok, [answer], _origin} = Conn.recv(conn, patience())
    assert answer.sequence == sent.sequence
  end

  test "many messages at once are sent in order, and each is answered by its own number",
       %{conn: conn, known: known} do
    # Their answers have to have room all at once.
    indexes = for {index, _name} <- Enum.take(known.links, 16), do: index
    {:ok, sent} = Conn.send_many(conn, for(index <- indexes, do: plain(Links.get(index))))
    assert sent |> Enum.map(& &1.sequence) |> Enum.uniq() |> length() == length(indexes)

    answers = receive_all(conn, length(indexes))

    assert for(answer <- answers, do: answer.sequence) ==
             for(message <- sent, do: message.sequence)

    assert for(answer <- answers, do: Links.read(answer).index) == indexes
  end

  # The n-th request, and whether an answer is the right one. Every tenth is a dump.
  defp call(n, known) do
    {index, name} = Enum.at(known.links, rem(n, length(known.links)))

    case rem(n, 20) do
      0 -> {:links, Links.dump(), &all?(&1, known.links)}
      10 -> {:addresses, Links.dump_addresses(), &addresses?(&1, known.addresses)}
      k when k in [5, 15] -> {:missing, Links.get(@no_such_link + n), &missing?/1}
      k when rem(k, 2) == 0 -> {:name, Links.get(name), &one?(&1, index, name)}
      _ -> {:index, Links.get(index), &one?(&1, index, name)}
    end
  end

  defp one?({:ok, [message]}, index, name) do
    match?(%{what: :new, index: ^index, name: ^name}, Links.read(message))
  end

  defp one?(_other, _index, _name), do: false

  defp all?({:ok, messages}, links) do
    Enum.sort(for message <- messages, link = Links.read(message), do: {link.index, link.name}) ==
      links
  end

  defp all?(_other, _links), do: false

  defp addresses?({:ok, messages}, addresses) do
    Enum.sort(
      for message <- messages, one = Links.read_address(message), do: {one.index, one.address}
    ) == addresses
  end

  defp addresses?(_other, _addresses), do: false

  defp missing?({:error, %Error{reason: :enodev}}), do: true
  defp missing?(_other), do: false

  # Callers whose answers have to be right, whatever other callers do.
  defp patient(conn, known, count) do
    for caller <- 1..@callers do
      Task.async(fn ->
        for n <- caller..count//@callers do
          {name, request, check} = call(n, known)
          answer = Conn.request(conn, request, timeout: :infinity)
          assert {n, name, true} == {n, name, check.(answer)}
        end
      end)
    end
  end

  defp nothing_pending?(conn), do: Await.until(fn -> Conn.info!(conn).pending == 0 end)

  defp waiting(conn),
    do: conn |> :sys.get_state() |> Map.fetch!(:inbox) |> Inbox.waiting() |> length()

  # Without an acknowledgement.
  defp plain(message), do: %{message | flags: Message.flags([:request])}

  defp receive_all(_conn, 0), do: []

  defp receive_all(conn, count) do
    {:ok, messages, %{port_id: 0, group: 0}} = Conn.recv(conn, patience())
    messages ++ receive_all(conn, count - length(messages))
  end

  # Returns the links as ip(8) lists them.
  defp links(container) do
    container
    |> Container.sh!("ip -oneline link")
    |> String.split("\n", trim: true)
    |> Enum.map(fn line ->
      [_, index, name] = Regex.run(~r/^(\d+): ([^:@]+)/, line)
      {String.to_integer(index), name}
    end)
  end
end
