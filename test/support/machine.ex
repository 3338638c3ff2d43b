defmodule LinxNative.Test.Machine do
  @moduledoc """
  The state of the machine that a test must not change:

    * `descriptors`: the VM's descriptors, and whether a program that the VM starts would inherit them;
    * `threads`: the VM's threads, each with its namespaces, root, working directory and blocked signals;
    * `mounts`: the mounts in the VM's mount namespace;
    * `netns`: the names of `ip netns` that tests make;
    * `processes`: the VM's children and their children, zombies included.

  It reads only `/proc`, so it also works in another VM with few resources or rights.
  """

  alias LinxNative.Test.{Await, Surroundings}

  # Long enough for things that end by themselves, and short enough to report the others soon.
  @timeout div(Await.patience(), 5)
  @netns "/run/netns"
  @namespaces ~w(cgroup ipc mnt net pid pid_for_children user uts)
  @close_on_exec 0o2000000

  @doc """
  Reports whether the C library of this VM is musl.
  """
  def musl?, do: to_string(:erlang.system_info(:system_architecture)) =~ "musl"

  @doc """
  Returns the current state, as soon as it is stable.
  """
  def snapshot, do: steady(read(), 100)

  # Stable means twice the same, without short-lived things like the descriptor of a file being read.
  defp steady(last, tries) do
    now = read()
    if now == last or tries == 0, do: now, else: steady(now, tries - 1)
  end

  @doc """
  Returns the differences from `before`, one line each; `[]` if there are none.

  Waits up to `timeout` ms until there are none, because threads and programs need time to end.
  """
  def changes(before, timeout \\ @timeout) do
    if Await.until(timeout, fn -> read() == before end), do: [], else: compare(before, read())
  end

  @doc """
  Fails the test if anything differs from `before`.
  """
  def assert_unchanged!(before, timeout \\ @timeout), do: refute_any!(changes(before, timeout))

  @doc """
  Fails the test if there are any lines.
  """
  def refute_any!([]), do: :ok

  def refute_any!(lines) do
    ExUnit.Assertions.flunk("left behind:\n  " <> Enum.join(lines, "\n  "))
  end

  @doc """
  Returns the VM's descriptors: a map from their number to `{target, :close_on_exec | :inherited}`.
  """
  def descriptors do
    # The listing itself needs a descriptor, which is closed before its target is read.
    for name <- list("/proc/self/fd"),
        {:ok, target} <- [File.read_link("/proc/self/fd/#{name}")],
        {:ok, info} <- [File.read("/proc/self/fdinfo/#{name}")],
        into: %{},
        do: {String.to_integer(name), {target, inheritance(info)}}
  end

  @doc """
  Returns the VM's threads: a map from their id to the namespaces, folders and signals that a system call could have changed.
  """
  def threads do
    for name <- list("/proc/self/task"),
        path = "/proc/self/task/#{name}",
        {:ok, status} <- [File.read(path <> "/status")],
        into: %{},
        do: {String.to_integer(name), thread(path, status)}
  end

  @doc """
  Returns the VM's children and their children: a map from their pid to their name, with ` (zombie)` for a process that has ended.
  """
  def processes do
    everyone =
      for name <- list("/proc"),
          name =~ ~r/^\d+$/,
          {:ok, status} <- [File.read("/proc/#{name}/status")],
          do: {name, field(status, "PPid"), field(status, "Name"), field(status, "State")}

    descendants(everyone, [link("/proc/self")])
  end

  defp read do
    %{
      descriptors: descriptors(),
      threads: threads(),
      mounts: mounts(),
      netns: for(name <- list(@netns), own_netns?(name), into: %{}, do: {name, :present}),
      processes: processes()
    }
  end

  defp inheritance(info) do
    [_, flags] = Regex.run(~r/^flags:\s*([0-7]+)$/m, info)
    flag = Bitwise.band(String.to_integer(flags, 8), @close_on_exec)
    if flag == 0, do: :inherited, else: :close_on_exec
  end

  defp thread(path, status) do
    links = Map.new(@namespaces, &{&1, link("#{path}/ns/#{&1}")})

    Map.merge(links, %{
      "name" => field(status, "Name"),
      "blocked signals" => field(status, "SigBlk"),
      "root" => link(path <> "/root"),
      "working directory" => link(path <> "/cwd")
    })
  end

  defp mounts do
    for line <- String.split(File.read!("/proc/self/mountinfo"), "\n", trim: true),
        [id, rest] = String.split(line, " ", parts: 2),
        not others_netns?(rest),
        into: %{},
        do: {String.to_integer(id), rest}
  end

  # Another program may make names of namespaces at any time, with a mount for each.
  defp others_netns?(mount) do
    case String.split(mount, " ") do
      [_parent, _device, _root, @netns <> "/" <> name | _] -> not own_netns?(name)
      _ -> false
    end
  end

  defp own_netns?(name), do: name =~ ~r/^linx_native_/ or Surroundings.isolated?("/run")

  defp descendants(_, []), do: %{}

  defp descendants(everyone, parents) do
    children = for {_, parent, _, _} = child <- everyone, parent in parents, do: child

    children
    |> Map.new(fn {pid, _, name, state} ->
      {String.to_integer(pid), if(state =~ ~r/^Z/, do: name <> " (zombie)", else: name)}
    end)
    |> Map.merge(descendants(everyone, for({pid, _, _, _} <- children, do: pid)))
  end

  defp list(path) do
    case File.ls(path) do
      {:ok, names} -> names
      {:error, _} -> []
    end
  end

  defp link(path) do
    case File.read_link(path) do
      {:ok, target} -> target
      {:error, reason} -> inspect(reason)
    end
  end

  defp field(status, name) do
    case String.split("\n" <> status, "\n#{name}:", parts: 2) do
      [_, rest] -> rest |> String.split("\n", parts: 2) |> hd() |> String.trim()
      [_] -> ""
    end
  end

  defp compare(before, now) do
    for {section, old} <- before, new = Map.fetch!(now, section), line <- differences(old, new) do
      "#{section} #{line}"
    end
  end

  defp differences(old, new) do
    for key <- Enum.sort(Enum.uniq(Map.keys(old) ++ Map.keys(new))),
        line <- difference(Map.fetch(old, key), Map.fetch(new, key)),
        do: "#{key}: #{line}"
  end

  defp difference(same, same), do: []
  defp difference(:error, {:ok, new}), do: ["new: #{inspect(new)}"]
  defp difference({:ok, old}, :error), do: ["gone: #{inspect(old)}"]
  defp difference({:ok, %{} = old}, {:ok, %{} = new}), do: differences(old, new)
  defp difference({:ok, old}, {:ok, new}), do: ["#{inspect(old)} -> #{inspect(new)}"]
end
