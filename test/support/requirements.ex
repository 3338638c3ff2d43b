defmodule LinxNative.Test.Requirements do
  @moduledoc """
  The requirements of the suite.

  If one is missing, the run fails. There is one exception: in a user namespace whose root is another user, the tests with
  `@tag :machine_root` are left out. They need another user or its ids, a cgroup, FUSE, a block device's file system, or a mount that such a namespace keeps locked.
  """

  @capabilities %{
    "CAP_CHOWN" => 0,
    "CAP_DAC_OVERRIDE" => 1,
    "CAP_KILL" => 5,
    "CAP_SETGID" => 6,
    "CAP_SETUID" => 7,
    "CAP_NET_ADMIN" => 12,
    "CAP_SYS_CHROOT" => 18,
    "CAP_SYS_PTRACE" => 19,
    "CAP_SYS_ADMIN" => 21,
    "CAP_MKNOD" => 27
  }

  @programs ~w(sh mount umount unshare nsenter setpriv prlimit ip strace)

  @doc """
  Raises with a list of the missing requirements and their remedies.
  """
  def check! do
    missing = Enum.filter([capabilities(), programs(), seccomp()], & &1)
    if missing != [], do: Mix.raise("The tests cannot run here.\n\n" <> Enum.join(missing, "\n"))
    :ok
  end

  @doc """
  Returns the tags of tests that cannot work here, and prints them.
  """
  def left_out do
    if String.split(File.read!("/proc/self/uid_map")) == ~w(0 0 4294967295) do
      []
    else
      IO.puts(
        "In a user namespace, so without the tests tagged :machine_root: they need another user or its ids, " <>
          "a cgroup, FUSE, a block device's file system, or mounts that are locked here."
      )

      [:machine_root]
    end
  end

  defp capabilities do
    {held, _} = "CapEff" |> status() |> Integer.parse(16)

    missing =
      for {name, bit} <- @capabilities, Bitwise.band(held, Bitwise.bsl(1, bit)) == 0, do: name

    if missing != [] do
      """
      They need #{Enum.join(missing, ", ")}. Run them as root:
          sudo -E env "PATH=$PATH" mix test
      or in a container that may do what root may:
          docker run --privileged ...
      """
    end
  end

  defp programs do
    missing = Enum.reject(@programs, &System.find_executable/1)

    if missing != [] do
      """
      They need #{Enum.join(missing, ", ")}:
          apt-get install util-linux iproute2 strace
      """
    end
  end

  defp seccomp do
    if status("Seccomp") == "", do: "They need a kernel with CONFIG_SECCOMP_FILTER.\n"
  end

  defp status(field) do
    case Regex.run(~r/^#{field}:\s*(.*)$/m, File.read!("/proc/self/status")) do
      [_, value] -> value
      nil -> ""
    end
  end
end
