defmodule LinxNative.Test.Soak do
  @moduledoc """
  Makes calls of every kind, and undoes each, from many processes. To be used in another VM.
  """

  alias LinxNative.{Conn, Error, Message}
  alias LinxNative.Test.Implementation

  @netlink Linx.Netlink.Socket.Native
  @mount Linx.Mount.Native

  @bind 4096
  @getlink 18

  @doc """
  Makes all calls `rounds` times in each of `callers` processes, and returns the number of calls.

  `files` are the files of a container's namespaces. Each process has a path of its own in `folder`. A wrong answer raises.
  """
  def run(callers, rounds, files, folder) do
    1..callers
    |> Enum.map(fn caller ->
      Task.async(fn -> rounds(rounds, files, "#{folder}/#{caller}") end)
    end)
    |> Task.await_many(:infinity)
    |> Enum.sum()
  end

  defp rounds(rounds, files, own) do
    File.mkdir_p!(own)
    calls = sockets(files) ++ connections(files) ++ mounts(files, own) ++ failures(files, own)
    for _ <- 1..rounds, {expected, call} <- calls, do: check(expected, call)
    rounds * length(calls)
  end

  defp check(expected, call) do
    answer = answer(call)
    # The descriptor is for the calls that follow.
    with {:ok, fd} when is_integer(fd) <- answer, do: Process.put(:fd, fd)

    if answer != expected and not match?({{:ok, :fd}, {:ok, _}}, {expected, answer}),
      do: raise("#{inspect(call)}: #{inspect(answer)}")
  end

  defp answer({module, function, args}) do
    apply(module, function, Enum.map(args, &if(&1 == :fd, do: Process.get(:fd), else: &1)))
  rescue
    ArgumentError -> :badarg
  end

  defp sockets(%{net: net}) do
    for path <- [net, "/proc/self/ns/net"],
        call <- [
          {{:ok, :fd}, {@netlink, :open_in_netns, [path, 0]}},
          {:ok, {@netlink, :bind_netlink, [:fd, 0x11]}},
          {{:error, 22}, {@netlink, :bind_netlink, [:fd, 1]}},
          {:ok, {@netlink, :close_fd, [:fd]}}
        ],
        do: call
  end

  # There is no C code for them.
  defp connections(%{net: net}) do
    if Implementation.current() == :rust,
      do: [{:ok, {__MODULE__, :connection, [net]}}],
      else: []
  end

  @doc """
  Runs a connection from its start to its end, with an answer, an error and a group.
  """
  def connection(net) do
    {:ok, conn} = Conn.start_link(:route, netns: {:path, net})
    dump = %Message{type: @getlink, flags: Message.flags([:dump]), body: <<0::128>>}
    {:ok, [_ | _]} = Conn.request(conn, dump)
    nothing = %Message{type: @getlink, body: <<0::32, 0x7FFFFFFF::native-32, 0::64>>}
    {:error, %Error{reason: :enodev}} = Conn.request(conn, nothing)
    :ok = Conn.join_group(conn, 1)
    {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    :ok = Conn.close(conn)
  end

  defp mounts(%{mnt: ns, pid: pidns}, own) do
    for {source, target, type, flags, ns, pidns, create} <- [
          {"", own, "tmpfs", 0, "", "", 0},
          {"/dev/null", own <> "_device", "", @bind, "", "", 1},
          {"", own, "tmpfs", 0, ns, "", 0},
          {"/dev/null", own <> "_device", "", @bind, ns, "", 1},
          {"/dev", own, "", @bind, ns, "", 1},
          {"", own, "tmpfs", 0, ns, pidns, 0},
          {"", own, "proc", 0, ns, pidns, 0}
        ],
        call <- [
          {:ok, {@mount, :mount, [source, target, type, flags, "", ns, pidns, create]}},
          {:ok, {@mount, :umount, [target, 0, ns]}}
        ],
        do: call
  end

  defp failures(%{net: net, mnt: ns, pid: pidns}, own) do
    [
      {~c"linx_mount", {@mount, :version, []}},
      {:badarg, {@netlink, :open_in_netns, [:x, 0]}},
      {:badarg, {@mount, :umount, [own, 0x100000000, ns]}},
      {{:error, {:open, 2}}, {@netlink, :open_in_netns, ["/no", 0]}},
      {{:error, {:setns, 22}}, {@netlink, :open_in_netns, [ns, 0]}},
      {{:error, {:socket, 93}}, {@netlink, :open_in_netns, [net, 31]}},
      {{:error, {:open_ns, :enoent}}, {@mount, :mount, ["", own, "", 0, "", "/no", pidns, 0]}},
      {{:error, {:create, :enoent}},
       {@mount, :mount, ["", own <> "/no/no", "", 0, "", ns, "", 1]}},
      {{:error, {:setns_pid, :einval}}, {@mount, :mount, ["", own, "proc", 0, "", ns, net, 0]}},
      {{:error, {:mount, :einval}}, {@mount, :mount, ["", own, "tmpfs", 0, "x", ns, pidns, 0]}},
      {{:error, {:mount, :enoent}}, {@mount, :mount, ["", "/no", "proc", 0, "", ns, pidns, 0]}},
      {{:error, {:umount, :einval}}, {@mount, :umount, [own, 0, ns]}},
      {{:error, {:umount, :einval}}, {@mount, :umount, [own, 0, ""]}},
      {{:error, {:chdir, :enoent}}, {@mount, :pivot_root, [own <> "/no", own, ns]}},
      {{:error, {:pivot_root, :ebusy}}, {@mount, :pivot_root, [own, own, ns]}}
    ]
  end
end
