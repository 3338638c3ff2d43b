# The program that script/demo runs.

defmodule Demo do
  alias Linx.Mount.Native, as: Mount
  alias Linx.Netlink.Socket.Native, as: Socket

  @bind 4096

  @file_system "stat --file-system --format=%T /tmp"
  # The shell opens no file, because a process may end meanwhile.
  @processes "set -- /proc/[0-9]*; echo $#"
  @node "stat --format=%F /tmp/null 2>/dev/null || echo none"

  def show do
    before = possessions()
    {port, pid} = start_container()

    IO.puts(
      "A container-like process: pid #{pid}, in mount, PID and network namespaces of its own."
    )

    views(pid, "Before")
    heading("Mounts, made in there from here")
    work(pid)
    views(pid, "After")
    heading("Errors name the step, and why")
    errors(pid)
    heading("All taken down again")
    take_down(pid)
    stop_container(port)
    IO.puts("  The VM before and after: #{before}; #{possessions()}.")
  end

  defp work(pid) do
    {mnt, pidns} = {"/proc/#{pid}/ns/mnt", "/proc/#{pid}/ns/pid"}
    call("a tmpfs", &Mount.mount/8, ["tmpfs", "/tmp", "tmpfs", 0, "size=1m", mnt, "", 0])
    call("its own procfs", &Mount.mount/8, ["proc", "/proc", "proc", 0, "", mnt, pidns, 0])
    call("a device node", &Mount.mount/8, ["/dev/null", "/tmp/null", "", @bind, "", mnt, "", 1])
  end

  defp errors(pid) do
    mnt = "/proc/#{pid}/ns/mnt"
    inside(pid, "ln -s /etc/passwd /tmp/link")
    call("nothing there", &Mount.mount/8, ["tmpfs", "/tmp/none", "tmpfs", 0, "", mnt, "", 0])

    call("a link as a trap", &Mount.mount/8, ["/dev/null", "/tmp/link", "", @bind, "", mnt, "", 1])

    call("not a network namespace", &Socket.open_in_netns/2, [mnt, 0])
  end

  defp take_down(pid) do
    mnt = "/proc/#{pid}/ns/mnt"
    for path <- ~w(/tmp/null /proc /tmp), do: call("gone", &Mount.umount/3, [path, 0, mnt])
  end

  # Prints both sides: the same commands run in the container and here.
  defp views(pid, title) do
    heading(title)
    row("", "in the container", "here")
    row("network links", links(pid), links("self"))
    row("file system of /tmp", inside(pid, @file_system), sh(@file_system))
    row("processes in /proc", inside(pid, @processes), sh(@processes))
    row("/tmp/null", inside(pid, @node), sh(@node))
  end

  # A socket stays in the namespace that it was opened in, so it lists the links there.
  defp links(pid) do
    {:ok, fd} = Socket.open_in_netns("/proc/#{pid}/ns/net", 0)
    # The socket uses a duplicate of the descriptor.
    opened = :socket.open(fd)
    :ok = Socket.close_fd(fd)
    {:ok, socket} = opened

    # RTM_GETLINK with NLM_F_REQUEST and NLM_F_DUMP, and a `struct ifinfomsg` of zeros.
    :ok =
      :socket.send(
        socket,
        <<32::native-32, 18::native-16, 0x301::native-16, 1::native-32, 0::160>>
      )

    names = receive_links(socket)
    :ok = :socket.close(socket)
    Enum.join(names, " ")
  end

  defp receive_links(socket) do
    {:ok, messages} = :socket.recv(socket, 65_536, 5_000)
    {names, more?} = parse(messages, [])
    if more?, do: names ++ receive_links(socket), else: names
  end

  # NLMSG_DONE is the last message.
  defp parse(<<_::32, 3::native-16, _::binary>>, names), do: {Enum.reverse(names), false}
  defp parse(<<>>, names), do: {Enum.reverse(names), true}

  defp parse(<<length::native-32, _::binary>> = messages, names) do
    <<message::binary-size(length), rest::binary>> = messages
    <<_headers::binary-size(32), attributes::binary>> = message
    parse(rest, [name(attributes) | names])
  end

  # IFLA_IFNAME, ended by a zero byte.
  defp name(<<length::native-16, 3::native-16, rest::binary>>),
    do: binary_part(rest, 0, length - 5)

  defp name(<<length::native-16, _::binary>> = attributes) do
    padded = div(length + 3, 4) * 4
    <<_::binary-size(padded), rest::binary>> = attributes
    name(rest)
  end

  # It prints its pid as in this /proc, and lives until its standard input closes.
  defp start_container do
    script = """
    ip link add demo0 type veth peer name demo1 2>/dev/null
    read -r pid _ < /proc/self/stat
    echo $pid
    read -r _
    """

    args = ~w(--mount --net --pid --fork --kill-child -- sh -c) ++ [script]
    how = [:binary, :exit_status, line: 80, args: args]
    port = Port.open({:spawn_executable, System.find_executable("unshare")}, how)

    receive do
      {^port, {:data, {:eol, pid}}} -> {port, pid}
    after
      10_000 -> raise "the container-like process does not start"
    end
  end

  defp stop_container(port) do
    Port.command(port, "\n")

    receive do
      {^port, {:exit_status, _}} -> :ok
    after
      10_000 -> raise "the container-like process does not end"
    end
  end

  # Listing the descriptors needs a descriptor itself.
  defp possessions do
    [descriptors, threads] = for name <- ~w(fd task), do: length(File.ls!("/proc/self/#{name}"))
    "#{descriptors - 1} descriptors, #{threads} threads"
  end

  defp inside(pid, command) do
    run(
      "nsenter",
      ~w(--target #{pid} --preserve-credentials --mount --net --pid sh -c) ++ [command]
    )
  end

  defp sh(command), do: run("sh", ["-c", command])

  defp run(program, args) do
    {output, 0} = System.cmd(program, args)
    String.trim(output)
  end

  defp call(what, function, args) do
    name = function |> Function.info(:name) |> elem(1)
    shown = Enum.map_join(args, ", ", &inspect/1)
    IO.puts("  #{name}(#{shown})\n    #{what}: #{inspect(apply(function, args))}")
  end

  defp heading(text), do: IO.puts("\n#{text}")

  defp row(what, inside, here) do
    [what, inside, here]
    |> Enum.map_join(&String.pad_trailing(to_string(&1), 26))
    |> then(&IO.puts("  " <> String.trim_trailing(&1)))
  end
end

Demo.show()
