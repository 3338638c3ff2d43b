# mix run integration/killed_swaps.exs APP TIMES
#
# Swaps and restores the libraries of a built Linx in another VM, which is killed at a random moment. A new VM then has to load both.
# APP is the folder of that Linx, for example _build/prod/lib/linx, with its C libraries.

defmodule KilledSwaps do
  @libraries ~w(linx_mount.so netlink_socket.so)
  @modules ~w(Elixir.Linx.Mount.Native Elixir.Linx.Netlink.Socket.Native)

  def run(app, times) do
    priv = Path.join(app, "priv")
    originals = read(priv)
    ours = Map.take(read(:code.priv_dir(:linx_native)), @libraries)
    loads!(app)

    seen =
      for n <- 1..times, reduce: %{} do
        seen ->
          in_swap? = kill_one(priv, rem(n, 2) == 0)
          now = read(priv)
          # The folder has only complete files, and no others.
          true = Map.keys(now) == @libraries

          who =
            for name <- @libraries do
              cond do
                now[name] == ours[name] -> :ours
                now[name] == originals[name] -> :original
              end
            end

          loads!(app)
          Map.update(seen, {who, in_swap?}, 1, &(&1 + 1))
      end

    {:ok, _} = LinxNative.Build.Swap.restore(priv)
    true = read(priv) == originals
    false = File.exists?(Path.join(app, "swapped_out"))

    for {{[mount, socket], in_swap?}, count} <- Enum.sort(seen) do
      where = if in_swap?, do: "within a swap or a restore", else: "between two"
      IO.puts("  #{count} times #{where}: linx_mount #{mount}, netlink_socket #{socket}")
    end

    IO.puts("  killed #{times} times: each time both loaded; restored in the end")
  end

  # The temporary folder of a run shows whether it was killed in the middle.
  defp kill_one(priv, at_a_rename?) do
    program = """
    Loop = fun L() ->
      {ok, _} = 'Elixir.LinxNative.Build.Swap':swap(<<"#{priv}">>),
      {ok, _} = 'Elixir.LinxNative.Build.Swap':restore(<<"#{priv}">>),
      L()
    end,
    io:format("~s~n", [os:getpid()]),
    Loop().
    """

    port = Port.open({:spawn_executable, erl()}, [:binary, :exit_status, :stderr_to_stdout, line: 300, args: args(program)])
    pid = receive do: ({^port, {:data, {:eol, pid}}} -> pid)
    # Waits for a line, so that starting it takes no time at the moment of the kill.
    killer = Port.open({:spawn, "sh -c 'read -r _; kill -KILL #{pid}'"}, [:binary])
    if at_a_rename?, do: await_change(priv, :os.system_time(:millisecond) + 60_000)
    Process.sleep(:rand.uniform(if(at_a_rename?, do: 6, else: 1_000)) - 1)
    Port.command(killer, "\n")
    # The signal has to end it, without a failure before.
    137 = receive do: ({^port, {:exit_status, status}} -> status)
    File.dir?(Path.join(priv, "../swapped_out/work.#{pid}"))
  end

  # The list of checksums is written just before the first rename, and nothing else is done between that and the last rename.
  defp await_change(priv, deadline) do
    list = Path.join(priv, "../swapped_out/swapped_in.sha256")
    before = File.stat(list)
    await_other(list, before, deadline)
  end

  defp await_other(list, before, deadline) do
    cond do
      File.stat(list) != before -> :ok
      :os.system_time(:millisecond) > deadline -> raise "it does not swap"
      true -> await_other(list, before, deadline)
    end
  end

  defp loads!(app) do
    program = """
    [{module, M} = code:ensure_loaded(M) || M <- [#{Enum.map_join(@modules, ", ", &"'#{&1}'")}]],
    "linx_mount" = 'Elixir.Linx.Mount.Native':version(),
    {ok, Fd} = 'Elixir.Linx.Netlink.Socket.Native':open_in_netns("/proc/self/ns/net", 0),
    ok = 'Elixir.Linx.Netlink.Socket.Native':close_fd(Fd),
    halt(0).
    """

    {said, status} = System.cmd(erl(), ["-pa", Path.join(app, "ebin") | args(program)], stderr_to_stdout: true)
    if status != 0, do: raise("the pair does not load: #{said}")
  end

  defp args(program) do
    ebins = for app <- [:elixir, :linx_native], do: Path.join(:code.lib_dir(app), "ebin")
    ["-noinput", "-boot", "no_dot_erlang", "-pa"] ++ ebins ++ ["-eval", program]
  end

  defp erl, do: Path.join([:code.root_dir(), "bin", "erl"])

  defp read(folder) do
    for name <- File.ls!(folder), into: %{}, do: {name, File.read!(Path.join(folder, name))}
  end
end

[app, times] = System.argv()
KilledSwaps.run(Path.expand(app), String.to_integer(times))
