defmodule LinxNative.Mount.Error do
  @moduledoc """
  The exception in every `{:error, _}` of `LinxNative.Mount`.

  Match on `reason`, which is an atom. `Exception.message/1` says what happened and what to do.

      iex> alias LinxNative.Mount
      iex> {:error, error} = Mount.bind("/nowhere", "/mnt")
      iex> {error.reason, error.stage, error.path}
      {:enoent, :source, "/nowhere"}

  The fields:

    * `reason` - the name of an errno, for example `:eperm`, the number if Linux has no name for it, or `:timeout`
    * `stage` - the step that failed, see `t:stage/0`; `nil` with `:timeout`
    * `errno` - the error number; `nil` with `:timeout`
    * `path` - the path of the step, if it has one
    * `text` - the kernel's own message, if there is one: the log that `fsconfig(2)` and `fsmount(2)` write. Control characters and
      bytes that are not UTF-8 are escaped, because a name in it may be a container's
  """

  alias LinxNative.{Errno, KernelText}

  defexception [:reason, :stage, :errno, :path, :text]

  @type t :: %__MODULE__{
          reason: :timeout | Errno.t(),
          stage: stage | nil,
          errno: pos_integer | nil,
          path: binary | nil,
          text: String.t() | nil
        }

  @typedoc """
  The step that failed.

    * `:thread` - makes the thread of the call: `pthread_create(3)`
    * `:unshare` - gives the thread a working directory of its own: `unshare(2)`, and opens `/proc/self/fd`
    * `{:open, option}` - opens the namespace of this option: `open(2)`
    * `{:enter, option}` - enters the namespace of this option: `setns(2)`
    * `:source`, `:target`, `:layer`, `:new_root`, `:put_old` - resolves this path: `openat2(2)`
    * `:clone` - copies the source: `open_tree(2)`
    * `:file_system` - opens the type of the file system: `fsopen(2)`
    * `{:option, name}` - sets this option of the file system: `fsconfig(2)`
    * `:superblock` - makes the file system: `fsconfig(2)`, `fsmount(2)`; `mount(2)` for a procfs before Linux 6.17
    * `:fork` - makes the child that calls that `mount(2)`: `clone(2)`
    * `:attributes` - sets attributes and propagation: `mount_setattr(2)`
    * `:user_namespace` - makes the user namespace of an id map: `clone(2)`, `/proc/<pid>/uid_map`
    * `:id_map` - maps the ids: `mount_setattr(2)`
    * `:create` - makes the target: `mkdirat(2)`, `mknodat(2)`
    * `:attach` - attaches the mount to the target: `move_mount(2)`
    * `:umount` - `umount2(2)`
    * `:pivot_root` - `pivot_root(2)`
  """
  @type stage :: atom | {:open | :enter, atom} | {:option, String.t()}

  @doc false
  @spec from_native(:timeout | {stage, pos_integer, binary | nil, [binary]}) :: t
  def from_native(:timeout), do: %__MODULE__{reason: :timeout}

  def from_native({stage, errno, path, words}) do
    %__MODULE__{
      reason: Errno.name(errno),
      stage: stage,
      errno: errno,
      path: path,
      text: text(words)
    }
  end

  # The kernel puts a letter for the kind in front of each line: `e tmpfs: Unknown parameter 'sise'`.
  defp text([]), do: nil

  defp text(words) do
    Enum.map_join(words, "; ", fn
      <<_kind, " ", text::binary>> -> KernelText.printable(text)
      text -> KernelText.printable(text)
    end)
  end

  @impl true
  def message(%__MODULE__{reason: :timeout}) do
    "no answer in time; nothing was mounted, but an unmount, a move or a change that had begun may have been carried out. " <>
      "The path may lead into a file system that does not answer"
  end

  def message(%__MODULE__{} = error) do
    [
      failed(error.stage) <> path(error.path) <> ": " <> Errno.describe(error.errno),
      error.text && "the kernel says: #{error.text}",
      hint(error.stage, error.reason)
    ]
    |> Enum.filter(& &1)
    |> Enum.join("; ")
  end

  defp path(nil), do: ""
  defp path(path), do: " " <> inspect(path)

  defp failed(:thread), do: "cannot make a thread"

  defp failed(:unshare),
    do: "cannot give the thread a working directory, or open /proc/self/fd"

  defp failed({:open, option}), do: "cannot open the namespace of the option #{inspect(option)}"
  defp failed({:enter, option}), do: "cannot enter the namespace of the option #{inspect(option)}"
  defp failed(:source), do: "cannot find the source"
  defp failed(:target), do: "cannot find the target"
  defp failed(:layer), do: "cannot use the layer"
  defp failed(:new_root), do: "cannot find the new root"
  defp failed(:put_old), do: "cannot find the path for the old root"
  defp failed(:clone), do: "cannot copy the mount at"
  defp failed(:file_system), do: "cannot open the file system type"
  defp failed({:option, name}), do: "cannot set the file system's option #{inspect(name)}"
  defp failed(:superblock), do: "cannot make the file system"
  defp failed(:fork), do: "cannot make a child in the PID namespace"
  defp failed(:attributes), do: "cannot change attributes or propagation"
  defp failed(:user_namespace), do: "cannot make the user namespace of the id map"
  defp failed(:id_map), do: "cannot map the ids"
  defp failed(:create), do: "cannot make the target"
  defp failed(:attach), do: "cannot mount at"
  defp failed(:umount), do: "cannot unmount"
  defp failed(:pivot_root), do: "cannot change the root to"

  @lookups [:source, :target, :layer, :new_root, :put_old]

  # Adds to a message what the errno alone does not tell.
  defp hint(stage, :enosys) when stage in @lookups, do: "openat2(2) needs Linux 5.6"
  defp hint(stage, :enosys) when stage in [:attributes, :id_map], do: "Linux 5.12 is needed"

  defp hint(stage, :enosys)
       when stage in [:clone, :file_system, :superblock, :attach] or elem(stage, 0) == :option,
       do: "Linux 5.2 is needed"

  defp hint(stage, :eloop) when stage in [:create | @lookups],
    do: "a part of the path is a symbolic link; the option follow: true allows that"

  defp hint(stage, :exdev) when stage in [:create | @lookups], do: "the path leaves the root"

  defp hint(:create, :enoent), do: "create: makes only the last part of the path"

  defp hint(:create, :eoverflow),
    do: "the file system was mounted in a user namespace that does not map the VM's user"

  defp hint({:open, _option}, :enoent), do: "the file does not exist, or the process has ended"

  defp hint({:open, _option}, :esrch), do: "the process has ended"

  defp hint({:open, _option}, :eacces), do: "access to that process needs CAP_SYS_PTRACE"

  defp hint({:open, _option}, reason) when reason in [:einval, :enotty],
    do: "it is not the file of a namespace of that kind; a pidfd needs Linux 6.11 here"

  defp hint({:enter, _option}, :einval),
    do: "it is neither the file of a mount namespace nor a pidfd, which needs Linux 5.8"

  defp hint({:enter, _option}, :esrch), do: "the process has ended"

  defp hint({:enter, _option}, :eperm),
    do:
      "CAP_SYS_ADMIN and CAP_SYS_CHROOT are needed, the first also in the user namespace of that mount namespace"

  defp hint(:file_system, :enodev), do: "the kernel has no file system of that type"
  defp hint({:option, _name}, :einval), do: "a value has at most 255 bytes"

  defp hint(:superblock, :einval),
    do:
      "an option is missing or wrong, or the kernel does not know an attribute (nosymfollow: Linux 5.14)"

  defp hint(:attributes, :einval),
    do:
      "nothing is mounted at that very path, or the kernel does not know an attribute (nosymfollow: Linux 5.14), " <>
        "or cannot share a procfs of another PID namespace (Linux 6.17)"

  defp hint(:attributes, :eperm),
    do:
      "CAP_SYS_ADMIN is needed; an attribute that a more privileged mount namespace has set cannot be cleared"

  defp hint(:user_namespace, :eperm),
    do:
      "CAP_SETUID and CAP_SETGID are needed for the ids of the map, and CAP_SETFCAP to show files as user 0"

  defp hint(:id_map, :einval),
    do:
      "the file system does not support it on this kernel (ext4, xfs: 5.12; btrfs: 5.15; tmpfs: 6.3; the layers of an overlay: 5.19), " <>
        "its ids are mapped already, or the user namespace has no maps"

  defp hint(:id_map, :eperm),
    do: "CAP_SYS_ADMIN is needed in the user namespace that mounted the file system"

  defp hint(:attach, :eloop),
    do: "the tree contains the file of a mount namespace that would then contain itself"

  defp hint(:attach, :enotdir),
    do: "a directory can be mounted only onto a directory, and a file only onto a file"

  defp hint(:attach, :einval),
    do:
      "a mount can be moved only within its namespace, from a mount that is not shared, and not below itself"

  defp hint(:umount, :einval),
    do: "nothing is mounted at that very path, or it cannot be unmounted from here"

  defp hint(:umount, :ebusy),
    do: "it is in use, or another mount is below it; the option detach: true detaches it anyway"

  defp hint(:pivot_root, :einval),
    do:
      "the new root has to be a mount point, on a mount that is not shared, and put_old at or below it"

  defp hint(:pivot_root, :ebusy), do: "it is the root already"

  defp hint(_stage, :eperm),
    do: "CAP_SYS_ADMIN is needed in the user namespace of that mount namespace"

  defp hint(_stage, _reason), do: nil
end
