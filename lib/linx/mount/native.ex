defmodule Linx.Mount.Native do
  @moduledoc """
  Calls `mount(2)`, `umount2(2)` and `pivot_root(2)` in the VM's own mount namespace or in another one.

      alias Linx.Mount.Native

      ns = "/proc/4711/ns/mnt"
      :ok = Native.mount("tmpfs", "/run", "tmpfs", 0, "size=16m,mode=755", ns, "", 0)
      :ok = Native.umount("/run", 0, ns)

  All strings are binaries without a NUL byte. If the path of a namespace is `""`, the VM's own namespace is used.

  ## Paths

  In another mount namespace every path, relative or not, is looked up from the root of that namespace. In the VM's own, a
  relative path is looked up from the VM's working directory.

  The files of the namespaces themselves are always looked up in the VM's own mount namespace, so the container needs no
  `/proc`. Name both files in the same directory, for example `/proc/<pid>/ns/mnt` and `/proc/<pid>/ns/pid`. They are then
  opened through one handle, so they belong to the same process even if the pid is reused meanwhile.

  ## Errors

  An error is `{:error, {stage, errno}}`. `stage` is the step that failed. `errno` is an atom if `t:errno/0` has one, else the
  number.

  | stage | step | usual reasons |
  | --- | --- | --- |
  | `:thread` | makes the thread for the call, `clone(2)` | `:eagain` (a limit of threads) |
  | `:unshare` | gives it its own root and working directory, `unshare(CLONE_FS)` | `:eperm` (a policy) |
  | `:open_ns` | opens the mount namespace file, `open(2)` | `:enoent`, `:eacces`, `:emfile` |
  | `:setns` | enters the mount namespace, `setns(2)` | `:einval` (another kind of file), `:eperm` |
  | `:create` | resolves or makes the target, `openat2(2)` | `:eloop` (a link in the path), 18 (EXDEV, the path leaves the root), `:enoent` (no such directory), `:erofs` |
  | `:open_pidns` | opens the PID namespace file, `open(2)` | `:enoent`, `:eacces` |
  | `:setns_pid` | enters the PID namespace, `setns(2)` | `:einval` (another kind of file), `:eperm` |
  | `:fork` | makes the child that mounts, `clone(2)` | `:enomem` (the namespace has no init any more), `:eagain` |
  | `:mount` | `mount(2)` | see its manual page; 7 (E2BIG, `data` of a page or more), 5 (EIO, the child that mounts was killed) |
  | `:umount` | `umount2(2)` | see its manual page |
  | `:chdir` | changes into the new root, `chdir(2)` | `:enoent`, `:enotdir` |
  | `:pivot_root` | `pivot_root(2)` | see its manual page |

  An argument of another type, out of range or with a NUL byte raises `ArgumentError`.

  ## Threads

  `setns(2)` moves a thread. This is never a thread of the VM: each call that enters a namespace makes a thread of its own,
  which ends with the call. All functions but `version/0` run on dirty I/O schedulers.

  ## Capabilities

  `mount/8`, `umount/3` and `pivot_root/3` need `CAP_SYS_ADMIN` in the user namespace that owns the mount namespace.
  With a namespace path they also need `CAP_SYS_CHROOT` and `CAP_SYS_ADMIN` in the VM's own user namespace, and with a PID
  namespace `CAP_SYS_ADMIN` in the user namespace that owns it.

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

  @typedoc "An errno of Linux: one of these names, else the number. See `errno(3)`."
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

  @typedoc "The step that failed, and its errno."
  @type reason :: {stage, errno}

  @doc """
  Returns the name of the library, `~c"linx_mount"`. It returns only if the library is loaded.
  """
  @spec version :: charlist
  def version, do: not_loaded([])

  @doc """
  Mounts a file system, binds a file or directory, or changes a mount: `mount(2)`.

    * `source` - what to mount: a device, or for a bind a file or directory. Other file systems give it a meaning of their own.
      `""` is NULL.
    * `target` - the path to mount it at.
    * `fstype` - the type, for example `"tmpfs"`. `""` is NULL, for example for a bind.
    * `flags` - the `MS_` flags of `mount(2)`, 0 to 18446744073709551615; for example `4096` (`MS_BIND`).
    * `data` - the options of the file system, for example `"size=16m"`; less than a page (4096 bytes on most machines). `""`
      is NULL.
    * `ns_path` - the file of a mount namespace, for example `"/proc/4711/ns/mnt"`, or `""`.
    * `pidns_path` - the file of a PID namespace, for example `"/proc/4711/ns/pid"`, or `""`. The mount is made as seen from
      that namespace, so a procfs shows its processes. It is ignored without `ns_path`.
    * `create_target` - a C `int`, -2147483648 to 2147483647. If it is not 0, the target is resolved first. If the target does
      not exist, it is made as an empty regular file of mode 0644 (less the umask), for example to bind a device node onto it.
      The file stays if the mount fails.

  ## With `create_target`

  A container may change the path at any moment. So no part of it may be a symbolic link (`:eloop`) or lead out of the root
  (18, EXDEV), and a bind goes onto the very file that was found or made. So does a procfs with `pidns_path`. For
  any other mount the target is checked in the same way, but then `mount(2)` looks it up again. This needs Linux 5.6
  (`openat2(2)`). Without `create_target` links are followed, as `mount(2)` does.

  ## In a PID namespace

  FUSE and autofs are mounted by a child process in that namespace. So is procfs before Linux 6.17, or if its source or an
  option has more than 255 bytes. For the time of that one system call the child shares the memory of the VM and can be seen
  from the namespace. Every other mount is made without a process there. The VM's memory is never copied.

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
  Unmounts a mount: `umount2(2)`.

    * `target` - the mount point.
    * `flags` - the `MNT_` and `UMOUNT_` flags, a C `int`, -2147483648 to 2147483647; for example `2` (`MNT_DETACH`).
    * `ns_path` - the file of a mount namespace, or `""`.

  Stages: with `ns_path` `:thread`, `:unshare`, `:open_ns`, `:setns`; then `:umount`, with `:ebusy` if the mount is in use and
  `:einval` if nothing is mounted there.
  """
  @spec umount(target :: binary, flags :: integer, ns_path :: binary) :: :ok | {:error, reason}
  def umount(target, flags, ns_path), do: not_loaded([target, flags, ns_path])

  @doc """
  Makes `new_root` the root of a mount namespace and moves the old root to `put_old`: `chdir(2)` to `new_root`, then
  `pivot_root(2)`.

    * `new_root` - a mount point.
    * `put_old` - a directory at or below it. If both are `"."`, the old root is mounted on top of the new one; unmount it with
      `umount("/", 2, ns_path)`.
    * `ns_path` - the file of a mount namespace, or `""`.

  Every process of that namespace whose root or working directory is the old root gets the new one. With `""` this includes
  the VM. Apart from that the VM's working directory does not change.

  Stages: `:thread`, `:unshare`; with `ns_path` `:open_ns`, `:setns`; then `:chdir` and `:pivot_root`. `:pivot_root` gives
  `:ebusy` if `new_root` is on the same mount as the root, and `:einval` if `new_root` is not a mount point, `put_old` is not
  below it, or one of the mounts is shared.
  """
  @spec pivot_root(new_root :: binary, put_old :: binary, ns_path :: binary) ::
          :ok | {:error, reason}
  def pivot_root(new_root, put_old, ns_path), do: not_loaded([new_root, put_old, ns_path])

  @spec not_loaded([term]) :: no_return
  defp not_loaded(_arguments), do: :erlang.nif_error(:nif_not_loaded)
end
