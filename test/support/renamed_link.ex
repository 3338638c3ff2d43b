defmodule LinxNative.Test.RenamedLink do
  @moduledoc """
  A link in a container that a test renames: each time is an event, with the new name.
  """

  import ExUnit.Assertions

  alias LinxNative.{Conn, Error}
  alias LinxNative.Test.{Await, Container, Links}

  # RTNLGRP_LINK of linux/rtnetlink.h
  @group 1

  @doc """
  Makes one, for the context of a test.
  """
  def make!(_context \\ %{}) do
    container = Container.start([:net])
    {:ok, maker} = Conn.start_link(:route, netns: {:pid, container.pid})
    {:ok, []} = Conn.request(maker, Links.create("link", "ifb"))
    ExUnit.Callbacks.on_exit(fn -> Conn.close(maker) end)
    %{container: container, maker: maker, index: Links.index!(maker, "link")}
  end

  @doc """
  Starts a connection in its container that gets the events.
  """
  def start(context, options) do
    options = Keyword.merge([groups: [@group], netns: {:pid, context.container.pid}], options)
    {:ok, conn} = Conn.start_link(:route, options)
    ExUnit.Callbacks.on_exit(fn -> Conn.close(conn) end)
    conn
  end

  @doc """
  Gives it a name for each number, and returns the names.
  """
  def rename(%{maker: maker, index: index}, numbers) do
    for n <- numbers do
      {:ok, []} = Conn.request(maker, Links.rename(index, "name#{n}"))
      "name#{n}"
    end
  end

  @doc """
  Awaits the names that come as messages, up to the last one.
  """
  def await_names(conn, last) do
    conn |> await_links(&(&1.name == last)) |> Enum.map(& &1.name)
  end

  @doc """
  Awaits the links that come as messages, up to the first for which `last?` returns true.
  """
  def await_links(conn, last?) do
    assert_receive {:netlink, ^conn, [message], %{port_id: 0, group: @group}}, Await.patience()
    link = Links.read(message)
    if last?.(link), do: [link], else: [link | await_links(conn, last?)]
  end

  @doc """
  Receives names with `LinxNative.Conn.recv/2`, up to the last one; without a last one, up to an overrun.
  """
  def receive_names(conn, last \\ nil) do
    case {Conn.recv(conn, Await.patience()), last} do
      {{:ok, [message], _origin}, _last} ->
        name = Links.read(message).name
        if name == last, do: [name], else: [name | receive_names(conn, last)]

      {{:error, %Error{reason: :overrun}}, nil} ->
        []
    end
  end

  @doc """
  Returns the names and errors that have come as messages already.
  """
  def mailbox(conn) do
    receive do
      {:netlink, ^conn, [message], _origin} -> [Links.read(message).name | mailbox(conn)]
      {:netlink_error, ^conn, reason} -> [reason | mailbox(conn)]
    after
      0 -> []
    end
  end
end
