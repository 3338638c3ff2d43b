defmodule LinxNative.Test.Container do
  @moduledoc """
  A process in namespaces of its own, like a container that does nothing.

  It ends when the test ends, with everything in its PID namespace.
  """

  alias LinxNative.Test.{Harness, MountInfo, Program}

  @enforce_keys [:pid, :namespaces, :program]
  defstruct @enforce_keys

  @files %{net: "net", mount: "mnt", pid: "pid", user: "user"}

  @doc """
  Starts a container with some of the namespaces `:net`, `:mount`, `:pid`, `:user`.

  With `:mount`, all its mounts are private. With `:user`, its root is the user of the VM.
  """
  def start(namespaces) do
    program = Program.start!(Harness.path(), ["container" | Enum.map(namespaces, &"--#{&1}")])
    "ready " <> pid = Program.line!(program)
    %__MODULE__{pid: String.to_integer(pid), namespaces: namespaces, program: program}
  end

  @doc """
  Ends a container, and waits until it has ended.
  """
  def stop(%__MODULE__{program: program}) do
    Program.dismiss(program)
    :ok
  end

  @doc """
  Returns the file of one of its namespaces: `:net`, `:mnt` (or `:mount`), `:pid`, `:user`, ...
  """
  def ns_path(%__MODULE__{pid: pid}, namespace) do
    "/proc/#{pid}/ns/#{Map.get(@files, namespace, namespace)}"
  end

  @doc """
  Returns the words to put before a command, so that it runs in the container.
  """
  def nsenter(%__MODULE__{pid: pid, namespaces: namespaces}) do
    # The credentials do not change, because they are already those of its root. A user namespace that
    # was made without privileges forbids setting groups.
    ["nsenter", "--target", "#{pid}", "--preserve-credentials"] ++
      Enum.map(namespaces, &"--#{&1}") ++ ["--"]
  end

  @doc """
  Runs a shell command in the container and returns its output.
  """
  def sh!(%__MODULE__{} = container, command) do
    [program | args] = nsenter(container) ++ ["sh", "-c", command]

    case System.cmd(program, args, stderr_to_stdout: true) do
      {output, 0} -> output
      {output, status} -> raise "#{command}: exit status #{status}\n#{output}"
    end
  end

  @doc """
  Sets how many mount namespaces may belong to its user namespace. Makes no process in its PID namespace.
  """
  def limit_mount_namespaces(%__MODULE__{pid: pid}, count) do
    write = "echo #{count} > /proc/sys/user/max_mnt_namespaces"
    args = ["--target", "#{pid}", "--user", "--preserve-credentials", "sh", "-c", write]
    {_, 0} = System.cmd("nsenter", args)
    :ok
  end

  @doc """
  Returns its mounts, as `LinxNative.Test.MountInfo.list/1` does.
  """
  def mountinfo(%__MODULE__{pid: pid}), do: MountInfo.list(pid)

  @doc """
  Returns the topmost mount at `path`, or `nil`.
  """
  def mount_at(%__MODULE__{pid: pid}, path), do: MountInfo.at(pid, path)
end
