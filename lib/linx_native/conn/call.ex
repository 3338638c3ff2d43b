defmodule LinxNative.Conn.Call do
  @moduledoc false

  # Calls of the server, by those who use a connection. They keep the time: the server may be held up by the kernel, be
  # suspended, or be on another node.

  alias LinxNative.Conn.Caller
  alias LinxNative.{Error, Message}

  # How long a connection on another node, or a timeout of 0, has to answer that there is nothing, in milliseconds.
  @grace 1000

  @doc """
  Calls the server. A name that nobody has exits, as `GenServer.call/3` does; a process that is not there is `:closed`.
  """
  @spec call(GenServer.server(), term, timeout) :: term
  def call(conn, request, timeout) do
    GenServer.call(conn, request, timeout)
  catch
    :exit, {:timeout, _call} -> {:error, %Error{reason: :timeout}}
    :exit, {reason, _call} = exit -> ended(conn, reason, exit)
  end

  @doc """
  The same, and tells the server when the time is over. `request` begins with the id it is then known by.
  """
  @spec call_until(GenServer.server(), term, reference, timeout) :: term
  def call_until(conn, request, id, timeout) do
    with {:error, %Error{reason: :timeout}} = error <- call(conn, request, timeout) do
      GenServer.cast(conn, {:gave_up, id})
      error
    end
  end

  @doc """
  Says of what protocol a message is: its numbers mean something else in another, so the server refuses it then.
  """
  @spec speak(Message.t(), term) :: term
  def speak(%Message{protocol: nil}, request), do: request
  def speak(%Message{protocol: protocol}, request), do: {:speak, protocol, request}

  @doc """
  Waits for the next item of the inbox. It is not lost when the time is over at the moment it comes: the two sides agree,
  by a claim, which of them was first.
  """
  @spec recv(GenServer.server(), timeout) :: term
  def recv(conn, :infinity), do: call(conn, {:recv, make_ref(), nil, false}, :infinity)

  def recv(conn, timeout) do
    case GenServer.whereis(conn) do
      nil -> exit({:noproc, {__MODULE__, :recv, [conn, timeout]}})
      pid when node(pid) == node() -> recv(conn, timeout, Caller.new_claim())
      _elsewhere -> recv(conn, timeout, nil)
    end
  end

  defp recv(conn, timeout, claim) do
    id = make_ref()
    request = :gen_server.send_request(conn, {:recv, id, claim, timeout == 0})

    with :timeout <- wait(conn, request, timeout) do
      GenServer.cast(conn, {:gave_up, id})

      # A timeout of 0 asks for what is there. That takes the server a moment, and it says so if there is nothing.
      answer = if timeout == 0 or claim == nil, do: wait(conn, request, @grace), else: :timeout
      with :timeout <- answer, do: give_up(conn, request, claim)
    end
  end

  defp give_up(conn, request, claim) do
    if claim == nil or Caller.won?(claim) do
      # No reply to it is received any more.
      :gen_server.receive_response(request, 0)
      {:error, %Error{reason: :timeout}}
    else
      # The server was first: its reply is on its way.
      wait(conn, request, :infinity)
    end
  end

  defp wait(conn, request, timeout) do
    case :gen_server.wait_response(request, timeout) do
      :timeout -> :timeout
      {:reply, reply} -> reply
      {:error, {reason, _server}} -> ended(conn, reason, {reason, {__MODULE__, :recv, [conn]}})
    end
  end

  defp ended(conn, reason, exit) do
    absent? = reason == :noproc or match?({:nodedown, _node}, reason)

    if reason == :calling_self or (absent? and not is_pid(conn)),
      do: exit(exit),
      else: {:error, %Error{reason: :closed}}
  end
end
