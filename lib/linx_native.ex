defmodule LinxNative do
  @moduledoc """
  The native parts of Linx, and what this project adds to them.

    * `Linx.Netlink.Socket.Native`, `Linx.Mount.Native` - those of Linx
    * `LinxNative.Conn` - a netlink connection in any network namespace
    * `LinxNative.Rtnetlink`, `LinxNative.Genetlink` - what is said over it, by name
    * `LinxNative.Message`, `LinxNative.Attributes` - the same as bytes
    * `LinxNative.Error` - what `{:error, _}` of these carries
  """

  alias LinxNative.{Conn, Error}
  alias LinxNative.Native

  @typedoc "The identity of a namespace: the device and inode of its file."
  @type ns_id :: {device :: non_neg_integer, inode :: non_neg_integer}

  @doc """
  Which network namespace is this?

    * a `LinxNative.Conn`, a `:socket` of any kind, or the descriptor of a socket in this VM: the namespace it is in, also
      when no process is left in there. `ioctl(SIOCGSKNS)`, since Linux 4.10; takes `CAP_NET_ADMIN` in that namespace.
    * `:host`, `{:pid, pid}`, `{:path, path}`, `{:fd, fd}`, as for `LinxNative.Conn.start_link/2`: the namespace of the VM,
      of a process, of a file, of a descriptor of such a file. `open(2)`, `ioctl(NS_GET_NSTYPE)`, since Linux 4.11.

  Two are the same namespace if and only if these are equal, as long as one of the two exists.

      {:ok, id} = LinxNative.netns_id(conn)
      {:ok, ^id} = LinxNative.netns_id({:pid, 4711})

  Errors: a `LinxNative.Error` with the reason `:closed` or the name of an errno, for example `:ebadf`, `:enotsock`,
  `:enoent`, `:eperm`, `:einval` (a file, but not of a network namespace). Anything else raises `ArgumentError` or
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

  # Not `{:path, nil}` either, which might be a name on another node.
  def netns_id(conn)
      when is_pid(conn) or is_atom(conn) or elem(conn, 0) not in [:pid, :path, :fd],
      do: Conn.netns(conn)

  defp named(stage, {:error, errno}), do: {:error, Error.from_errno(stage, errno)}
  defp named(_stage, result), do: result
end
