defmodule Linx.Netlink.Socket.Native do
  @moduledoc """
  Opens netlink sockets in other network namespaces.

  A process can open an `AF_NETLINK` socket in any network namespace that it can name, and use it from its own namespace.
  The socket stays in the namespace that it was opened in, and keeps that namespace alive.

      {:ok, fd} = Linx.Netlink.Socket.Native.open_in_netns("/run/netns/blue", 0)

  ## Adopting the descriptor

  The result is a bare descriptor of the VM. It belongs to the caller and stays open until the caller closes it.
  `:socket.open/1` works on a *duplicate* of it. So close the original after `:socket.open/1`, whatever that returned, or it
  leaks:

      def open(path, protocol) do
        with {:ok, fd} <- Native.open_in_netns(path, protocol) do
          opened = :socket.open(fd)
          :ok = Native.close_fd(fd)
          opened
        end
      end

  The original is close-on-exec, the duplicate is not. With `%{dup: false}` the socket would use the original, and
  `:socket.close/1` would leave it open.

  ## From Erlang

      {ok, Fd} = 'Elixir.Linx.Netlink.Socket.Native':open_in_netns("/run/netns/blue", 0),
      ok = 'Elixir.Linx.Netlink.Socket.Native':close_fd(Fd).

  ## Threads

  `setns(2)` moves a thread. This is never a thread of the VM: each call makes a thread of its own, which ends with the call.
  """

  use LinxNative.Loader, "netlink_socket"

  @typedoc "A descriptor of the VM: a C `int`."
  @type fd :: non_neg_integer

  @typedoc "The step of `open_in_netns/2` that failed."
  @type stage :: :thread | :open | :setns | :socket

  @typedoc "An errno of Linux as a number, for example `2` for ENOENT. See `errno(3)`."
  @type errno :: pos_integer

  @doc """
  Opens a netlink socket in the network namespace of the file at `path`.

    * `path` - the file of a network namespace, for example `"/proc/4711/ns/net"` or `"/run/netns/blue"`: a binary or any
      iolist of less than 4096 bytes, without a NUL byte. A relative path is looked up from the VM's working directory.
    * `protocol` - the netlink protocol, for example `0` for `NETLINK_ROUTE`: a C `int`, -2147483648 to 2147483647.

  The socket is of type `SOCK_RAW`, close-on-exec and not bound. Its descriptor belongs to the caller, who closes it with
  `close_fd/1` (see "Adopting the descriptor" above). If the calling process is killed during the call, the socket is closed.

  Runs on a dirty I/O scheduler. Needs `CAP_SYS_ADMIN` in the VM's user namespace and in the one that owns the network
  namespace.

  ## Errors

  An error is `{:error, {stage, errno}}` with the first stage that failed:

    * `:open` - `path` is too long (36, ENAMETOOLONG) or contains a NUL byte (22, EINVAL)
    * `:thread` - no thread could be made, `clone(2)`: 11 (EAGAIN, a limit of threads)
    * `:open` - the file could not be opened, `open(2)`: 2 (ENOENT), 13 (EACCES), 24 (EMFILE)
    * `:setns` - the namespace could not be entered, `setns(2)`: 22 (EINVAL, not a network namespace), 1 (EPERM)
    * `:socket` - the socket could not be made, `socket(2)`: 93 (EPROTONOSUPPORT), 24 (EMFILE)

  An argument of another type or out of range raises `ArgumentError`.
  """
  @spec open_in_netns(path :: iodata, protocol :: integer) ::
          {:ok, fd} | {:error, {stage, errno}}
  def open_in_netns(path, protocol), do: not_loaded([path, protocol])

  @doc """
  Closes a descriptor: `close(2)`.

    * `fd` - a C `int`, -2147483648 to 2147483647.

  Returns `:ok` always, also if the number is not an open descriptor. It closes any open descriptor, whoever owns it. The kernel
  may have reused a closed number for another part of the VM, so close each descriptor only once.

  An argument of another type or out of range raises `ArgumentError`.
  """
  @spec close_fd(fd :: integer) :: :ok
  def close_fd(fd), do: not_loaded([fd])

  @doc """
  Binds a netlink socket to multicast groups: `bind(2)`, with the port id left to the kernel (`nl_pid` 0).

    * `fd` - the socket, a C `int`.
    * `groups` - the groups 1 to 32 as a bit mask, a C `unsigned int`, 0 to 4294967295; `0` for none. For example
      `RTMGRP_LINK` (1) for changes of links.

  No privilege is needed for the groups of `NETLINK_ROUTE`.

  ## Errors

  An error is `{:error, errno}`, without a stage: 9 (EBADF), 88 (ENOTSOCK), 1 (EPERM), or 22 (EINVAL) if the socket is
  bound already or of another family.

  An argument of another type or out of range raises `ArgumentError`.
  """
  @spec bind_netlink(fd :: integer, groups :: non_neg_integer) :: :ok | {:error, errno}
  def bind_netlink(fd, groups), do: not_loaded([fd, groups])

  @spec not_loaded([term]) :: no_return
  defp not_loaded(_arguments), do: :erlang.nif_error(:nif_not_loaded)
end
