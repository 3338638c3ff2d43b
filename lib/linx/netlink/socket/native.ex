defmodule Linx.Netlink.Socket.Native do
  @moduledoc """
  Netlink sockets in other network namespaces.

  A process may open an `AF_NETLINK` socket inside any network namespace it can name and use it from where it is:
  a socket stays in the namespace it was created in, and keeps that alive.

      {:ok, fd} = Linx.Netlink.Socket.Native.open_in_netns("/run/netns/blue", 0)

  ## Adopting the descriptor

  The result is a bare descriptor of the VM; it belongs to the caller and is open until closed. `:socket.open/1` works
  on a *duplicate* of it, so close the original once that was made, whatever `:socket.open/1` answered, else each one is
  lost:

      def open(path, protocol) do
        with {:ok, fd} <- Native.open_in_netns(path, protocol) do
          opened = :socket.open(fd)
          :ok = Native.close_fd(fd)
          opened
        end
      end

  The duplicate is without close-on-exec, which the original has. With `%{dup: false}` the socket would be the original,
  and `:socket.close/1` would leave it open.

  ## From Erlang

      {ok, Fd} = 'Elixir.Linx.Netlink.Socket.Native':open_in_netns("/run/netns/blue", 0),
      ok = 'Elixir.Linx.Netlink.Socket.Native':close_fd(Fd).

  ## Threads

  `setns(2)` moves a thread. That is never one of the VM's: each call makes a thread of its own, which ends with it.
  """

  use LinxNative.Loader, "netlink_socket"

  @typedoc "A descriptor of the VM: a C `int`."
  @type fd :: non_neg_integer

  @typedoc "The step of `open_in_netns/2` that failed."
  @type stage :: :thread | :open | :setns | :socket

  @typedoc "The number of an error of Linux, as `2` for ENOENT; see `errno(3)`."
  @type errno :: pos_integer

  @doc """
  Opens a netlink socket in the network namespace of the file at `path`.

    * `path` - the file of a network namespace, as `"/proc/4711/ns/net"` or `"/run/netns/blue"`: a binary or any iolist of
      less than 4096 bytes, without a NUL byte. A relative one is looked up from the VM's working directory.
    * `protocol` - the netlink protocol, as `0` for `NETLINK_ROUTE`: a C `int`, -2147483648 to 2147483647.

  The descriptor is close-on-exec, of type `SOCK_RAW`, not bound, and the caller's: close it with `close_fd/1` (see
  "Adopting the descriptor" above). If the calling process is killed meanwhile, the socket is closed.

  Runs on a dirty I/O scheduler. Needs `CAP_SYS_ADMIN` in the VM's user namespace and in the one that owns the network
  namespace.

  ## Errors

  `{:error, {stage, errno}}`, the stage being the first that failed:

    * `:open` - `path` is too long (36, ENAMETOOLONG) or holds a NUL byte (22, EINVAL)
    * `:thread` - no thread could be made, `clone(2)`: 11 (EAGAIN) at a limit of threads
    * `:open` - the file could not be opened, `open(2)`: 2 (ENOENT), 13 (EACCES), 24 (EMFILE)
    * `:setns` - the namespace could not be entered, `setns(2)`: 22 (EINVAL) not a network namespace, 1 (EPERM)
    * `:socket` - the socket could not be made, `socket(2)`: 93 (EPROTONOSUPPORT), 24 (EMFILE)

  Arguments of another type or out of range raise `ArgumentError`.
  """
  @spec open_in_netns(path :: iodata, protocol :: integer) ::
          {:ok, fd} | {:error, {stage, errno}}
  def open_in_netns(path, protocol), do: not_loaded([path, protocol])

  @doc """
  Closes a descriptor: `close(2)`.

    * `fd` - a C `int`, -2147483648 to 2147483647.

  Always `:ok`, also for a number that is not an open descriptor. Any open one is closed, whoever it belongs to: a number
  that was closed before may have been given to another part of the VM since, so close each one once.

  An argument of another type or out of range raises `ArgumentError`.
  """
  @spec close_fd(fd :: integer) :: :ok
  def close_fd(fd), do: not_loaded([fd])

  @doc """
  Binds a netlink socket to multicast groups: `bind(2)`, with the port id left to the kernel (`nl_pid` 0).

    * `fd` - the socket, a C `int`.
    * `groups` - the groups 1 to 32 as a bit mask, a C `unsigned int`, 0 to 4294967295; `0` for none. As
      `RTMGRP_LINK` (1) for changes of links.

  No privilege is needed for the groups of `NETLINK_ROUTE`.

  ## Errors

  `{:error, errno}`, without a stage: 9 (EBADF), 88 (ENOTSOCK), 1 (EPERM), 22 (EINVAL) when it is
  bound already, or of another family.

  Arguments of another type or out of range raise `ArgumentError`.
  """
  @spec bind_netlink(fd :: integer, groups :: non_neg_integer) :: :ok | {:error, errno}
  def bind_netlink(fd, groups), do: not_loaded([fd, groups])

  @spec not_loaded([term]) :: no_return
  defp not_loaded(_arguments), do: :erlang.nif_error(:nif_not_loaded)
end
