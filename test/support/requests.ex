defmodule LinxNative.Test.Requests do
  @moduledoc """
  Functions for the tests of `LinxNative.Conn.Requests`: requests, and the messages of their answers.
  """

  import ExUnit.Assertions

  alias LinxNative.Conn.Requests
  alias LinxNative.Message

  @port_id 4711
  @getlink 18

  @doc """
  Returns the port id of the requests.
  """
  def port_id, do: @port_id

  @doc """
  Returns an empty set of requests. The first request gets the number `first`.
  """
  def new(first \\ 1), do: Requests.new(first, @port_id)

  @doc """
  Returns a request that is not added yet.
  """
  def request(from, options \\ []) do
    message = Message.encode(%Message{type: @getlink})

    Map.merge(
      %{from: from, to: 0, bytes: message, dump?: false, ack?: true, echo?: false},
      Map.new(options)
    )
  end

  @doc """
  Adds a request.
  """
  def add(requests, from, options \\ []) do
    {_number, requests} = Requests.add(requests, request(from, options))
    requests
  end

  @doc """
  Pops all items that may be sent now.
  """
  def pop_all(requests, items \\ []) do
    case Requests.pop(requests) do
      :empty -> {Enum.reverse(items), requests}
      {item, requests} -> pop_all(requests, [item | items])
    end
  end

  @doc """
  Marks all items that may be sent now as sent.
  """
  def send_all(requests) do
    {items, requests} = pop_all(requests)

    Enum.reduce(items, requests, fn {number, _, _}, requests ->
      Requests.sent(requests, number)
    end)
  end

  @doc """
  Gives up a pending request.
  """
  def give_up(requests, number) do
    {request, requests} = Requests.give_up(requests, number)
    assert request
    requests
  end

  @doc """
  Takes a message of the kernel.
  """
  def take(requests, message), do: Requests.take(requests, message, 0)

  @doc """
  Takes messages that end no request.
  """
  def taken(requests, messages) do
    Enum.reduce(messages, requests, fn message, requests ->
      assert {:taken, requests} = take(requests, message)
      requests
    end)
  end

  @doc """
  Returns a message of the kernel to the port.
  """
  def message(type, number, body \\ <<>>, flags \\ []) do
    %Message{
      type: type,
      flags: Message.flags(flags),
      sequence: number,
      port_id: @port_id,
      body: body
    }
  end
end
