defmodule LinxNative.Mount do
  @moduledoc """
  Mounts by descriptor, across namespaces, with a timeout.

      alias LinxNative.Mount

      container = {:pid, 4711}

      # Into the running container: its own procfs, and a directory of the host, read-only.
      :ok = Mount.mount("proc", "/proc", in: container, pid_namespace: container)
      :ok = Mount.bind("/srv/data", "/data", in: container, create: :directory, attributes: [:ro])

      {:error, error} = Mount.mount("tmpfs", "/tmp", in: container, options: [sise: "1m"])
      Exception.message(error)
      # cannot set the file system's option "sise": invalid argument (:einval, errno 22);
      # the kernel says: tmpfs: Unknown parameter 'sise'; …

  Every function returns `:ok` or `{:error, error}` with a `LinxNative.Mount.Error`. A wrong argument raises `ArgumentError`.

  ## Namespaces

  `in:` is the mount namespace of the target, `from:` the mount namespace of the source. Both are a `t:namespace/0`; the default
  is `:host`, the VM's own. No thread of the VM enters another namespace, because each call has a thread of its own for that.

  Paths start at the root of the mount namespace, also if a process in it has called `chroot(2)`. Paths in `:host` start at the root of
  the VM.

  `{:pid, pid}` is the namespace that the process is in when the call begins. A process of a container can enter another one that
  belongs to its container.

  ## Paths

  A path is absolute. It is resolved once, to a descriptor, and all later steps use the descriptor. So a container that renames
  directories or replaces them by links cannot redirect a call.

  A symbolic link in a path is an error (`:eloop`), also in the path of a layer or of a source. The option `follow: true`
  allows links that stay beneath the root. The magic links of `/proc`, for example `/proc/4711/root`, are never followed.

  `create: :file` and `create: :directory` make the target if it does not exist: its last name, but not its parents. The file
  (mode 0644) or directory (mode 0755, both less the umask) belongs to the user of the VM. A file system that a container has mounted in
  its user namespace may have no id for that user: the error is then `:eoverflow`.

  ## If a call fails

  If a call returns an error, it has mounted nothing, and a target that it made is removed again, unless a container has
  renamed it or mounted something on it. A step that the kernel refused by descriptor is never tried again by name.

  `timeout:` is in milliseconds, 0 to 4294967295, or `:infinity`; default 5000. When the time is over, the call returns an error
  with the reason `:timeout`. After that, `mount/3` and `bind/3` leave nothing mounted, also at any later time. A mount that was
  being attached at that moment is detached again, with what a container has mounted on it; `SECURITY.md` says how a container can
  keep it. In the other functions the last system call may have begun; it then takes effect. If a file system never answers (FUSE
  or NFS), each such call holds one thread outside of the VM's schedulers, with its descriptors, and nothing else. A caller that is
  killed counts as one that timed out.

  There is one exception, before Linux 6.17: a child mounts a procfs with `pid_namespace:`. This mount stays if the container kills
  the child just after it has mounted (the reason is `:eio`), or if the container has mounted something on it when the time is over.

  ## Attributes and propagation

  Attributes belong to a mount, not to its file system:

  | set | clear | |
  | --- | --- | --- |
  | `:ro` | `:rw` | read-only |
  | `:nosuid` | `:suid` | ignores set-user-ID bits and file capabilities |
  | `:nodev` | `:dev` | ignores device files |
  | `:noexec` | `:exec` | runs no program |
  | `:nosymfollow` | `:symfollow` | follows no symbolic link (Linux 5.14) |
  | `:nodiratime` | `:diratime` | keeps no access times of directories |
  | `:relatime`, `:noatime`, `:strictatime` | | which access times are kept |

  Attributes that are not named do not change.

  The propagation is one of these:

    * `:private` - nothing is propagated
    * `:slave` - mounts at the origin appear here too
    * `:shared` - mounts appear in both directions
    * `:unbindable` - private, and cannot be bound

  `bind/3` makes the tree private by default. Otherwise a bind of a shared directory would carry what a container mounts in it
  back to the host. If the target is in a shared mount, the kernel also mounts it at the peers and slaves of that mount, and shares it
  with the peers; `set/2` makes it private afterwards.

  ## What a container can do with a mount

  A process with `CAP_SYS_ADMIN` in the user namespace of its mount namespace can change every mount there. The root of a container
  with a user namespace of its own has that. It can:

    * clear the attributes of a mount that was made in the container, `:ro` too: `mount -o remount,bind,rw`
    * unmount the mounts of a recursive bind one by one, and see what they cover
    * bind the mount to another path, where it stays after `umount/2`

  A container without this capability can do none of this. If a container has it, do not make the mount in the container. Make it
  on the host, below a shared mount of which the container has a slave. The kernel then propagates the mount, and locks its
  attributes if the container has a user namespace of its own.

  ## Ids

  `id_map:` shows the owners of files as other ids, without changing the file system. It is one of these:

    * the user namespace of a container, as a `t:namespace/0`
    * a list of `{id, shown, count}`, for users and groups
    * `[uids: list, gids: list]`, such lists for each

  With the user namespace of a container, files of root on the file system belong to root in the container, and files that its
  root makes belong to root on the file system. An overlay cannot be mapped, but its lower layers can, as in the example below.

  If a process of a container is given, the container chooses the map: any process can enter a new user namespace, whose map can show
  the files of any owner as its own. So if untrusted programs run there, use a list, or a descriptor of the namespace (`{:fd, fd}`)
  that was opened before they were started.

  ## A container

  These steps build a container. `examples/container.exs` has all of them in one file. `inside` is a process in new mount, PID and
  user namespaces: a child of `unshare --mount --pid --user --fork`, after its ids were written to `/proc/<pid>/uid_map` and `gid_map`.
  No untrusted program may run in these before the last step of the build: it could mount
  something on a path between two steps, for example on `/`, and so keep the old root.

      # Its root file system: an image, and a directory for changes that belongs to its root user (File.chown/2). An overlay has no
      # ids of its own, so the image is mapped.
      root = "/srv/blue/root"
      :ok = Mount.bind("/srv/image", "/srv/blue/image", id_map: inside, attributes: [:ro])
      layers = [lowerdir: ["/srv/blue/image"], upperdir: "/srv/blue/upper", workdir: "/srv/blue/work"]
      :ok = Mount.mount("overlay", root, in: inside, options: layers)

      # A /proc, a /dev with some devices, and a directory of the host, with mapped ids, read-only with all mounts below it.
      :ok = Mount.mount("proc", root <> "/proc", in: inside, pid_namespace: inside, create: :directory)
      :ok = Mount.mount("tmpfs", root <> "/dev", in: inside, create: :directory, attributes: [:nosuid, :noexec])

      for name <- ~w(null zero random urandom) do
        :ok = Mount.bind("/dev/" <> name, root <> "/dev/" <> name, in: inside, create: :file)
      end

      data = [in: inside, create: :directory, recursive: true, attributes: [:ro, :nosuid, :nodev], id_map: inside]
      :ok = Mount.bind("/srv/data", root <> "/data", data)

      # The container gets that root, and loses the old one.
      :ok = Mount.pivot_root(root, root, in: inside)
      :ok = Mount.umount("/", in: inside, detach: true)

      # Later, while the container runs.
      :ok = Mount.bind("/srv/more", "/more", in: inside, create: :directory, id_map: inside)
      :ok = Mount.umount("/more", in: inside)

  ## Compared with others

  | | `mount/8` | `mount -N` | crun | LXC | here |
  | --- | --- | --- | --- | --- | --- |
  | options | a string shorter than a page | a string, any length | a string | a string | a list, any length |
  | error for a wrong option | EINVAL | the kernel's words | EINVAL | EINVAL | the kernel's words |
  | source here, target in a container | no: both in the container | no: both in the container | when it starts | when it starts | also while it runs |
  | target of a bind | by name; with `create_target` by descriptor | by name | by descriptor | by descriptor | by descriptor |
  | unmount | by name | by name | | | by descriptor; without `detach:` by the last name in one |
  | `pivot_root` | by name | | by working directory | by working directory | by descriptor |
  | read-only, recursively | the top only | yes, before it is attached | yes, after it is attached | the top only | yes, before it is attached |
  | mapped ids | no | yes | yes | | yes |
  | the namespace | a path | a path or a pid | its own | its own | a path, pid, descriptor or pidfd |
  | a file system that does not answer | waits, its caller can be killed | waits | | | `:timeout`, and nothing is mounted |
  | a mount that fails | leaves the file that it made | leaves the directory that it made | | | leaves nothing |

  The functions of Linx call those of `Linx.Mount.Native`, so the first column is about both. The others were tried, and traced
  with `strace`, on Debian 13 and Linux 6.18: util-linux 2.41.5, crun 1.21,
  LXC 6.0.4. What was not tried is left empty.

  ## What it needs

  | | oldest Linux |
  | --- | --- |
  | `umount/2`, `move/3`, `pivot_root/3` | 5.6 (`openat2(2)`) |
  | `mount/3` | 5.6; with `:propagation` 5.12 |
  | `bind/3`, `set/2` | 5.12 (`mount_setattr(2)`) |
  | `id_map:` | 5.12 for ext4 and xfs, 5.15 for btrfs, 5.19 for the layers of an overlay, 6.3 for tmpfs |
  | `pid_namespace:` | 5.6; with `propagation: :shared` or `:unbindable` 6.17. Before 6.17 a child of the VM makes the mount, and `:ro` also makes the procfs itself read-only |
  | layers of an overlay | 5.6; before 6.13 `/proc/mounts` shows numbers instead of their paths |
  | a pidfd as `in:` or `from:` | 5.8; as `pid_namespace:` or `id_map:` 6.11 |

  On an older kernel the error has the reason `:enosys`, `:einval` or (for a pidfd) `:enotty`, and its message names the Linux
  version that is needed.

  Capabilities:

    * `CAP_SYS_ADMIN` in the user namespace of the mount namespace
    * for another mount namespace than the VM's, also `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT` in the VM's user namespace
    * for a process of another user, or with more capabilities, also `CAP_SYS_PTRACE`
    * for `id_map:`, `CAP_SYS_ADMIN` in the user namespace that mounted the file system; with a list also `CAP_SETUID` and
      `CAP_SETGID`, and `CAP_SETFCAP` if it shows files as the VM's user 0

  An ordinary user has these in a user namespace of its own.
  """

  alias LinxNative.Mount.{Error, Options}
  alias LinxNative.{CommonOptions, Native}

  @typedoc """
  A namespace.

    * `:host` - the namespace of the VM
    * `{:pid, pid}` - the namespace of a process, looked up in the VM's `/proc`
    * `{:path, path}` - the file of a namespace, for example `"/proc/4711/ns/mnt"`
    * `{:fd, fd}` - a descriptor of such a file, or a pidfd. It stays the caller's
  """
  @type namespace :: :host | {:pid, pos_integer} | {:path, binary} | {:fd, non_neg_integer}

  @typedoc "An absolute path, of at most 4095 bytes."
  @type path :: binary

  @typedoc "An attribute of a mount, see \"Attributes and propagation\"."
  @type attribute ::
          :ro
          | :rw
          | :nosuid
          | :suid
          | :nodev
          | :dev
          | :noexec
          | :exec
          | :nosymfollow
          | :symfollow
          | :nodiratime
          | :diratime
          | :relatime
          | :noatime
          | :strictatime

  @typedoc "How mounts are propagated, see \"Attributes and propagation\"."
  @type propagation :: :private | :slave | :shared | :unbindable

  @typedoc "Shows the `count` ids from `id` on as the ids from `shown` on. Ids are in 0..4294967294."
  @type id_line :: {id :: non_neg_integer, shown :: non_neg_integer, count :: pos_integer}

  @typedoc "How the ids of files are shown, see \"Ids\"."
  @type id_map :: namespace | [id_line] | [uids: [id_line], gids: [id_line]]

  @type result :: :ok | {:error, Error.t()}

  @detach 2
  @force 1

  @doc """
  Mounts a new file system: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `move_mount(2)`.

    * `type` - for example `"tmpfs"`, `"proc"`, `"overlay"`, `"ext4"`
    * `target` - where to mount it

  Options:

    * `:in`, `:follow`, `:create`, `:timeout` - see above
    * `:options` - a list of the file system's own options with their values, in order. A name is an atom or a string. A value is
      a string of at most 255 bytes, an integer, an atom, `true` for an option without a value, or `false` to leave the option
      out. For an overlay, `:lowerdir` is a path or a list of paths, the first on top, and `:upperdir` and `:workdir` are paths,
      as are `"lowerdir+"` and `"datadir+"`. The kernel looks up a path in any other option, for example a device of btrfs, by
      name, and follows links
    * `:source` - a name for the mount, or a device. The kernel looks a device up by name, and follows links
    * `:from` - the mount namespace in which a device, the layers of an overlay and other paths in options are looked up; default
      `:host`
    * `:attributes` - the attributes to set
    * `:propagation`, `:id_map` - see above
    * `:pid_namespace` - for `"proc"`, the PID namespace whose processes it shows; default the VM's, whatever `:in` is

  Stages of errors: `:thread`, `:unshare`, `{:open, _}`, `:user_namespace`, `{:enter, _}`, `:layer`, `:file_system`,
  `{:option, _}`, `:superblock`, `:attributes`, `:id_map`, `:target`, `:create`, `:attach`; `:fork` for a procfs before Linux 6.17.

      :ok = Mount.mount("tmpfs", "/run", in: {:pid, 4711}, options: [size: "64m", mode: 755], attributes: [:nosuid, :nodev])
  """
  @spec mount(String.t(), path, keyword) :: result
  def mount(type, target, options \\ []) do
    options = Options.parse!(:mount, options)
    file_system = Options.file_system!(type, options)

    if options.pid_namespace && type != "proc" do
      raise ArgumentError, "the option :pid_namespace is for the type proc, not #{inspect(type)}"
    end

    Native.mount(
      file_system,
      CommonOptions.namespace(options.from, "mnt"),
      options.pid_namespace && CommonOptions.namespace(options.pid_namespace, "pid"),
      Options.finish!(options),
      Options.target!(target, options),
      options.timeout
    )
    |> result()
  end

  @doc """
  Mounts a directory or a file at another path: `open_tree(2)`, `mount_setattr(2)`, `move_mount(2)`.

    * `source` - a directory or a file, looked up in the mount namespace `:from`
    * `target` - a directory for a directory, a file for a file

  Options:

    * `:in`, `:from`, `:follow`, `:create`, `:timeout` - see above. `:follow` applies to both paths
    * `:recursive` - also binds every mount below the source; default `false`. Attributes, propagation and id map then apply to
      every mount of the tree
    * `:attributes` - the attributes to set and to clear
    * `:propagation` - default `:private`
    * `:id_map` - see above

  Stages of errors: `:thread`, `:unshare`, `{:open, _}`, `:user_namespace`, `{:enter, _}`, `:source`, `:clone`, `:attributes`,
  `:id_map`, `:target`, `:create`, `:attach`. If the tree contains the file of the target's own mount namespace, `:attach` fails
  with `:eloop`.
  """
  @spec bind(path, path, keyword) :: result
  def bind(source, target, options \\ []) do
    options = Options.parse!(:bind, options)

    Native.bind(
      CommonOptions.namespace(options.from, "mnt"),
      {Options.path!(source), options.follow},
      options.recursive,
      Options.finish!(options),
      Options.target!(target, options),
      options.timeout
    )
    |> result()
  end

  @doc """
  Changes the attributes and the propagation of a mount: `mount_setattr(2)`.

    * `target` - a mount point

  Options:

    * `:in`, `:follow`, `:timeout` - see above
    * `:recursive` - also changes every mount below it; default `false`. Either all of them change, or none
    * `:attributes`, `:propagation` - the changes; at least one of the two is needed

  Stages of errors: `:thread`, `:unshare`, `{:open, :in}`, `{:enter, :in}`, `:target`, `:attributes`.
  """
  @spec set(path, keyword) :: result
  def set(target, options) do
    options = Options.parse!(:set, options)
    changes = Options.changes!(options)

    if changes == {0, 0, 0} do
      raise ArgumentError, "set/2 needs the option :attributes or :propagation"
    end

    in_namespace = CommonOptions.namespace(options.in, "mnt")
    path = {Options.path!(target), options.follow}
    result(Native.set(in_namespace, path, options.recursive, changes, options.timeout))
  end

  @doc """
  Moves a mount, with every mount below it, to another path: `move_mount(2)`.

    * `source` - a mount point, on a mount that is not shared
    * `target` - in the same mount namespace

  Options: `:in`, `:follow` (applies to both paths), `:create`, `:timeout`, see above.

  Stages of errors: `:thread`, `:unshare`, `{:open, :in}`, `{:enter, :in}`, `:source`, `:target`, `:create`, `:attach`.
  """
  @spec move(path, path, keyword) :: result
  def move(source, target, options \\ []) do
    options = Options.parse!(:move, options)
    source = {Options.path!(source), options.follow}
    result(Native.move(source, Options.target!(target, options), options.timeout))
  end

  @doc """
  Unmounts the topmost mount at a path: `umount2(2)`.

    * `target` - a mount point

  Options:

    * `:in`, `:timeout` - see above
    * `:follow` - applies to the last name only if `:detach` is `true`
    * `:detach` - detaches the mount at once, with every mount below it, even if it is in use (`MNT_DETACH`); default `false`
    * `:force` - ends the requests of a FUSE or NFS that does not answer (`MNT_FORCE`); default `false`

  Without `:detach` a descriptor of the mount would keep it in use. So the parent is resolved to a descriptor, and `umount2(2)`
  itself looks up the last name in it. `"/"` has no last name, so it needs `detach: true`.

  If the target is in a shared mount, the kernel unmounts the copies at its peers and slaves too, but no copy in which something is
  mounted. A container can keep a copy of its own, see above.

  Stages of errors: `:thread`, `:unshare`, `{:open, :in}`, `{:enter, :in}`, `:target`, `:umount`.
  """
  @spec umount(path, keyword) :: result
  def umount(target, options \\ []) do
    options = Options.parse!(:umount, options)
    flags = if(options.detach, do: @detach, else: 0) + if(options.force, do: @force, else: 0)
    in_namespace = CommonOptions.namespace(options.in, "mnt")
    path = {Options.path!(target), options.follow}
    result(Native.umount(in_namespace, path, flags, options.timeout))
  end

  @doc """
  Makes a mount the root of a mount namespace, and mounts the old root at `put_old`: `pivot_root(2)`.

    * `new_root` - a mount point, on a mount that is not shared. To make a directory a mount point, `bind/3` it onto itself
    * `put_old` - a path at or below `new_root`, as it is before the change. If it is `new_root` itself, the old root covers the
      new one until `umount("/", detach: true)` removes it

  Every process of that namespace whose root or working directory is the old root gets the new one.

  Options: `:in`, `:follow` (applies to both paths), `:create` (for `put_old`), `:timeout`, see above.

  Stages of errors: `:thread`, `:unshare`, `{:open, :in}`, `{:enter, :in}`, `:new_root`, `:put_old`, `:create`, `:pivot_root`.
  """
  @spec pivot_root(path, path, keyword) :: result
  def pivot_root(new_root, put_old, options \\ []) do
    options = Options.parse!(:pivot_root, options)
    new_root = {Options.path!(new_root), options.follow}
    result(Native.pivot_root(new_root, Options.target!(put_old, options), options.timeout))
  end

  defp result(:ok), do: :ok
  defp result({:error, reason}), do: {:error, Error.from_native(reason)}
end
