# Builds a container from namespaces and mounts: an overlay as its root, a /proc, some devices, and a directory of the host,
# read-only and with mapped ids. Adds a second directory while it runs. Run it as root, on Linux 6.3 or newer:
#
#     mix run examples/container.exs
#
# The container is an init in mount, PID and user namespaces of its own. Its ids from 0 on are the ids from 100000 on of the host.

defmodule Container do
  alias LinxNative.Mount

  @first_id 100_000
  @ids 65_536
  # The folders of the host that its image contains.
  @image ~w(/bin /lib /lib64 /usr)

  def run do
    folder = Path.join(System.tmp_dir!(), "linx_native_container_#{System.pid()}")
    File.mkdir!(folder)
    # Everything is on a file system of its own, which this program removes at the end.
    :ok = Mount.mount("tmpfs", folder, options: [mode: 755], propagation: :private)

    try do
      prepare(folder)
      {init, inside} = start()
      build(folder, inside)
      show_from_inside(inside)
      show_from_here(folder, inside)
      add(folder, inside)
      stop(init)
    after
      :ok = Mount.umount(folder, detach: true)
      File.rmdir!(folder)
    end

    IO.puts("All of it is gone: #{not File.exists?(folder)}")
  end

  defp prepare(folder) do
    for name <- ~w(image upper work root data data/deep more),
        do: File.mkdir!("#{folder}/#{name}")

    for name <- ~w(proc dev data), do: File.mkdir!("#{folder}/image/#{name}")
    # Changes of the container are stored here, and belong to its root.
    for name <- ~w(upper work), do: File.chown!("#{folder}/#{name}", @first_id)
    :ok = Mount.mount("tmpfs", folder <> "/data/deep", options: [mode: 755])
    for path <- ~w(data/file data/deep/file more/file), do: File.write!("#{folder}/#{path}", path)

    # Directories to mount on, and the links that the host has instead of some of them.
    for path <- @image do
      case File.read_link(path) do
        {:ok, target} -> File.ln_s!(target, "#{folder}/image#{path}")
        {:error, _} -> if File.dir?(path), do: File.mkdir!("#{folder}/image#{path}")
      end
    end
  end

  # The init of the container. It only waits for a line.
  defp start do
    args = ~w(--mount --pid --user --fork --kill-child -- sh -c) ++ ["echo ready; read end"]
    options = [:binary, :exit_status, line: 4096, args: args]
    port = Port.open({:spawn_executable, System.find_executable("unshare")}, options)
    {:os_pid, unshare} = Port.info(port, :os_pid)

    receive do
      {^port, {:data, {:eol, "ready"}}} -> :ok
    end

    [init] = String.split(File.read!("/proc/#{unshare}/task/#{unshare}/children"))

    for file <- ~w(uid_map gid_map),
        do: File.write!("/proc/#{init}/#{file}", "0 #{@first_id} #{@ids}")

    {port, {:pid, String.to_integer(init)}}
  end

  defp build(folder, inside) do
    root = folder <> "/root"

    # An overlay has no ids of its own, so its image is mapped.
    image = folder <> "/image"
    ok!(Mount.bind(image, image, id_map: inside))
    layers = [lowerdir: [image], upperdir: folder <> "/upper", workdir: folder <> "/work"]
    :ok = Mount.mount("overlay", root, in: inside, options: layers)

    for path <- @image, File.dir?(path), match?({:error, _}, File.read_link(path)) do
      :ok = Mount.bind(path, root <> path, in: inside, attributes: [:ro, :nodev])
    end

    proc = [
      in: inside,
      pid_namespace: inside,
      create: :directory,
      attributes: [:nosuid, :nodev, :noexec]
    ]

    :ok = Mount.mount("proc", root <> "/proc", proc)

    :ok =
      Mount.mount("tmpfs", root <> "/dev",
        in: inside,
        create: :directory,
        options: [mode: 755],
        attributes: [:nosuid, :noexec]
      )

    for name <- ~w(null zero random urandom) do
      :ok = Mount.bind("/dev/" <> name, root <> "/dev/" <> name, in: inside, create: :file)
    end

    data = [
      in: inside,
      create: :directory,
      recursive: true,
      attributes: [:ro, :nosuid, :nodev],
      id_map: inside
    ]

    :ok = Mount.bind(folder <> "/data", root <> "/data", data)
    :ok = Mount.pivot_root(root, root, in: inside)
    :ok = Mount.umount("/", in: inside, detach: true)
  end

  defp show_from_inside(inside) do
    IO.puts("Inside:")
    say(inside, "echo / has $(ls /)")
    say(inside, "echo I am $(id -u), process $$ of $(echo /proc/[0-9]*)")
    say(inside, "echo /dev has $(ls /dev)")
    say(inside, "stat -c '%n belongs to %u' /data/file /data/deep/file")
    say(inside, "touch /data/new /data/deep/new")
    say(inside, "echo made inside > /made && stat -c '%n belongs to %u' /made")
  end

  defp show_from_here(folder, {:pid, pid}) do
    IO.puts("From here:")
    %{uid: owner} = File.stat!(folder <> "/upper/made")

    IO.puts("  #{String.trim(File.read!(folder <> "/upper/made"))}, and belongs to #{owner}")

    for line <- File.stream!("/proc/#{pid}/mountinfo"),
        [_, _, _, _, path, options | _] = String.split(line),
        path =~ ~r/^\/(data.*)?$/,
        do: IO.puts("  #{path} #{options}")
  end

  defp add(folder, inside) do
    IO.puts("A directory more, and less:")
    :ok = Mount.bind(folder <> "/more", "/more", in: inside, create: :directory, id_map: inside)
    say(inside, "cat /more/file && echo")
    :ok = Mount.umount("/more", in: inside)
    say(inside, "echo now /more has $(ls /more | wc -l) files")

    # The error of a wrong option says why.
    {:error, error} = Mount.mount("tmpfs", "/more", in: inside, options: [sise: "1m"])
    IO.puts("  " <> Exception.message(error))
  end

  defp stop(init) do
    Port.command(init, "end\n")

    receive do
      {^init, {:exit_status, 0}} -> :ok
    end
  end

  # The message of an error says what is needed.
  defp ok!(:ok), do: :ok
  defp ok!({:error, error}), do: raise(error)

  # Prints the output of a command that the root of the container runs.
  defp say({:pid, pid}, command) do
    namespaces = ~w(--user --mount --pid --setuid 0 --setgid 0 -- sh -c)
    args = ["--target", "#{pid}"] ++ namespaces ++ [command]
    {output, _status} = System.cmd("nsenter", args, stderr_to_stdout: true)
    for line <- String.split(output, "\n", trim: true), do: IO.puts("  " <> line)
  end
end

Container.run()
