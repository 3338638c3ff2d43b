defmodule Linx.Mount.Native do
  @moduledoc """
  `mount(2)`, `umount2(2)` and `pivot_root(2)`, in the VM's own mount namespace or in another one.

      alias Linx.Mount.Native

      ns = "/proc/4711/ns/mnt"
      :ok = Native.mount("tmpfs", "/run", "tmpfs", 0, "size=16m,mode=755", ns, "", 0)
      :ok = Native.umount("/run", 0, ns)

  All strings are binaries without a NUL byte. `""` for a namespace means the VM's own.

  ## Paths

  In another mount namespace every path, a relative one too, is looked up from the root of that namespace. Without one, a
  relative path is looked up from the VM's working directory. The files of the namespaces themselves are always looked up
  in the VM's own mount namespace, so a container does not have to have a `/proc`. Name both in the same directory, as
  `/proc/<pid>/ns/mnt` and `/proc/<pid>/ns/pid`: they are then opened through one handle, and cannot be of two processes
  that had that pid one after the other.

  ## Errors

  `{:error, {stage, errno}}`: the step that failed, and why, as an atom where there is one in `t:errno/0`, else as the
  number.

  | stage | step | usual reasons |
  | --- | --- | --- |
  | `:thread` | the thread for the call, `clone(2)` | `:eagain` at a limit of threads |
  | `:unshare` | its own root and working directory, `unshare(CLONE_FS)` | `:eperm` by a policy |
  | `:open_ns` | the mount namespace file, `open(2)` | `:enoent`, `:eacces`, `:emfile` |
  | `:setns` | entering it, `setns(2)` | `:einval` another kind of file, `:eperm` |
  | `:create` | the target, `openat2(2)` | `:eloop` a link in the path, 18 (EXDEV) it leaves the root, `:enoent` no directory, `:erofs` |
  | `:open_pidns` | the PID namespace file, `open(2)` | `:enoent`, `:eacces` |
  | `:setns_pid` | entering it, `setns(2)` | `:einval` another kind of file, `:eperm` |
  | `:fork` | the child that mounts, `clone(2)` | `:enomem` the namespace has no init any more, `:eagain` |
  | `:mount` | `mount(2)` | those of its manual page; 7 (E2BIG) `data` of a page or more |
  | `:umount` | `umount2(2)` | those of its manual page |
  | `:chdir` | into the new root, `chdir(2)` | `:enoent`, `:enotdir` |
  | `:pivot_root` | `pivot_root(2)` | those of its manual page |

  Arguments of another type, out of range or with a NUL byte raise `ArgumentError`.

  ## Threads

  `setns(2)` moves a thread. That is never one of the VM's: each call that enters a namespace makes a thread of its own,
  which ends with it. All but `version/0` run on dirty I/O schedulers.

  ## Capabilities

  `mount/8`, `umount/3` and `pivot_root/3` need `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
  With a namespace path it takes `CAP_SYS_CHROOT` and `CAP_SYS_ADMIN` in the VM's own user namespace as well.

  ## From Erlang

      Native = 'Elixir.Linx.Mount.Native',
      ok = Native:mount(<<"tmpfs">>, <<"/run">>, <<"tmpfs">>, 0, <<>>, <<"/proc/4711/ns/mnt">>, <<>>, 0).
  """

  use LinxNative.Loader, "linx_mount"

  @typedoc "The step that failed."
  @type stage ::
          :thread
          | :unshare
          | :open_ns
          | :setns
          | :create
          | :open_pidns
          | :setns_pid
          | :fork
          | :mount
          | :umount
          | :chdir
          | :pivot_root

  @typedoc "An error of Linux: by name if it is one of these, else by number; see `errno(3)`."
  @type errno ::
          :eacces
          | :eagain
          | :ebadf
          | :ebusy
          | :efault
          | :einval
          | :eloop
          | :emfile
          | :enametoolong
          | :enodev
          | :enoent
          | :enomem
          | :enotblk
          | :enotdir
          | :enxio
          | :eopnotsupp
          | :eperm
          | :erofs
          | :esrch
          | pos_integer

  @typedoc "Why a call failed."
  @type reason :: {stage, errno}

  @doc """
  The name of the library, `~c"linx_mount"`: an answer means that it is loaded.
  """
  @spec version :: charlist
  def version, do: not_loaded([])

  @doc """
  Mounts: `mount(2)`.

    * `source` - what to mount: a device, for a bind a file or directory, else what the file system takes it for. `""` is
      NULL.
    * `target` - where.
    * `fstype` - the type, as `"tmpfs"`. `""` is NULL, for a bind for example.
    * `flags` - the `MS_` flags of `mount(2)`, 0 to 18446744073709551615; as `4096` (`MS_BIND`).
    * `data` - the options of the file system, as `"size=16m"`; less than a page (4096 bytes on most machines). `""` is
      NULL.
    * `ns_path` - the file of a mount namespace, as `"/proc/4711/ns/mnt"`, or `""`.
    * `pidns_path` - the file of a PID namespace, as `"/proc/4711/ns/pid"`, or `""`. The mount is made as seen from there,
      so that a procfs shows the processes of that namespace. Without `ns_path` it is ignored.
    * `create_target` - a C `int`, -2147483648 to 2147483647. With any but 0 the target is resolved first, and an empty
      regular file of mode 0644 (less the umask) is made where there is nothing: a place to bind a device node onto. It
      stays if the mount fails.

  ## With `create_target`

  The path is one that a container may change at any moment, so no part of it may be a symbolic link (`:eloop`) or lead
  out of the root (18, EXDEV), and a bind goes onto the very file that was found or made. Needs Linux 5.6 (`openat2(2)`).
  Without `create_target` links are followed, as `mount(2)` does.

  ## In a PID namespace

  A procfs is mounted without a process in that namespace where the kernel can (Linux 6.17). Any other file system is
  mounted by a child process that shares the memory of the VM for that one system call: it can be seen from the namespace
  meanwhile. Neither copies the VM's memory.

  Stages: with `ns_path` `:thread`, `:unshare`, `:open_ns`, `:setns`; with `create_target` `:create`; with `pidns_path`
  `:open_pidns`, `:setns_pid`, `:fork`; then `:mount`.
  """
  @spec mount(
          source :: binary,
          target :: binary,
          fstype :: binary,
          flags :: non_neg_integer,
          data :: binary,
          ns_path :: binary,
          pidns_path :: binary,
          create_target :: integer
        ) :: :ok | {:error, reason}
  def mount(source, target, fstype, flags, data, ns_path, pidns_path, create_target),
    do:
      not_loaded([
        source,
        target,
        fstype,
        flags,
        data,
        ns_path,
        pidns_path,
        create_target
      ])

  @doc """
  Unmounts: `umount2(2)`.

    * `target` - where something is mounted.
    * `flags` - the `MNT_` and `UMOUNT_` flags, a C `int`, -2147483648 to 2147483647; as `2` (`MNT_DETACH`).
    * `ns_path` - the file of a mount namespace, or `""`.

  Stages: with `ns_path` `:thread`, `:unshare`, `:open_ns`, `:setns`; then `:umount`, with `:ebusy` if it is in use and
  `:einval` if nothing is mounted there.
  """
  @spec umount(target :: binary, flags :: integer, ns_path :: binary) :: :ok | {:error, reason}
  def umount(target, flags, ns_path), do: not_loaded([target, flags, ns_path])

  @doc """
  Makes `new_root` the root of a mount namespace and moves the old root to `put_old`: `chdir(2)` to `new_root`, then
  `pivot_root(2)`.

    * `new_root` - a mount point.
    * `put_old` - a directory at or below it. With `"."` for both the old root ends up on top of the new one, to be
      unmounted with `umount("/", 2, ns_path)`.
    * `ns_path` - the file of a mount namespace, or `""`.

  The processes of that namespace whose root or working directory is the old root move to the new one; with `""` that is
  the VM. Apart from that the VM's working directory does not change.

  Stages: `:thread`, `:unshare`; with `ns_path` `:open_ns`, `:setns`; then `:chdir` and `:pivot_root`, the latter with
  `:ebusy` if `new_root` is not on another mount than the root, and with `:einval` if it is not a mount point, `put_old` is
  not below it, or a mount concerned is shared.
  """
  @spec pivot_root(new_root :: binary, put_old :: binary, ns_path :: binary) ::
          :ok | {:error, reason}
  def pivot_root(new_root, put_old, ns_path), do: not_loaded([new_root, put_old, ns_path])

  @spec not_loaded([term]) :: no_return
  defp not_loaded(_arguments), do: :erlang.nif_error(:nif_not_loaded)
end
