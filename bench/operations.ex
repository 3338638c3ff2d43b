defmodule LinxNative.Bench.Operations do
  @moduledoc """
  The measured operations: groups of contestants for `LinxNative.Bench.Pairs`. An operation has the same name in all contestants.
  """

  alias LinxNative.Bench.{Clock, Container, Floor}

  @ours {Linx.Netlink.Socket.Native, Linx.Mount.Native}
  @c {Linx.Netlink.Socket.Legacy, Linx.Mount.Legacy}
  @libraries [ours: @ours, c: @c]

  @netlink 16
  @bind 4096

  @doc """
  Returns every other operation of both libraries, and of other contestants if they have it.
  """
  def groups(%Container{} = container, floor) do
    [
      opens(container, floor),
      adoptions(container),
      group(&quick/1),
      group(&failing(&1, container)),
      group(&mounts(&1, container, "", "here")),
      group(&mounts(&1, container, container.mount, "there")) ++ floor_mount(floor, container),
      group(&binds(&1, container)),
      group(&pivots(&1, container))
    ]
  end

  @doc """
  Returns the operations for which the C reference forks, which takes longer the larger the VM is.
  """
  def forking(%Container{} = container, _floor) do
    [group(&mounts_as_seen(&1, container, "tmpfs", "tmpfs in a PID namespace"))]
  end

  @doc """
  Returns the operations that are also measured on all CPUs. Their names say so.
  """
  def on_all_cpus(%Container{} = container, floor) do
    for group <- [opens(container, floor), adoptions(container)] do
      for {name, fun} <- group, do: {name, fn calls -> named_all_cpus(fun.(calls)) end}
    end
  end

  # Closing makes no thread.
  defp named_all_cpus(operations) do
    for {operation, times} <- operations,
        operation != "close_fd",
        do: {operation <> ", all CPUs", times}
  end

  @doc """
  The operation whose time may depend on the memory of the VM, called `name`.
  """
  def procfs(%Container{} = container, name) do
    group(&mounts_as_seen(&1, container, "proc", name))
  end

  defp group(contestant) do
    for {name, libraries} <- @libraries, do: {name, contestant.(libraries)}
  end

  defp opens(container, floor), do: group(&open(&1, container)) ++ floor_open(floor, container)
  defp adoptions(container), do: group(&adopt(&1, container)) ++ [otp: &otp(&1, container)]

  # One socket at a time: what many open ones cost is the kernel's.
  defp open({socket, _}, container) do
    open = fn _ ->
      {{:ok, fd}, opening} = Clock.once(fn -> socket.open_in_netns(container.net, 0) end)
      {:ok, closing} = Clock.once(fn -> socket.close_fd(fd) end)
      {opening, closing}
    end

    fn calls ->
      {opening, closing} = 1..calls |> Enum.map(open) |> Enum.unzip()
      [{"open_in_netns", opening}, {"close_fd", closing}]
    end
  end

  defp floor_open(floor, container) do
    for how <- [:clone, :pthread, :core, :plain] do
      {:"floor_#{how}",
       fn calls -> [{"open_in_netns", Floor.open(floor, how, calls, container.net)}] end}
    end
  end

  # As a user needs it: a socket of :socket, and no descriptor lost. Closing it is part of it, as it closes less or more.
  defp adopt({socket, _}, container) do
    fn calls ->
      {_, times} =
        Clock.each(1..calls, fn _ ->
          {:ok, fd} = socket.open_in_netns(container.net, 0)
          {:ok, adopted} = :socket.open(fd)
          :ok = socket.close_fd(fd)
          :ok = :socket.close(adopted)
        end)

      [{"open, adopt, close", times}]
    end
  end

  defp otp(calls, container) do
    {_, times} =
      Clock.each(1..calls, fn _ ->
        {:ok, socket} = :socket.open(@netlink, :raw, 0, %{netns: container.net})
        :ok = :socket.close(socket)
      end)

    [{"open, adopt, close", times}]
  end

  # So short that a look at the clock would be most of it.
  defp quick({socket, mount}) do
    fn calls ->
      [
        {"close_fd, not open", Clock.batches(1..calls, fn _ -> socket.close_fd(-1) end)},
        {"bind_netlink, EBADF", Clock.batches(1..calls, fn _ -> socket.bind_netlink(-1, 0) end)},
        {"version", Clock.batches(1..calls, fn _ -> mount.version() end)}
      ]
    end
  end

  defp failing({socket, mount}, container) do
    calls = [
      {"open_in_netns, no file", fn -> {:error, {:open, 2}} = socket.open_in_netns("/no", 0) end},
      {"open_in_netns, no netns",
       fn -> {:error, {:setns, 22}} = socket.open_in_netns(container.mount, 0) end},
      {"open_in_netns, no protocol",
       fn -> {:error, {:socket, 93}} = socket.open_in_netns(container.net, 31) end},
      {"mount here, no target",
       fn -> {:error, {:mount, :enoent}} = mount.mount("", "/no", "tmpfs", 0, "", "", "", 0) end},
      {"mount there, no target",
       fn ->
         {:error, {:mount, :enoent}} =
           mount.mount("", "/no", "tmpfs", 0, "", container.mount, "", 0)
       end},
      {"mount there, no namespace",
       fn ->
         {:error, {:open_ns, :enoent}} = mount.mount("", "/no", "tmpfs", 0, "", "/no", "", 0)
       end},
      {"umount here, no target",
       fn -> {:error, {:umount, :enoent}} = mount.umount("/no", 0, "") end},
      {"umount there, no target",
       fn -> {:error, {:umount, :enoent}} = mount.umount("/no", 0, container.mount) end},
      {"pivot_root there, no root",
       fn -> {:error, {:chdir, :enoent}} = mount.pivot_root("/no", "/no", container.mount) end}
    ]

    fn count ->
      for {name, call} <- calls, do: {name, elem(Clock.each(1..count, fn _ -> call.() end), 1)}
    end
  end

  defp mounts({_, mount}, container, ns, where) do
    fn calls ->
      {mounts, umounts} =
        there_and_back(
          calls,
          fn -> :ok = mount.mount("x", container.folder, "tmpfs", 0, "", ns, "", 0) end,
          fn -> :ok = mount.umount(container.folder, 0, ns) end
        )

      [{"mount #{where}", mounts}, {"umount #{where}", umounts}]
    end
  end

  defp floor_mount(floor, container) do
    for how <- [:clone, :pthread, :core] do
      {:"floor_#{how}",
       fn calls ->
         [mounts, umounts] = Floor.mount(floor, how, calls, container.mount, container.folder)
         [{"mount there", mounts}, {"umount there", umounts}]
       end}
    end
  end

  defp binds({_, mount}, container) do
    bind = fn calls, create ->
      there_and_back(
        calls,
        fn ->
          :ok = mount.mount("/proc", container.folder, "", @bind, "", container.mount, "", create)
        end,
        fn -> :ok = mount.umount(container.folder, 0, container.mount) end
      )
    end

    fn calls ->
      for {name, create} <- [{"bind there", 0}, {"bind there, create_target", 1}] do
        {name, elem(bind.(calls, create), 0)}
      end
    end
  end

  # The container gets a new root and its old one back.
  defp pivots({_, mount}, container) do
    fn calls ->
      folder = container.folder
      :ok = mount.mount("x", folder, "tmpfs", 0, "", container.mount, "", 0)
      File.mkdir!(Container.root(container) <> folder <> "/old")

      {there, back} =
        there_and_back(
          calls,
          fn -> :ok = mount.pivot_root(folder, folder <> "/old", container.mount) end,
          fn -> :ok = mount.pivot_root("/old", "/old" <> folder, container.mount) end
        )

      :ok = mount.umount(folder, 0, container.mount)
      [{"pivot_root there", there ++ back}]
    end
  end

  defp mounts_as_seen(libraries, container, type, name) do
    fn calls -> [{name, elem(mount_as_seen(libraries, container, type, calls), 0)}] end
  end

  defp mount_as_seen({_, mount}, container, type, calls) do
    there_and_back(
      calls,
      fn ->
        :ok = mount.mount("x", container.folder, type, 0, "", container.mount, container.pid, 0)
      end,
      fn -> :ok = mount.umount(container.folder, 0, container.mount) end
    )
  end

  # The times of the one, and those of the other, which follows each.
  defp there_and_back(calls, there, back) do
    1..calls
    |> Enum.map(fn _ -> {elem(Clock.once(there), 1), elem(Clock.once(back), 1)} end)
    |> Enum.unzip()
  end
end
