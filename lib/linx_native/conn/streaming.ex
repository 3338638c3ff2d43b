defmodule LinxNative.Conn.Streaming do
  @moduledoc false

  # A dump whose parts are received as they are consumed. It has a socket of its own in the connection's namespace, because the
  # kernel runs one dump at a time for each socket, and a slow consumer would delay the other dumps. The process of this socket ends
  # when its consumer or the connection ends.

  alias LinxNative.Conn.{Call, Outcome, Server}
  alias LinxNative.{Error, Message}

  # NLMSG_* of linux/netlink.h
  @noop 1
  @error 2
  @done 3
  @data_lost 4

  @doc """
  Returns an enumerable of the messages of a dump. `request` must have the flags of a dump. `timeout` applies to each part.
  """
  @spec stream(GenServer.server(), Message.t(), timeout) :: Enumerable.t()
  def stream(conn, request, timeout) do
    Stream.resource(
      fn -> {:open, open(conn, timeout), request, timeout} end,
      &next/1,
      &close/1
    )
  end

  @doc """
  Starts the process of a stream's socket, on the node of the connection.
  """
  @spec start(GenServer.server(), pid, timeout) :: {:ok, pid} | {:error, Error.t()}
  def start(conn, consumer, timeout) do
    with {:ok, {pid, protocol, options}} <- Call.call(conn, :stream_options, timeout) do
      # No link, because the socket's process must not end its consumer.
      case GenServer.start(Server, {[consumer, pid], protocol, options}, timeout: timeout) do
        {:error, {:shutdown, error}} -> {:error, error}
        {:error, :timeout} -> {:error, %Error{reason: :timeout}}
        {:ok, socket} -> {:ok, socket}
      end
    end
  end

  defp open(conn, timeout) do
    started =
      case GenServer.whereis(conn) do
        nil -> exit({:noproc, {__MODULE__, :stream, [conn]}})
        pid when node(pid) == node() -> start(conn, self(), timeout)
        pid when is_pid(pid) -> start_at(node(pid), conn, timeout)
        {_name, node} -> start_at(node, conn, timeout)
      end

    case started do
      {:ok, socket} -> socket
      {:error, error} -> raise error
    end
  end

  defp start_at(node, conn, timeout) do
    :erpc.call(node, __MODULE__, :start, [conn, self(), timeout], timeout)
  catch
    :error, {:erpc, :timeout} -> {:error, %Error{reason: :timeout}}
    :error, {:erpc, _reason} -> {:error, %Error{reason: :closed}}
  end

  # Raises only here, when `close/1` already knows the socket.
  defp next({:open, socket, request, timeout}) do
    id = make_ref()
    send = {:send, id, [Message.encode(request)], 0}

    case Call.call_until(socket, Call.with_protocol(request, send), id, timeout) do
      {:ok, [{number, _port_id}]} -> {[], {:more, socket, number, timeout}}
      {:error, error} -> raise error
    end
  end

  defp next({:more, socket, number, timeout}) do
    case Call.recv(socket, timeout) do
      {:ok, messages, _origin} ->
        {part, state} = part(messages, number)
        {part, {state, socket, number, timeout}}

      {:error, error} ->
        raise error
    end
  end

  defp next({:done, _socket, _number, _timeout} = state), do: {:halt, state}
  defp next({%Error{} = error, _socket, _number, _timeout}), do: raise(error)

  defp close(state) do
    GenServer.stop(elem(state, 1))
  catch
    :exit, _reason -> :ok
  end

  @doc """
  Returns the messages of the dump in a datagram, and whether more follow, the dump is done, or an error ended it.
  """
  @spec part([Message.t()], Message.u32()) :: {[Message.t()], :more | :done | Error.t()}
  def part(messages, number), do: part(messages, number, [])

  defp part([], _number, taken), do: {Enum.reverse(taken), :more}

  defp part([%{sequence: number, type: type} = message | rest], number, taken) do
    cond do
      type == @noop -> part(rest, number, taken)
      type == @data_lost -> {Enum.reverse(taken), %Error{reason: :overrun}}
      Message.flag?(message, :dump_intr) -> {Enum.reverse(taken), interrupted([message | rest])}
      type in [@error, @done] -> {Enum.reverse(taken), outcome(message)}
      true -> part(rest, number, [message | taken])
    end
  end

  # Skips messages that do not belong to this dump.
  defp part([_message | rest], number, taken), do: part(rest, number, taken)

  # The earlier messages were already delivered, so the error carries only the rest.
  defp interrupted(messages) do
    messages = for %{type: type} = message <- messages, type not in [@error, @done], do: message
    %Error{reason: :dump_interrupted, messages: messages}
  end

  defp outcome(%{type: type} = message) do
    case Outcome.read(message, if(type == @error, do: :error, else: :done)) do
      :ok -> :done
      {:error, error} -> error
    end
  end
end
