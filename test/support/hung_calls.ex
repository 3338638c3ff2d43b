defmodule LinxNative.Test.HungCalls do
  @moduledoc """
  Calls of `Linx.Mount.Native` that look up a name, each its own, in a file system of a container. `start/1` and the following functions
  are to be used in another VM.
  """

  alias LinxNative.Test.Container

  @mount Linx.Mount.Native
  @bind 4096

  @doc """
  Returns `count` calls of alternating kinds. They look up the target of a mount, a target to be created, the source of a mount, a
  target to unmount, and a new root.

  `fuse` is the folder of the file system, `folder` any other folder.
  """
  def mixed(count, container, fuse, folder) do
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)

    for n <- 1..count do
      name = "#{fuse}/#{n}"

      case rem(n, 6) do
        0 -> {@mount, :mount, ["", name, "tmpfs", 0, "", ns, "", 0]}
        1 -> {@mount, :mount, ["", name, "tmpfs", 0, "", ns, pidns, 0]}
        2 -> {@mount, :mount, ["/dev/null", "#{fuse}/file#{n}", "", @bind, "", ns, "", 1]}
        3 -> {@mount, :mount, [name, folder, "", @bind, "", ns, "", 0]}
        4 -> {@mount, :umount, [name, 0, ns]}
        5 -> {@mount, :pivot_root, [name, name, ns]}
      end
    end
  end

  @doc """
  Returns `count` calls with `create_target`, which look up the target before they mount anything.
  """
  def with_target(count, container, fuse) do
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)

    for n <- 1..count do
      pidns = if rem(n, 2) == 0, do: pidns, else: ""

      case rem(n, 4) do
        0 -> {@mount, :mount, ["", "#{fuse}/#{n}", "tmpfs", 0, "", ns, pidns, 1]}
        1 -> {@mount, :mount, ["", "#{fuse}/#{n}", "proc", 0, "", ns, pidns, 1]}
        _ -> {@mount, :mount, ["/dev/null", "#{fuse}/file#{n}", "", @bind, "", ns, pidns, 1]}
      end
    end
  end

  @doc """
  Makes each of the calls, `{module, function, args}`, in a process of its own.
  """
  def start(calls), do: for({m, f, args} <- calls, do: spawn(fn -> apply(m, f, args) end))

  @doc """
  Returns how many of the processes are alive.
  """
  def count(callers), do: Enum.count(callers, &Process.alive?/1)

  @doc """
  Kills the processes and waits until each has ended. Returns their exit reasons.
  """
  def kill(callers) do
    monitors = for caller <- callers, do: Process.monitor(caller)
    Enum.each(callers, &Process.exit(&1, :kill))

    for monitor <- monitors, uniq: true do
      receive do: ({:DOWN, ^monitor, :process, _, reason} -> reason)
    end
  end

  @doc """
  Reads each of the files. Returns the time of each in ms.
  """
  def read(files) do
    for file <- files do
      {time, {:ok, _}} = :timer.tc(fn -> File.read(file) end)
      time / 1_000
    end
  end
end
