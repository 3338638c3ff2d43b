defmodule LinxNative.Test.RandomCalls do
  @moduledoc """
  Random calls of both libraries: right and wrong ones, in any order, from a seed.

  They use only one folder and one container, also as the source of binds, because a later call may make a file there, or change the
  options of a file system. Departures do not occur: no NUL byte, no options of a page, no link in a target to be created, and /proc
  stays mounted (D4).
  """

  @netlink Linx.Netlink.Socket.Native
  @mount Linx.Mount.Native

  # Placeholders for values that differ in each run.
  @tokens [:folder, :net, :mnt, :pid]

  @doc """
  Returns `count` calls, always the same for a seed: `{module, function, args}`, with atoms of `#{inspect(@tokens)}` instead of
  strings.
  """
  def generate(count, seed) do
    :rand.seed(:exsss, seed)
    for _ <- 1..count, do: call()
  end

  @doc """
  Makes the calls and returns their answers, comparable between runs: descriptors by their order, errors by their name.
  """
  def run(calls, strings) do
    {answers, sockets} =
      Enum.map_reduce(calls, [], fn {module, function, args}, sockets ->
        args = Enum.map(args, &value(&1, strings, sockets))
        answer(module, function, args, sockets)
      end)

    Enum.each(sockets, &@netlink.close_fd/1)
    answers
  end

  defp answer(module, function, args, sockets) do
    case apply(module, function, args) do
      {:ok, fd} -> {:opened, [fd | sockets]}
      other when function == :close_fd -> {other, List.delete(sockets, hd(args))}
      other -> {other, sockets}
    end
  rescue
    error -> {error.__struct__, sockets}
  end

  defp value({:path, token, rest}, strings, _), do: Map.fetch!(strings, token) <> rest
  defp value({:socket, index}, _, sockets), do: Enum.at(sockets, index, -1)
  defp value(value, _, _), do: value

  defp call do
    {module, function, args} = right()
    if one_in(20), do: {module, function, spoil(args)}, else: {module, function, args}
  end

  defp right do
    case :rand.uniform(10) do
      n when n <= 2 -> {@netlink, :open_in_netns, [namespace(), protocol()]}
      3 -> {@netlink, :close_fd, [socket()]}
      4 -> {@netlink, :bind_netlink, [socket(), pick([0, 1, 0x11, 0xFFFFFFFF])]}
      n when n <= 8 -> {@mount, :mount, mount()}
      9 -> {@mount, :umount, [target(), pick([0, 0, 2, 8, 10, 4, 16, -1]), mount_namespace()]}
      10 -> {@mount, :pivot_root, [pick([missing(), file()]), target(), mount_namespace()]}
    end
  end

  defp mount do
    create = pick([0, 0, 0, 1, -1, 7])
    target = if create == 0, do: target(), else: pick(targets())
    [source(), target, type(), flags(), data(), mount_namespace(), pid_namespace(), create]
  end

  defp spoil(args) do
    # No number of a descriptor that the VM has open.
    wrong = [
      :atom,
      1.5,
      [],
      [:x],
      {},
      %{},
      <<1::1>>,
      3_000_000,
      -1,
      "/nonexistent/x",
      0x1_0000_0000_0000_0000
    ]

    List.replace_at(args, :rand.uniform(length(args)) - 1, pick(wrong))
  end

  defp target, do: pick([{:path, :folder, "/link"}, {:path, :folder, "/loop"} | targets()])

  defp targets do
    names = ~w(/a /a /a /b /b /a/deep /file /other /new1 /new2 /missing/x /file/x /../none)
    for(name <- names, do: {:path, :folder, name}) ++ ["", {:path, :folder, long(256)}]
  end

  defp source do
    names = ~w(/a /b /file /link /loop /missing /other /store /read_only)
    pick(["", "linx", long(5_000) | for(name <- names, do: {:path, :folder, name})])
  end

  defp type, do: pick(["", "tmpfs", "tmpfs", "tmpfs", "proc", "proc", "nosuchfs", long(5_000)])
  defp data, do: pick(["", "", "", "size=64k", "mode=700", "hidepid=2", ",,", "nosuchoption"])
  defp namespace, do: pick([{:path, :net, ""}, "/proc/self/ns/net" | wrong_files()])
  defp mount_namespace, do: pick(["", {:path, :mnt, ""}, {:path, :mnt, ""} | wrong_files(12)])
  defp pid_namespace, do: pick(["", "", {:path, :pid, ""}, {:path, :pid, ""} | wrong_files(12)])
  defp protocol, do: pick([0, 0, 0, 15, 16, 31, 99, -1, 0x7FFFFFFF])
  defp socket, do: pick([{:socket, 0}, {:socket, 1}, {:socket, 5}, -1, 1_000_000])
  defp missing, do: {:path, :folder, "/missing"}
  defp file, do: {:path, :folder, "/file"}

  # One in so many times a list of them.
  defp wrong_files(often \\ 1), do: if(one_in(often), do: [missing(), file(), "/", ""], else: [])

  @bind 4096
  @rec 16_384
  @remount 32
  @rdonly 1
  # MS_MOVE, MS_SHARED, MS_PRIVATE, MS_SLAVE, MS_UNBINDABLE
  @kinds [8_192, 0x100000, 0x40000, 0x80000, 0x20000]

  defp flags do
    pick(
      [0, 0, 0, 0, @rdonly, 2 + 4 + 8, @bind, @bind, @bind + @rec, @bind + @rdonly, @remount] ++
        [@remount + @bind + @rdonly, @bind + 0xC0ED0000, @bind + 0x80000000] ++
        @kinds ++ [Bitwise.bsl(1, :rand.uniform(34) - 1)]
    )
  end

  defp long(size), do: "/" <> String.duplicate("x", size)
  defp one_in(count), do: :rand.uniform(count) == 1
  defp pick(list), do: Enum.random(list)
end
