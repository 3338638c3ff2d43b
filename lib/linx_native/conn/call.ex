defmodule LinxNative.Conn.Call do
  @moduledoc false

  # Calls of the server. The caller keeps the time, because the server may be blocked by the kernel, be suspended, or run on
  # another node.

  alias LinxNative.Conn.Caller
  alias LinxNative.{Error, Message}

  # How long to wait for the server to confirm that there is nothing, in milliseconds: with a timeout of 0, or on another node.
  @grace 1000

  @doc """
  Calls the server. Exits if no process has the given name, as `GenServer.call/3` does. If the given process has ended, returns
  `:closed`.
  """
  @spec call(GenServer.server(), term, timeout) :: term
  def call(conn, request, timeout) do
    GenServer.call(conn, request, timeout)
  catch
    :exit, {:timeout, _call} -> {:error, %Error{reason: :timeout}}
    :exit, {reason, _call} = exit -> ended(conn, reason, exit)
  end

  @doc """
  Calls the server, and tells it if the timeout is over. `id` identifies the request then.
  """
  @spec call_until(GenServer.server(), term, reference, timeout) :: term
  def call_until(conn, request, id, timeout) do
    with {:error, %Error{reason: :timeout}} = error <- call(conn, request, timeout) do
      GenServer.cast(conn, {:gave_up, id})
      error
    end
  end

  @doc """
  Adds the protocol of a message to a request. The server refuses the request if its protocol is another one, because the numbers
  of the message mean something else there.
  """
  @spec with_protocol(Message.t(), term) :: term
  def with_protocol(%Message{protocol: nil}, request), do: request
  def with_protocol(%Message{protocol: protocol}, request), do: {:protocol, protocol, request}

  @doc """
  Waits for the next item of the inbox. An item that arrives just when the timeout is over is not lost, because caller and server
  agree on who was first by a claim.
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

      # With a timeout of 0 the server needs a moment to look, and replies if there is nothing.
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
      # The server was first, so its reply will come.
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
