defmodule LinxNative.Test.MountInfo do
  @moduledoc """
  The mounts that a process sees: `/proc/PID/mountinfo`, see proc_pid_mountinfo(5).
  """

  @doc """
  Returns all mounts, oldest first: maps with `id`, `parent`, `device`, `root`, `mount_point`, `options`,
  `propagation` (`[]`: private), `fstype`, `source`, `super_options`.
  """
  def list(pid \\ "self") do
    "/proc/#{pid}/mountinfo"
    |> File.read!()
    |> String.split("\n", trim: true)
    |> Enum.map(&parse/1)
  end

  @doc """
  Returns the topmost mount at `path`, or `nil`.
  """
  def at(pid \\ "self", path) do
    pid |> list() |> Enum.filter(&(&1.mount_point == path)) |> List.last()
  end

  defp parse(line) do
    [mount, file_system] = String.split(line, " - ", parts: 2)
    [id, parent, device, root, mount_point, options | propagation] = String.split(mount, " ")
    [fstype, source, super_options] = String.split(file_system, " ", parts: 3)

    %{
      id: String.to_integer(id),
      parent: String.to_integer(parent),
      device: device,
      root: unescape(root),
      mount_point: unescape(mount_point),
      options: String.split(options, ","),
      propagation: propagation,
      fstype: fstype,
      source: unescape(source),
      super_options: String.split(super_options, ",")
    }
  end

  # The kernel writes space, tab, newline and backslash as three octal digits.
  defp unescape(text) do
    Regex.replace(~r/\\([0-7]{3})/, text, fn _, digits ->
      <<String.to_integer(digits, 8)>>
    end)
  end
end
