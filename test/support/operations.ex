defmodule LinxNative.Test.Operations do
  @moduledoc """
  One call of each kind, and the system calls it makes: for tests that do something at each of them.
  """

  alias LinxNative.Test.{Container, Departures, Harness, Implementation, Machine, MountInfo}

  @netlink Linx.Netlink.Socket.Native
  @mount Linx.Mount.Native

  # An error of the mount, but for a kernel that lacks the way: then a child mounts.
  @or_by_child {:mount, but: "ENOSYS"}

  @bind 4096
  @detach 2

  @enforce_keys [:name, :mfa, :answer, :steps, :target, :pid, :ns]
  defstruct @enforce_keys

  @here [:mount_here, :bind_here, :umount_here]
  @there [:mount_there, :bind_there, :umount_there, :pivot_root, :tmpfs_as_seen, :procfs_as_seen] ++
           [:procfs_by_child]

  @doc """
  The names of those that enter a namespace of a container, and of all.
  """
  def names(:there), do: [:open | @there]
  def names(:all), do: @here ++ names(:there)

  @doc """
  The operation of a name, in a folder and in a container that has its own network, mount and PID namespaces.

    * `answer`: that of a call that nothing disturbs, as `normal/1` has it;
    * `steps`: as `steps/1` has them.
  """
  def get(name, folder, container) do
    target = "#{folder}/#{name}"
    ns = if name in @here, do: "", else: Container.ns_path(container, :mnt)

    %__MODULE__{
      name: name,
      mfa: call(name, target, ns, container),
      answer: answer(name),
      steps: steps(name),
      target: target,
      pid: if(name in @here, do: "self", else: container.pid),
      ns: ns
    }
  end

  @doc """
  Returns the system calls of an operation by name in their order, each with the stage that it is an error of. `nil`: of
  none. `{stage, but: errno}`: of none if it fails with that one, as there is another way then.
  """
  def steps(name), do: steps(Implementation.current(), name)

  @doc """
  Reports whether the call is made by a thread that goes on if its caller is killed.
  """
  def on_own_thread?(%{name: name}), do: Implementation.current() == :rust and name in @there

  @doc """
  Reports whether a child mounts.
  """
  def by_child?(%{steps: steps}) do
    clones = length(Keyword.get_values(steps, :clone))
    if Implementation.current() == :rust, do: clones == 2, else: clones == 1
  end

  @doc """
  Returns the effect of a call whose caller was killed while it was held at its step number `n`.

    * `before`, `complete`: the effects before the call, and after one that nothing disturbs.

  The C code goes on. Ours, on a thread of its own, begins no mount any more (D9).
  """
  def effect_without_caller(%{name: name}, _n, _before, complete) when name in @here, do: complete

  def effect_without_caller(%{name: name, steps: steps}, n, before, complete) do
    names = Keyword.keys(steps)
    # The file for a bind is made after the look-up, so the caller was still there.
    creates = name == :bind_there and :openat2 in Enum.take(names, n - 1)

    rust =
      cond do
        n >= begins(names) -> complete
        creates -> put_elem(before, 0, true)
        true -> before
      end

    if rust == complete, do: complete, else: Departures.expect(:D9, rust: rust, c: complete)
  end

  # The number of the step with which the caller has no say any more: it makes the child that mounts, or it is the last.
  defp begins(names) do
    steps = Enum.with_index(names, 1)
    clones = for {:clone, n} <- steps, do: n
    if match?([_check, _child], clones), do: List.last(clones), else: length(names)
  end

  @doc """
  An answer with `:fd` in the place of a descriptor.
  """
  def normal({:ok, fd}) when is_integer(fd), do: {:ok, :fd}
  def normal(answer), do: answer

  @doc """
  Has everything in place for the call.
  """
  def prepare(%{name: name, target: target, ns: ns} = operation) do
    undo(operation)

    if name in [:bind_here, :bind_there] do
      File.rm(target)
    else
      File.mkdir_p!(target)
    end

    if name in [:umount_here, :umount_there] do
      :ok = @mount.mount("", target, "tmpfs", 0, "", ns, "", 0)
    end
  end

  @doc """
  Takes back what the call has mounted.
  """
  def undo(%{target: target, ns: ns}), do: @mount.umount(target, @detach, ns)

  @doc """
  What the call has done: whether there is a target, and what is mounted on it.
  """
  def effect(%{target: target, pid: pid}) do
    mounts =
      for %{mount_point: ^target} = mount <- MountInfo.list(pid),
          do: %{mount | id: nil, parent: nil, device: nil, propagation: length(mount.propagation)}

    {File.exists?(target), mounts}
  end

  defp call(:open, _target, _ns, container),
    do: {@netlink, :open_in_netns, [Container.ns_path(container, :net), 0]}

  defp call(:pivot_root, _target, ns, _), do: {@mount, :pivot_root, ["/", "/", ns]}

  defp call(name, target, ns, _) when name in [:umount_here, :umount_there],
    do: {@mount, :umount, [target, 0, ns]}

  defp call(name, target, ns, container) do
    pidns = Container.ns_path(container, :pid)

    args =
      case name do
        name when name in [:bind_here, :bind_there] ->
          ["/dev/null", target, "", @bind, "", ns, "", 1]

        name when name in [:mount_here, :mount_there] ->
          ["linx", target, "tmpfs", 0, "size=64k", ns, "", 0]

        :tmpfs_as_seen ->
          ["linx", target, "tmpfs", 0, "size=64k", ns, pidns, 0]

        :procfs_as_seen ->
          ["linx", target, "proc", 0, "hidepid=2", ns, pidns, 0]

        # Only mount(2) takes a source that long, on every kernel.
        :procfs_by_child ->
          [String.duplicate("l", 300), target, "proc", 0, "hidepid=2", ns, pidns, 0]
      end

    {@mount, :mount, args}
  end

  # The root it has already, so that the container keeps it.
  defp answer(:pivot_root), do: {:error, {:pivot_root, :ebusy}}
  defp answer(:open), do: {:ok, :fd}
  defp answer(_), do: :ok

  # With musl the thread is as any other.
  defp steps(:rust, :open),
    do: if(Machine.musl?(), do: [], else: [clone: :thread]) ++ steps(:c, :open)

  defp steps(:c, :open), do: [openat: :open, setns: :setns, socket: :socket]
  defp steps(_, :mount_here), do: [mount: :mount]
  defp steps(_, :umount_here), do: [umount2: :umount]

  defp steps(:rust, :bind_here) do
    [openat: :create, openat2: :create, openat2: :create, open_tree: :mount, move_mount: :mount]
  end

  defp steps(:c, :bind_here), do: [openat: :create, mount: :mount]
  defp steps(which, :mount_there), do: enter(which) ++ steps(which, :mount_here)
  defp steps(which, :umount_there), do: enter(which) ++ steps(which, :umount_here)
  defp steps(which, :bind_there), do: enter(which) ++ steps(which, :bind_here)
  defp steps(which, :pivot_root), do: enter(which) ++ [chdir: :chdir, pivot_root: :pivot_root]
  defp steps(:rust, :tmpfs_as_seen), do: enter_both(:rust) ++ [mount: :mount]
  defp steps(:c, :tmpfs_as_seen), do: enter_both(:c) ++ child(:c)

  # Asks the kernel whether procfs takes a PID namespace as an option. If it says no, there is another way.
  defp steps(:rust, :procfs_as_seen) do
    enter_both(:rust) ++
      if Harness.can?("procfs-of-a-pid-namespace") do
        [openat: :mount, fsopen: @or_by_child, fsconfig: @or_by_child] ++
          [fsconfig: :mount, fsconfig: :mount, fsconfig: :mount, fsmount: :mount] ++
          [move_mount: :mount]
      else
        [openat: :mount, fsopen: @or_by_child, fsconfig: @or_by_child] ++ child(:rust)
      end
  end

  defp steps(:rust, :procfs_by_child), do: enter_both(:rust) ++ child(:rust)

  defp steps(:c, name) when name in [:procfs_as_seen, :procfs_by_child],
    do: steps(:c, :tmpfs_as_seen)

  # The C library makes the thread, by a system call that any thread of a VM may make.
  defp enter(_), do: [unshare: :unshare, openat: :open_ns, setns: :setns]

  # The clone(2) makes no child: it tells whether one could be made.
  defp enter_both(:rust) do
    [unshare: :unshare, openat: :open_ns, openat: :open_ns, openat: :open_pidns] ++
      [setns: :setns, setns: :setns_pid, clone: :fork]
  end

  defp enter_both(:c), do: enter(:c) ++ [openat: :open_pidns, setns: :setns_pid, pipe2: :pipe]

  defp child(:rust), do: [clone: :fork, mount: :mount]
  # That it cannot be waited for is no error of the mount.
  defp child(:c), do: child(:rust) ++ [wait4: nil]
end
