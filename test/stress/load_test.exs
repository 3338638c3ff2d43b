defmodule LinxNative.LoadTest do
  @moduledoc """
  Many calls at once, failing ones among them, leave nothing in the VM.
  """

  use LinxNative.Test.Case

  @calls 10_000
  @callers 24

  @tag :machine_root
  test "#{@calls} mixed calls of #{@callers} processes return the right answers and leave nothing" do
    container = Container.start([:net, :mount, :pid])
    [net, ns, pidns] = for kind <- [:net, :mnt, :pid], do: Container.ns_path(container, kind)
    folder = Folder.make!()
    calls = calls(net, ns, pidns)
    before = Machine.snapshot()

    1..@callers
    |> Enum.map(fn caller ->
      own = "#{folder}/#{caller}"
      File.mkdir!(own)

      Task.async(fn ->
        for call <- caller..@calls//@callers do
          {name, check} = Enum.at(calls, rem(call, length(calls)))
          assert {name, true} == {name, check.(own)}
        end
      end)
    end)
    |> Task.await_many(:infinity)

    assert Machine.changes(before) == []
    refute Enum.any?(Container.mountinfo(container), &String.starts_with?(&1.mount_point, folder))
  end

  # Each cleans up behind it, and says whether all answers were right.
  defp calls(net, ns, pidns) do
    [
      open: fn _ -> open_and_close(net) end,
      open_own: fn _ -> open_and_close("/proc/self/ns/net") end,
      open_missing: fn _ -> NetlinkSocket.open_in_netns("/no", 0) == {:error, {:open, 2}} end,
      open_other: fn _ -> NetlinkSocket.open_in_netns(ns, 0) == {:error, {:setns, 22}} end,
      open_protocol: fn _ -> NetlinkSocket.open_in_netns(net, 31) == {:error, {:socket, 93}} end,
      bad_argument: fn _ -> badarg?(fn -> NetlinkSocket.open_in_netns(:x, 0) end) end,
      close: fn _ -> NetlinkSocket.close_fd(-1) == :ok end,
      bind: fn _ -> NetlinkSocket.bind_netlink(-1, 1) == {:error, 9} end,
      version: fn _ -> Mount.version() == ~c"linx_mount" end,
      tmpfs: &mount_and_umount("tmpfs", "", 0, &1, ns, ""),
      tmpfs_as_seen: &mount_and_umount("tmpfs", "", 0, &1, ns, pidns),
      procfs_as_seen: &mount_and_umount("proc", "", 0, &1, ns, pidns),
      device: &mount_and_umount("", "/dev", 4096, &1, ns, ""),
      mount_missing: fn own ->
        Mount.mount("", own <> "/no", "tmpfs", 0, "", ns, pidns, 0) == {:error, {:mount, :enoent}}
      end,
      create_missing: fn own ->
        Mount.mount("", own <> "/no/no", "", 4096, "", ns, "", 1) == {:error, {:create, :enoent}}
      end,
      mount_nowhere: fn own ->
        Mount.mount("", own, "tmpfs", 0, "", "/no", pidns, 0) == {:error, {:open_ns, :enoent}}
      end,
      umount_missing: fn own -> Mount.umount(own, 0, ns) == {:error, {:umount, :einval}} end,
      umount_here: fn own -> Mount.umount(own, 0, "") == {:error, {:umount, :einval}} end,
      pivot_root: fn own ->
        Mount.pivot_root(own <> "/no", own, ns) == {:error, {:chdir, :enoent}}
      end,
      bad_flags: fn own -> badarg?(fn -> Mount.umount(own, 0x100000000, ns) end) end
    ]
  end

  defp open_and_close(path) do
    with {:ok, fd} <- NetlinkSocket.open_in_netns(path, 0),
         :ok <- NetlinkSocket.bind_netlink(fd, 1),
         do: NetlinkSocket.close_fd(fd) == :ok
  end

  defp mount_and_umount(type, source, flags, own, ns, pidns) do
    with :ok <- Mount.mount(source, own, type, flags, "", ns, pidns, 0),
         do: Mount.umount(own, 0, ns) == :ok
  end

  defp badarg?(call) do
    call.()
  rescue
    ArgumentError -> true
  end
end
