defmodule LinxNative.Test.Surroundings do
  @moduledoc """
  The files outside of a test's folder, which a test must not change. They are compared by name and type:

    * `/dev`, without other file systems that are mounted in it;
    * `/`, the home directory of the tests' VMs, and the working directory, without their subfolders. In the latter hidden files are
      not compared, which editors make;
    * the run's own temporary folder, which every program of the run uses;
    * `/tmp`, `/run` and `/dev/shm`, if `script/isolated` runs the tests. Otherwise other programs write there too.
  """

  alias LinxNative.Test.{Await, MountInfo}

  @timeout div(Await.patience(), 5)

  # The name of the file systems that `script/isolated` mounts.
  @isolated "linx_native"

  @doc """
  Makes the temporary folder of the run, and sets `TMPDIR`.
  """
  def make_temporary_folder! do
    path = Path.join(System.tmp_dir!(), "linx_native_#{System.pid()}")
    File.mkdir!(path)
    # Independent of the umask, because tests run programs as other users.
    File.chmod!(path, 0o755)
    System.put_env("TMPDIR", path)
  end

  @doc """
  Removes the temporary folder of the run. Makes the run fail if anything differs from `before`, also if a test without
  `LinxNative.Test.Case` has changed it. For `ExUnit.after_suite/1`.
  """
  def finish!(before) do
    left = changes(before)
    path = System.tmp_dir!()
    for name <- File.ls!(path), of_mix?(name), do: File.rm_rf!(Path.join(path, name))

    if left != [] do
      IO.puts(:stderr, Enum.join(["The tests left files behind:" | left], "\n  "))
      # As `mix test` does, because nothing else can change the result after the suite.
      System.at_exit(fn _ -> exit({:shutdown, 3}) end)
    end

    File.rmdir(path)
    :ok
  end

  @doc """
  Reports whether only this run uses a folder.
  """
  def isolated?(path), do: match?(%{source: @isolated}, MountInfo.at(path))

  @doc """
  Returns the current state.
  """
  def snapshot do
    shared = for path <- ["/tmp", "/run", "/dev/shm"], isolated?(path), do: path

    for path <- ["/dev", System.tmp_dir!() | shared], entry <- below(path), into: names() do
      entry
    end
  end

  @doc """
  Returns the differences from `before`, one line each. Waits up to `timeout` ms until there are none.
  """
  def changes(before, timeout \\ @timeout) do
    if Await.until(timeout, fn -> snapshot() == before end) do
      []
    else
      now = snapshot()

      for({path, type} <- MapSet.difference(now, before), do: "files #{path}: new: #{type}") ++
        for {path, type} <- MapSet.difference(before, now), do: "files #{path}: gone: #{type}"
    end
  end

  defp names do
    working = for name <- File.ls!("."), not String.starts_with?(name, "."), do: Path.expand(name)
    home = for name <- File.ls!("/"), do: "/" <> name
    for path <- working ++ home, into: MapSet.new(), do: {path, :name}
  end

  # The folder may be removed meanwhile.
  defp below(path) do
    with {:ok, %{type: :directory, major_device: device}} <- File.lstat(path),
         {:ok, names} <- File.ls(path) do
      for name <- names,
          not of_mix?(name),
          entry <- entry(Path.join(path, name), device),
          do: entry
    else
      _ -> []
    end
  end

  @doc """
  Reports whether a file in the temporary folder is a lock of Mix, which leaves its locks there since Elixir 1.18.
  """
  def of_mix?(name), do: String.starts_with?(name, ["mix_lock_", "mix_pubsub_"])

  defp entry(path, device) do
    case File.lstat(path) do
      {:ok, %{type: :directory, major_device: ^device}} -> [{path, :directory} | below(path)]
      {:ok, %{type: :directory}} -> []
      {:ok, %{type: type}} -> [{path, type}]
      {:error, _} -> []
    end
  end
end
