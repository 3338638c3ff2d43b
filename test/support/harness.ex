defmodule LinxNative.Test.Harness do
  @moduledoc """
  The program of `test/native/harness`.

  `LINX_TEST_HARNESS` names a prebuilt one, for machines without a Rust compiler.
  """

  alias LinxNative.Test.Program

  @root Path.expand("../..", __DIR__)

  @doc """
  Returns the path of the program.
  """
  def path do
    System.get_env("LINX_TEST_HARNESS") ||
      Path.join([target_dir(), "release", "linx_harness"])
  end

  @doc """
  Builds the program, unless a prebuilt one is given.
  """
  def build! do
    unless System.get_env("LINX_TEST_HARNESS") do
      cargo!("test/native", ~w(--package linx_harness))
    end

    File.exists?(path()) || raise "there is no #{path()}"
    :ok
  end

  @doc """
  Builds something in one of the Cargo workspaces, given by its folder.
  """
  def cargo!(workspace, what) do
    args = ~w(build --quiet --release --locked --target-dir) ++ [target_dir() | what]
    options = [cd: Path.join(@root, workspace), stderr_to_stdout: true]

    with {output, status} when status != 0 <- System.cmd("cargo", args, options) do
      raise "cargo #{Enum.join(args, " ")}: exit status #{status}\n#{output}"
    end
  end

  @doc """
  Returns the target directory of cargo.
  """
  # Cargo would resolve a relative path from the folder of the workspace.
  def target_dir, do: "CARGO_TARGET_DIR" |> System.get_env("target") |> Path.expand(@root)

  @doc """
  Runs a subcommand and returns `{output, exit_status}`.
  """
  def run(subcommand, args) do
    System.cmd(path(), [subcommand | args], stderr_to_stdout: true)
  end

  @doc """
  Reports whether the kernel supports something, by trying it. Tests use this instead of the version of the kernel.

    * `"procfs-of-a-pid-namespace"`: a procfs is configured with the option `pidns`;
    * `"buffers-beyond-the-limit"`: a socket may have larger buffers than `net.core.rmem_max`;
    * `"id-map-of-a-tmpfs"`: the ids of a tmpfs are mapped;
    * `"namespace-of-a-pidfd"`: a pidfd is asked for the PID namespace of its process.
  """
  def can?(question) do
    case run("can", [question]) do
      {"yes\n", 0} -> true
      {"no\n", 0} -> false
      {output, _} -> raise output
    end
  end

  @doc """
  Returns the words to put before a command to make system calls of it fail, for `Vm.start(wrap: ...)`.

      seccomp("fsopen=ENOSYS,setns-pid=EPERM")
  """
  def seccomp(rules), do: [path(), "seccomp", rules, "--"]

  @doc """
  Returns the words to put before a command to give it a pidfd of the process `pid` as descriptor `fd`, for `Vm.start(wrap: ...)`.
  """
  def pidfd(pid, fd), do: [path(), "pidfd", "#{pid}", "#{fd}", "--"]

  @doc """
  Returns the number of calls to race: `LINX_TEST_RACE_ROUNDS`, or 20000. There are some 50 swaps for each call, so a look-up that
  can be redirected is, within a few dozen calls.
  """
  def race_rounds, do: String.to_integer(System.get_env("LINX_TEST_RACE_ROUNDS", "20000"))

  @doc """
  Swaps two names until `swaps/1` is called or the test ends.

  `wrap` is a command to run it under, for example the words of `Container.nsenter/1`.
  """
  def race(a, b, wrap \\ []) do
    [command | args] = wrap ++ [path(), "race", a, b]
    program = Program.start!(command, args)
    "ready" = Program.line!(program)
    program
  end

  @doc """
  Ends a race and returns the number of swaps. The names are as they were before.
  """
  def swaps(race) do
    {["swaps " <> count], 0} = Program.dismiss(race)
    String.to_integer(count)
  end

  @doc """
  Returns what the kernel knows about a socket, by default of this VM: a map with `netns_dev`,
  `netns_ino`, `cookie` (since Linux 5.14), `domain`, `type`, `protocol` and, for netlink, `nl_pid`, `nl_groups`.
  """
  def socket(fd, os_pid \\ System.pid()) do
    case run("socket", [to_string(os_pid), to_string(fd)]) do
      {output, 0} ->
        for line <- String.split(output, "\n", trim: true), into: %{} do
          [key, value] = String.split(line)
          {String.to_atom(key), String.to_integer(value)}
        end

      {output, _} ->
        raise output
    end
  end
end
