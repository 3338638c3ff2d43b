defmodule LinxNative.Test.Conns do
  @moduledoc """
  Connections of a test, linked to it, and what it does with those to rtnetlink.
  """

  alias LinxNative.Conn
  alias LinxNative.Test.{Await, Container, Harness, Links}

  @patience Await.patience()

  @doc """
  One of the given protocol and options.
  """
  def open!(protocol, options \\ []) do
    {:ok, conn} = Conn.start_link(protocol, options)
    conn
  end

  @doc """
  One to rtnetlink, in a namespace where nothing happens but what the test does.
  """
  def route!(options \\ []) do
    open!(:route, [netns: {:pid, Container.start([:net]).pid}] ++ options)
  end

  @doc """
  The number of its port.
  """
  def port_id(conn), do: Conn.info!(conn).port_id

  @doc """
  Makes a request that has no answer but its acknowledgement.
  """
  def do!(conn, request), do: {:ok, []} = Conn.request(conn, request)

  @doc """
  The names of all links.
  """
  def names(conn) do
    {:ok, links} = Conn.request(conn, Links.dump())
    Enum.map(links, &Links.read(&1).name)
  end

  @doc """
  Returns the most bytes that a buffer can have of those asked for, by the name of the limit of `net.core`. Asks the kernel
  whether it may be more than that.
  """
  def most(bytes, name) do
    if Harness.can?("buffers-beyond-the-limit"), do: bytes, else: min(bytes, system_limit(name))
  end

  @doc """
  Returns a limit of `net.core`.
  """
  def system_limit(name) do
    "/proc/sys/net/core/#{name}" |> File.read!() |> String.trim() |> String.to_integer()
  end

  @doc """
  Returns the value of a boolean option, or the reason of the error.
  """
  def flag(conn, name) do
    with {:error, error} <- Conn.get_option(conn, name), do: {:error, error.reason}
  end

  @doc """
  Returns what `flag/2` returns for an option that is `on`. Asks the kernel whether `:listen_all_nsid` can be read.
  """
  def flag_answer(name, on) do
    if name != :listen_all_nsid or Harness.can?("read-listen-all-nsid"),
      do: {:ok, on},
      else: {:error, :enoprotoopt}
  end

  @doc """
  Awaits an event of a link: `{:new | :deleted, name}`.
  """
  def event!(conn) do
    {:ok, [message], _origin} = Conn.recv(conn, @patience)

    # Where the kernel has VLANs of a bridge, it tells of these as well: RTM_NEWVLAN, to RTNLGRP_BRVLAN.
    if message.type == 112 do
      event!(conn)
    else
      link = Links.read(message)
      {link.what, link.name}
    end
  end

  @doc """
  Awaits that a task waits for the reply to its call.
  """
  def await_blocked!(%Task{pid: pid}) do
    # The call is sent before its caller waits for the reply.
    true = Await.until(fn -> Process.info(pid, :status) == {:status, :waiting} end)
  end
end
