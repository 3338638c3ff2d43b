defmodule LinxNative.Test.ConnScenario do
  @moduledoc """
  A scenario with everything that a connection does, from start to end. To be used in another VM.
  """

  alias LinxNative.{Conn, Message}
  alias LinxNative.Test.Links

  @doc """
  Starts a connection, asks, receives and closes.
  """
  def life(netns) do
    {:ok, conn} = Conn.start_link(:route, netns: netns, groups: [1], ext_ack: true)
    {:ok, [_ | _]} = Conn.request(conn, Links.dump())
    {:error, _} = Conn.request(conn, Links.get(0x7FFF_FFFF))
    {:ok, _} = Conn.send(conn, %Message{Links.get(1) | flags: Message.flags([:request])})
    {:ok, [_answer], _origin} = Conn.recv(conn)
    {:error, _} = Conn.recv(conn, 0)
    {:ok, _} = LinxNative.netns_id(conn)
    Conn.close(conn)
  end

  @doc """
  Returns the identity of a namespace.
  """
  def identity(netns) do
    {:ok, _} = LinxNative.netns_id(netns)
    :ok
  end
end
