defmodule LinxNative do
  @moduledoc """
  The native parts of Linx, and what this project adds to them.

    * `Linx.Netlink.Socket.Native`, `Linx.Mount.Native` - those of Linx
    * `LinxNative.Conn` - a netlink connection in any network namespace
    * `LinxNative.Message`, `LinxNative.Attributes` - what goes through it
  """

  alias LinxNative.{Conn, Errno}
  alias LinxNative.Conn.Native

  @typedoc "The identity of a namespace: the device and inode of its file."
  @type ns_id :: {device :: non_neg_integer, inode :: non_neg_integer}

  @doc """
  Which network namespace is this?

    * a `LinxNative.Conn`, a `:socket` of any kind, or the descriptor of a socket in this VM: the namespace it is in, also
      when no process is left in there. `ioctl(SIOCGSKNS)`, since Linux 4.10; takes `CAP_NET_ADMIN` in that namespace.
    * `:host`, `{:pid, pid}`, `{:path, path}`, `{:fd, fd}`, as for `LinxNative.Conn.start_link/2`: the namespace of the VM,
      of a process, of a file, of a descriptor of such a file. `stat(2)`.

  Two are the same namespace if and only if these are equal, as long as one of the two exists.

      {:ok, id} = LinxNative.netns_id(conn)
      {:ok, ^id} = LinxNative.netns_id({:pid, 4711})

  Errors: the name of an errno, as `:ebadf`, `:enotsock`, `:enoent`, `:eperm`; `:closed`.
  """
  @spec netns_id(Conn.t() | :socket.socket() | (fd :: integer) | Conn.netns()) ::
          {:ok, ns_id} | {:error, atom}
  def netns_id(fd) when is_integer(fd), do: of_descriptor(fd)
  def netns_id(:host), do: of_file("/proc/self/ns/net")
  def netns_id({:pid, pid}) when is_integer(pid), do: of_file("/proc/#{pid}/ns/net")
  def netns_id({:path, path}), do: of_file(path)
  def netns_id({:fd, fd}) when is_integer(fd), do: of_file("/proc/self/fd/#{fd}")

  def netns_id({:"$socket", _} = socket) do
    with {:ok, fd} <- :socket.getopt(socket, :otp, :fd), do: of_descriptor(fd)
  end

  def netns_id(conn), do: Conn.netns(conn)

  defp of_descriptor(fd) do
    with {:error, errno} <- Native.netns_of_descriptor(fd), do: {:error, Errno.name(errno)}
  end

  defp of_file(path) do
    with {:ok, stat} <- File.stat(path), do: {:ok, {stat.major_device, stat.inode}}
  end
end
