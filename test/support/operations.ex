defmodule LinxNative.Test.Operations do
  @moduledoc """
  One call of each kind, and the system calls it makes: for tests that do something at each of them.
  """

  alias LinxNative.Test.{Container, Harness, Implementation, MountInfo}

  @netlink Linx.Netlink.Socket.Native
  @mount Linx.Mount.Native

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
  The system calls of an operation by name in their order, each with the stage that it is an error of. `nil`: of none, as
  there is another way.
  """
  def steps(name), do: steps(Implementation.current(), name)

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

  defp steps(:rust, :open),
    do: [clone: :thread, openat: :open, setns: :setns, socket: :socket]

  defp steps(:c, :open), do: [openat: :open, setns: :setns, socket: :socket]
  defp steps(_, :mount_here), do: [mount: :mount]
  defp steps(_, :umount_here), do: [umount2: :umount]

  defp steps(:rust, :bind_here) do
    [openat: :create, openat2: :create, openat2: :create] ++
      [open_tree: :mount, fstat: :mount, fstat: :mount, move_mount: :mount]
  end

  defp steps(:c, :bind_here), do: [openat: :create, mount: :mount]
  defp steps(which, :mount_there), do: enter(which) ++ steps(which, :mount_here)
  defp steps(which, :umount_there), do: enter(which) ++ steps(which, :umount_here)
  defp steps(which, :bind_there), do: enter(which) ++ steps(which, :bind_here)
  defp steps(which, :pivot_root), do: enter(which) ++ [chdir: :chdir, pivot_root: :pivot_root]
  defp steps(which, :tmpfs_as_seen), do: enter_both(which) ++ child()

  # Asks the kernel whether a PID namespace tells if it has an init, and whether procfs takes one as an option.
  defp steps(:rust, :procfs_as_seen) do
    enter_both(:rust) ++
      case {Harness.can?("init-of-a-pid-namespace"), Harness.can?("procfs-of-a-pid-namespace")} do
        {true, true} ->
          ["ioctl-pidns": nil, fsopen: nil, fsconfig: nil, fsconfig: nil, fsconfig: nil] ++
            [fsconfig: nil, fsmount: nil, openat: nil, move_mount: nil]

        {true, false} ->
          ["ioctl-pidns": nil, fsopen: nil, fsconfig: nil] ++ child()

        {false, _} ->
          ["ioctl-pidns": nil] ++ child()
      end
  end

  defp steps(:rust, :procfs_by_child), do: enter_both(:rust) ++ child()

  defp steps(:c, name) when name in [:procfs_as_seen, :procfs_by_child],
    do: steps(:c, :tmpfs_as_seen)

  defp enter(:rust), do: [clone: :thread] ++ enter(:c)
  defp enter(:c), do: [unshare: :unshare, openat: :open_ns, setns: :setns]

  defp enter_both(:rust) do
    [clone: :thread, unshare: :unshare, openat: :open_ns, openat: :open_ns] ++
      [openat: :open_pidns, setns: :setns, setns: :setns_pid]
  end

  defp enter_both(:c), do: enter(:c) ++ [openat: :open_pidns, setns: :setns_pid, pipe2: :pipe]

  # That it cannot be waited for is no error of the mount.
  defp child, do: [clone: :fork, mount: :mount, wait4: nil]
end
