defmodule LinxNative.Test.Requests do
  @moduledoc """
  What the tests of `LinxNative.Conn.Requests` do with requests, and the messages that are their answers.
  """

  import ExUnit.Assertions

  alias LinxNative.Conn.Requests
  alias LinxNative.Message

  @port_id 4711
  @getlink 18

  @doc """
  The port that they are of.
  """
  def port_id, do: @port_id

  @doc """
  None, of which the first is to have the number `first`.
  """
  def new(first \\ 1), do: Requests.new(first, @port_id)

  @doc """
  A request that has not been added yet.
  """
  def request(from, options \\ []) do
    message = Message.encode(%Message{type: @getlink})

    Map.merge(
      %{from: from, to: 0, bytes: message, dump?: false, ack?: true, echo?: false},
      Map.new(options)
    )
  end

  @doc """
  Adds one.
  """
  def add(requests, from, options \\ []) do
    {_number, requests} = Requests.add(requests, request(from, options))
    requests
  end

  @doc """
  Takes all that may be sent now.
  """
  def pop_all(requests, items \\ []) do
    case Requests.pop(requests) do
      :empty -> {Enum.reverse(items), requests}
      {item, requests} -> pop_all(requests, [item | items])
    end
  end

  @doc """
  Sends all that may be sent now.
  """
  def send_all(requests) do
    {items, requests} = pop_all(requests)

    Enum.reduce(items, requests, fn {number, _, _}, requests ->
      Requests.sent(requests, number)
    end)
  end

  @doc """
  Gives up one that there is.
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
  Takes messages that are part of an answer, or of none, and end nothing.
  """
  def taken(requests, messages) do
    Enum.reduce(messages, requests, fn message, requests ->
      assert {:taken, requests} = take(requests, message)
      requests
    end)
  end

  @doc """
  A message of the kernel to the port.
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
