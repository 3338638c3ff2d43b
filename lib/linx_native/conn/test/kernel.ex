defmodule LinxNative.Conn.Test.Kernel do
  @moduledoc false

  # Replaces the kernel in `LinxNative.Conn.Test`: a process with the functions of `LinxNative.Native`.
  #
  # A socket is the pid of this process and a reference. The process ends when its last socket is closed.

  use GenServer

  alias LinxNative.{Attributes, Errno, Message}
  alias LinxNative.Conn.Options

  # Errnos, and NLMSG_* and NLMSGERR_ATTR_MSG of linux/netlink.h
  @enoent 2
  @ebadf 9
  @econnrefused 111
  @error 2
  @done 3
  @text %{text: {1, :string}}

  @request Message.flags([:request])
  @ack Message.flags([:ack])
  @multi Message.flags([:multi])
  @dump Message.flags([:dump])
  @create Message.flags([:create])

  # The port of the kernel, and the port of the first socket.
  @kernel 0
  @first_port 1

  # Twice the usual net.core.rmem_default.
  @buffer 212_992

  # The functions of LinxNative.Native.

  def open({:same_as, {kernel, _socket}}, _protocol, datagram), do: add_socket(kernel, datagram)

  def open(answers, protocol, datagram) do
    with {:ok, kernel} <- GenServer.start_link(__MODULE__, {answers, Options.named(protocol)}),
         do: add_socket(kernel, datagram)
  end

  defp add_socket(kernel, datagram) do
    {:ok, {kernel, GenServer.call(kernel, {:open, datagram}, :infinity)}}
  end

  def exchange(socket, messages, datagrams), do: call(socket, {:exchange, messages, datagrams})
  def select(socket, reference), do: call(socket, {:select, socket, reference})
  def close(socket), do: call(socket, :close)
  def only_kernel(_socket), do: :ok
  def join(socket, group), do: call(socket, {:join, group})
  def leave(socket, group), do: call(socket, {:leave, group})
  def groups(socket), do: call(socket, :groups)
  def port_id(socket), do: call(socket, :port_id)
  def drops(_socket), do: {:ok, 0}
  def descriptor(_socket), do: {:error, @ebadf}
  def attach_filter(socket, program), do: call(socket, {:filter, program})
  def detach_filter(socket), do: call(socket, :detach_filter)
  def set_flag(socket, flag, on), do: call(socket, {:set, flag, on})
  def flag(socket, flag), do: call(socket, {:get, flag, false})
  def set_buffer(socket, buffer, bytes), do: call(socket, {:set, buffer, 2 * bytes})
  def buffer(socket, buffer), do: call(socket, {:get, buffer, @buffer})
  def netns(_socket), do: {:ok, {0, 0}}

  # For LinxNative.Conn.Test: each returns {:ok, result}.

  def send_event(socket, group, messages), do: call(socket, {:event, group, messages})
  def lose(socket), do: call(socket, :lose)
  def left(socket), do: call(socket, :left)

  defp call({kernel, socket}, request), do: GenServer.call(kernel, {socket, request}, :infinity)

  @impl true
  def init({answers, protocol}) do
    {:ok, %{answers: answers, protocol: protocol, sockets: %{}, next_port: @first_port}}
  end

  @impl true
  def handle_call({:open, datagram}, {owner, _tag}, state) do
    socket = %{
      owner: owner,
      datagram: datagram,
      port_id: state.next_port,
      queue: :queue.new(),
      groups: MapSet.new(),
      options: %{},
      filter: nil,
      select: nil
    }

    reference = Process.monitor(owner)
    state = %{state | next_port: state.next_port + 1}
    {:reply, reference, put_in(state.sockets[reference], socket)}
  end

  def handle_call({reference, :close}, _from, state) do
    Process.demonitor(reference, [:flush])
    state = %{state | sockets: Map.delete(state.sockets, reference)}
    if state.sockets == %{}, do: {:stop, :normal, :ok, state}, else: {:reply, :ok, state}
  end

  def handle_call({_reference, :left}, _from, state) do
    {:reply, {:ok, if(is_list(state.answers), do: state.answers, else: [])}, state}
  end

  def handle_call({reference, {:exchange, messages, datagrams}}, _from, state) do
    {entries, state} = Enum.flat_map_reduce(messages, state, &send_message(&1, reference, &2))
    {received, socket} = receive_datagrams(state.sockets[reference], datagrams, [])
    {:reply, entries ++ received, put_in(state.sockets[reference], socket)}
  end

  def handle_call({reference, request}, _from, state) do
    {reply, socket} = socket_call(request, state.sockets[reference])
    {:reply, reply, put_in(state.sockets[reference], notify(socket))}
  end

  @impl true
  def handle_info({:DOWN, reference, :process, _owner, _reason}, state) do
    state = %{state | sockets: Map.delete(state.sockets, reference)}
    if state.sockets == %{}, do: {:stop, :normal, state}, else: {:noreply, state}
  end

  defp socket_call({:select, handle, reference}, socket) do
    {:ok, %{socket | select: {handle, reference}}}
  end

  defp socket_call({:join, group}, socket) do
    {:ok, %{socket | groups: MapSet.put(socket.groups, group)}}
  end

  defp socket_call({:leave, group}, socket) do
    {:ok, %{socket | groups: MapSet.delete(socket.groups, group)}}
  end

  defp socket_call(:groups, socket), do: {{:ok, Enum.sort(socket.groups)}, socket}
  defp socket_call(:port_id, socket), do: {{:ok, socket.port_id}, socket}
  defp socket_call({:filter, program}, socket), do: {:ok, %{socket | filter: program}}

  defp socket_call(:detach_filter, %{filter: nil} = socket), do: {{:error, @enoent}, socket}
  defp socket_call(:detach_filter, socket), do: {:ok, %{socket | filter: nil}}

  defp socket_call({:set, name, value}, socket) do
    {:ok, put_in(socket.options[name], value)}
  end

  defp socket_call({:get, name, default}, socket) do
    {{:ok, Map.get(socket.options, name, default)}, socket}
  end

  defp socket_call({:event, group, messages}, socket) do
    if MapSet.member?(socket.groups, group),
      do: {{:ok, :ok}, put(socket, group, messages)},
      else: {{:ok, :not_joined}, socket}
  end

  defp socket_call(:lose, socket) do
    {{:ok, :ok}, %{socket | queue: :queue.in(:overrun, socket.queue)}}
  end

  defp put(socket, group, messages) do
    bytes = Enum.map_join(messages, &Message.encode/1)
    %{socket | queue: :queue.in({group, bytes}, socket.queue)}
  end

  defp notify(%{select: {handle, reference}} = socket) do
    if :queue.is_empty(socket.queue) do
      socket
    else
      send(socket.owner, {:select, handle, reference, :ready_input})
      %{socket | select: nil}
    end
  end

  defp notify(socket), do: socket

  defp receive_datagrams(socket, 0, entries), do: {Enum.reverse(entries), socket}

  defp receive_datagrams(socket, datagrams, entries) do
    case :queue.out(socket.queue) do
      {:empty, _queue} ->
        {Enum.reverse([:drained | entries]), socket}

      {{:value, item}, queue} ->
        socket = %{socket | queue: queue}
        receive_datagrams(socket, datagrams - 1, [entry(item, socket.datagram) | entries])
    end
  end

  defp entry(:overrun, _longest), do: :overrun

  defp entry({group, bytes}, longest) when byte_size(bytes) <= longest do
    {:datagram, @kernel, group, nil, bytes}
  end

  defp entry({group, bytes}, _longest) do
    {:truncated, @kernel, group, nil, binary_part(bytes, 0, 16), byte_size(bytes)}
  end

  defp send_message({@kernel, bytes}, reference, state) do
    {:ok, messages} = Message.decode(bytes, state.protocol)
    requests = for message <- messages, set?(message, @request), do: message
    {[:sent], Enum.reduce(requests, state, &answer(&1, reference, &2))}
  end

  # There are no other ports.
  defp send_message({_port_id, _bytes}, _reference, state),
    do: {[{:refused, @econnrefused}], state}

  defp answer(request, reference, state) do
    {answer, state} = take(request, state)
    messages = messages(answer, request)

    update_in(state.sockets[reference], fn socket ->
      Enum.reduce(messages, socket, &put(&2, 0, [&1]))
    end)
  end

  defp take(request, %{answers: answers} = state) when is_function(answers, 1) do
    {answers.(request), state}
  end

  defp take(request, %{answers: [{expected, answer} | answers]} = state) do
    if same?(expected, request),
      do: {answer, %{state | answers: answers}},
      else: unexpected!(request, expected)
  end

  defp take(request, %{answers: []}) do
    raise "no more requests were expected, but this one came:\n#{inspect(request, pretty: true)}"
  end

  @spec unexpected!(Message.t(), Message.t()) :: no_return
  defp unexpected!(request, expected) do
    raise "this request was expected:\n#{inspect(expected, pretty: true)}\nbut this one came:\n" <>
            inspect(request, pretty: true)
  end

  # Ignores the flags that LinxNative.Conn.request/3 adds.
  defp same?(expected, request) do
    expected.type == request.type and IO.iodata_to_binary(expected.body) == request.body and
      significant(expected.flags) == significant(request.flags)
  end

  defp significant(flags), do: Bitwise.band(flags, Bitwise.bnot(Bitwise.bor(@request, @ack)))

  defp messages(:ignore, _request), do: []
  defp messages(:ok, request), do: messages({:ok, []}, request)
  defp messages({:error, {name, text}}, request), do: [refusal(name, text, request)]
  defp messages({:error, name}, request), do: [refusal(name, nil, request)]

  defp messages({:ok, replies} = answer, request) when is_list(replies) do
    Enum.all?(replies, &is_struct(&1, Message)) || no_answer!(answer)
    dump? = dump?(request.flags)
    replies = for reply <- replies, do: reply(reply, request, if(dump?, do: @multi, else: 0))

    cond do
      dump? -> replies ++ [reply(%Message{type: @done, body: <<0::32>>}, request, @multi)]
      set?(request, @ack) -> replies ++ [outcome(0, request, <<>>, [:capped])]
      true -> replies
    end
  end

  defp messages(other, _request), do: no_answer!(other)

  @spec no_answer!(term) :: no_return
  defp no_answer!(other) do
    raise ArgumentError,
          "an answer is :ok, {:ok, messages}, {:error, name}, {:error, {name, text}} or :ignore, not #{inspect(other)}"
  end

  defp refusal(name, nil, request), do: outcome(Errno.number!(name), request, <<>>, [:capped])

  defp refusal(name, text, request) do
    words = Attributes.encode([text: text], @text)
    outcome(Errno.number!(name), request, words, [:capped, :ack_tlvs])
  end

  # Contains the header of the request, but not its body.
  defp outcome(errno, request, words, flags) do
    <<header::binary-size(16), _body::binary>> = Message.encode(request)
    body = <<-errno::native-signed-32, header::binary, words::binary>>
    reply(%Message{type: @error, body: body}, request, Message.flags(flags))
  end

  defp reply(message, request, flags) do
    flags = Bitwise.bor(message.flags, flags)
    %{message | sequence: request.sequence, port_id: request.port_id, flags: flags}
  end

  defp set?(message, flag), do: Bitwise.band(message.flags, flag) != 0

  defp dump?(flags) do
    Bitwise.band(flags, @dump) == @dump and Bitwise.band(flags, @create) == 0
  end
end
