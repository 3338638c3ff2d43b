defmodule LinxNative.Test.HungCalls do
  @moduledoc """
  Calls of `Linx.Mount.Native` that look a name up in a file system of a container, each a name of its own. Those that take
  no list of calls are to be used in a peer.
  """

  alias LinxNative.Test.Container

  @mount Linx.Mount.Native
  @bind 4096

  @doc """
  Returns `count` calls, in turn of each kind: the look-up is that of a mount's target, of its target to be created, of its
  source, of what is unmounted, and of a new root.

  `fuse` is the folder of the file system, `folder` any other one.
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
  Returns `count` calls whose target is looked up before anything is mounted: it is to be created.
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
  Returns how many of the processes are still there.
  """
  def count(callers), do: Enum.count(callers, &Process.alive?/1)

  @doc """
  KilledCallers the processes and awaits the end of each. Returns the reasons they ended for.
  """
  def kill(callers) do
    monitors = for caller <- callers, do: Process.monitor(caller)
    Enum.each(callers, &Process.exit(&1, :kill))

    for monitor <- monitors, uniq: true do
      receive do: ({:DOWN, ^monitor, :process, _, reason} -> reason)
    end
  end

  @doc """
  Reads each of the files. Returns how long each took, in ms.
  """
  def read(files) do
    for file <- files do
      {time, {:ok, _}} = :timer.tc(fn -> File.read(file) end)
      time / 1_000
    end
  end
end
