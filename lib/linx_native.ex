defmodule LinxNative do
  @moduledoc """
  Netlink sockets and mounts in other namespaces: the native parts of Linx, and more.

    * `Linx.Netlink.Socket.Native`, `Linx.Mount.Native` - the functions of Linx, as a drop-in
    * `LinxNative.Conn` - a netlink connection in any network namespace
    * `LinxNative.Rtnetlink`, `LinxNative.Genetlink` - messages for it, by name
    * `LinxNative.Message`, `LinxNative.Attributes` - messages for it, as bytes
    * `LinxNative.Error` - the exception in every `{:error, _}` of a connection and of its messages
    * `LinxNative.Mount` - mounts by descriptor, across namespaces; `LinxNative.Mount.Error` is its exception
  """

  alias LinxNative.{Conn, Error}
  alias LinxNative.Native

  @typedoc "The identity of a namespace: the device and inode of its file."
  @type ns_id :: {device :: non_neg_integer, inode :: non_neg_integer}

  @doc """
  Returns the identity of a network namespace.

    * For a `LinxNative.Conn`, a `:socket` of any kind, or the descriptor of a socket in this VM: the namespace that the socket
      is in, also if no process is left in it. `ioctl(SIOCGSKNS)`, since Linux 4.10. This needs `CAP_NET_ADMIN` in that
      namespace.
    * For `:host`, `{:pid, pid}`, `{:path, path}` and `{:fd, fd}`, as for `LinxNative.Conn.start_link/2`: the namespace of the
      VM, of a process, of a file, or of a descriptor of such a file. `open(2)`, `ioctl(NS_GET_NSTYPE)`, since Linux 4.11.

  Two identities are equal if and only if they are of the same namespace, as long as one of the two namespaces exists.

      {:ok, id} = LinxNative.netns_id(conn)
      {:ok, ^id} = LinxNative.netns_id({:pid, 4711})

  Errors: a `LinxNative.Error` with the reason `:closed` or the name of an errno, for example `:ebadf`, `:enotsock`,
  `:enoent`, `:eperm`, `:einval` (the file is not one of a network namespace). Other arguments raise `ArgumentError` or
  `FunctionClauseError`.
  """
  @spec netns_id(Conn.t() | :socket.socket() | (fd :: integer) | Conn.netns()) ::
          {:ok, ns_id} | {:error, Error.t()}
  def netns_id(fd) when is_integer(fd), do: named(:netns, Native.netns_of_socket(fd))
  def netns_id(:host), do: named(:open, Native.netns_of_file("/proc/self/ns/net"))

  def netns_id({:pid, pid}) when is_integer(pid) and pid > 0 do
    named(:open, Native.netns_of_file("/proc/#{pid}/ns/net"))
  end

  def netns_id({:path, path}) when is_binary(path), do: named(:open, Native.netns_of_file(path))
  def netns_id({:fd, fd}) when is_integer(fd), do: named(:netns, Native.netns_of_descriptor(fd))

  def netns_id({:"$socket", reference} = socket) when is_reference(reference) do
    case :socket.getopt(socket, :otp, :fd) do
      {:ok, fd} -> netns_id(fd)
      {:error, reason} -> {:error, %Error{reason: reason}}
    end
  end

  # `{:path, nil}` is excluded too: it could be taken for a name on another node.
  def netns_id(conn)
      when is_pid(conn) or is_atom(conn) or elem(conn, 0) not in [:pid, :path, :fd],
      do: Conn.netns(conn)

  defp named(stage, {:error, errno}), do: {:error, Error.from_errno(stage, errno)}
  defp named(_stage, result), do: result
end
