defmodule LinxNative.Native do
  @moduledoc false

  # The native functions of `LinxNative.Conn` and `LinxNative.Mount`. The callers check the arguments; any other term is `badarg`.
  # Functions that may wait for a lock of the kernel, or for a container, run on a dirty I/O scheduler.
  #
  # A socket is a reference. The process that opens it owns it. It is closed by `close/1`, when its owner ends, and, if `select/2`
  # was never called for it, when no process has the reference any more. Until then it keeps its network namespace alive.

  use LinxNative.Loader, "linx_native"

  @opaque socket :: reference

  @typedoc """
  An event of an exchange, in order. The bytes of `:truncated` are the first 16 bytes of a datagram of `length` bytes. The port id
  is `nil` if the kernel did not name the sender of the datagram.
  """
  @type entry ::
          :sent
          | {:refused, errno}
          | {:datagram, port_id :: u32 | nil, group :: u32, nsid :: integer | nil, binary}
          | {:truncated, port_id :: u32 | nil, group :: u32, nsid :: integer | nil, binary,
             length :: pos_integer}
          | :overrun
          | {:failed, errno}
          | :drained

  @type netns :: :host | {:path, binary} | {:fd, integer} | {:same_as, socket}

  @typedoc "A number, see `LinxNative.Errno`."
  @type errno :: pos_integer
  @type u32 :: 0..0xFFFFFFFF
  @type socket_error :: {:error, errno | :closed}

  @type flag :: LinxNative.Conn.flag()

  @type buffer :: :read_buffer | :write_buffer

  @type namespace :: :host | {:path, binary} | {:fd, integer}
  @type path :: {binary, follow :: boolean}
  @type target :: {namespace, binary, follow :: boolean, create :: nil | :file | :directory}
  @type changes ::
          {set :: non_neg_integer, clear :: non_neg_integer, propagation :: non_neg_integer}
  @type id_map :: nil | {:of, namespace} | {:lines, uids :: binary, gids :: binary}
  @type file_system ::
          {type :: binary, [{key :: binary, true | binary}],
           layers :: [{key :: binary, binary, follow :: boolean}]}

  @typedoc "A timeout in milliseconds."
  @type deadline :: 0..0xFFFFFFFF | :infinity

  @type mount_error ::
          {:error,
           :timeout | {stage, errno :: pos_integer, path :: binary | nil, words :: [binary]}}
  @type stage :: atom | {:open | :enter, option :: atom} | {:option, key :: binary}

  # Connections: `LinxNative.Conn`

  @doc """
  Opens a socket and binds it: `socket(2)` on a thread in that namespace, `bind(2)`.

  `{:same_as, socket}` is the network namespace of another socket: `ioctl(SIOCGSKNS)`.

  `datagram` is the length in bytes of the longest datagram that the socket receives whole, at most 16777216.
  """
  @spec open(netns, protocol :: integer, datagram :: u32) ::
          {:ok, socket} | {:error, {stage :: atom, errno}} | {:error, :closed}
  def open(_netns, _protocol, _datagram), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Closes a socket. Its descriptor is closed when the calls that are in flight have returned."
  @spec close(socket) :: :ok
  def close(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Makes the kernel refuse messages that other ports send to this socket, but not those to its groups: `connect(2)`."
  @spec only_kernel(socket) :: :ok | socket_error
  def only_kernel(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc """
  Receives queued datagrams, then sends each message to its port and receives again: `sendto(2)`, `recvmsg(2)`.

  Receives at most `datagrams` datagrams, and not more than about 256 KiB. The entry `:drained` means that nothing was left to
  receive. If the last entry is another one, there may be more. A message without an entry was not sent. Returns the errno 16
  (EBUSY) if another process is in an exchange, and 12 (ENOMEM) if there is no memory to receive into.
  """
  @spec exchange(socket, [{port_id :: u32, binary}], datagrams :: u32) :: [entry] | socket_error
  def exchange(_socket, _messages, _datagrams), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Asks for one message `{:select, socket, reference, :ready_input}` when there is something to receive."
  @spec select(socket, reference) :: :ok | socket_error
  def select(_socket, _reference), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Joins a multicast group, given by its number: `NETLINK_ADD_MEMBERSHIP`."
  @spec join(socket, group :: integer) :: :ok | socket_error
  def join(_socket, _group), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Leaves a multicast group: `NETLINK_DROP_MEMBERSHIP`."
  @spec leave(socket, group :: integer) :: :ok | socket_error
  def leave(_socket, _group), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the multicast groups that a socket has joined: `NETLINK_LIST_MEMBERSHIPS`."
  @spec groups(socket) :: {:ok, [pos_integer]} | socket_error
  def groups(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the port id of a socket: `getsockname(2)`."
  @spec port_id(socket) :: {:ok, u32} | socket_error
  def port_id(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns how many datagrams the kernel has dropped: `SO_MEMINFO`."
  @spec drops(socket) :: {:ok, u32} | socket_error
  def drops(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the number of a socket's descriptor, which stays the socket's."
  @spec descriptor(socket) :: {:ok, non_neg_integer} | socket_error
  def descriptor(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Attaches a program of `struct sock_filter`s: `SO_ATTACH_FILTER`."
  @spec attach_filter(socket, binary) :: :ok | socket_error
  def attach_filter(_socket, _program), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Removes the program: `SO_DETACH_FILTER`."
  @spec detach_filter(socket) :: :ok | socket_error
  def detach_filter(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Sets a boolean option of level `SOL_NETLINK`."
  @spec set_flag(socket, flag, boolean) :: :ok | socket_error
  def set_flag(_socket, _flag, _on), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Reports whether a boolean option is on."
  @spec flag(socket, flag) :: {:ok, boolean} | socket_error
  def flag(_socket, _flag), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Sets the size of a buffer: `SO_RCVBUFFORCE`, or `SO_RCVBUF` if that is not allowed."
  @spec set_buffer(socket, buffer, bytes :: u32) :: :ok | socket_error
  def set_buffer(_socket, _buffer, _bytes), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the size of a buffer, which is twice the value that was set."
  @spec buffer(socket, buffer) :: {:ok, non_neg_integer} | socket_error
  def buffer(_socket, _buffer), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the device and inode of a socket's network namespace: `ioctl(SIOCGSKNS)`, `fstat(2)`."
  @spec netns(socket) :: {:ok, {non_neg_integer, non_neg_integer}} | socket_error
  def netns(_socket), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the device and inode of the network namespace of a socket, given by its descriptor."
  @spec netns_of_socket(integer) :: {:ok, {non_neg_integer, non_neg_integer}} | {:error, errno}
  def netns_of_socket(_fd), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the device and inode of a file, after a check that it belongs to a network namespace: `ioctl(NS_GET_NSTYPE)`."
  @spec netns_of_file(binary) :: {:ok, {non_neg_integer, non_neg_integer}} | {:error, errno}
  def netns_of_file(_path), do: :erlang.nif_error(:nif_not_loaded)

  @doc "Returns the device and inode of such a file, given by a descriptor of it."
  @spec netns_of_descriptor(integer) ::
          {:ok, {non_neg_integer, non_neg_integer}} | {:error, errno}
  def netns_of_descriptor(_fd), do: :erlang.nif_error(:nif_not_loaded)

  # Mounts by descriptor: `LinxNative.Mount`

  @spec mount(file_system, namespace, namespace | nil, {changes, id_map}, target, deadline) ::
          :ok | mount_error
  def mount(_file_system, _from, _pid_namespace, _finish, _target, _timeout),
    do: :erlang.nif_error(:nif_not_loaded)

  @spec bind(namespace, path, recursive :: boolean, {changes, id_map}, target, deadline) ::
          :ok | mount_error
  def bind(_from, _source, _recursive, _finish, _target, _timeout),
    do: :erlang.nif_error(:nif_not_loaded)

  @spec set(namespace, path, recursive :: boolean, changes, deadline) :: :ok | mount_error
  def set(_in, _target, _recursive, _changes, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec move(path, target, deadline) :: :ok | mount_error
  def move(_source, _target, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec umount(namespace, path, flags :: integer, deadline) :: :ok | mount_error
  def umount(_in, _target, _flags, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec pivot_root(path, target, deadline) :: :ok | mount_error
  def pivot_root(_new_root, _put_old, _timeout), do: :erlang.nif_error(:nif_not_loaded)
end
