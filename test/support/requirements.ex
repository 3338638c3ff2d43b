defmodule LinxNative.Test.Requirements do
  @moduledoc """
  What the suite needs of the machine. Nothing is skipped for want of it.
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
  Raises with a list of what lacks and what helps.
  """
  def check! do
    missing = Enum.filter([capabilities(), programs(), seccomp()], & &1)
    if missing != [], do: Mix.raise("The tests cannot run here.\n\n" <> Enum.join(missing, "\n"))
    :ok
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
