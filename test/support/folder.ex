defmodule LinxNative.Test.Folder do
  @moduledoc """
  An empty folder that is removed when the test ends.
  """

  alias Linx.Mount.Native, as: Mount
  alias LinxNative.Test.{Container, MountInfo}

  @detach 2

  @doc """
  Makes a folder and returns its path.
  """
  def make! do
    path = Path.join(System.tmp_dir!(), "#{System.unique_integer([:positive])}")
    File.mkdir!(path)
    # Independent of the umask, because tests read it as other users.
    File.chmod!(path, 0o755)
    ExUnit.Callbacks.on_exit(fn -> remove!(path) end)
    path
  end

  @doc """
  Removes a folder, but never through a mount, because mounted files are not the test's. Raises if a mount was left in it.
  """
  def remove!(path) do
    left = for %{mount_point: point} <- MountInfo.list(), below?(point, path), do: point
    for point <- Enum.reverse(left), do: Mount.umount(point, @detach, "")
    if left != [], do: raise("left mounted: #{left |> Enum.uniq() |> Enum.join(", ")}")
    File.rm_rf!(path)
    :ok
  end

  @doc """
  Mounts a small tmpfs at a path, in a container, or in the VM's namespace until the test ends.
  """
  def tmpfs!(path, container \\ nil)

  def tmpfs!(path, nil) do
    :ok = Mount.mount("linx", path, "tmpfs", 0, "size=1m", "", "", 0)
    ExUnit.Callbacks.on_exit(fn -> :ok = Mount.umount(path, 0, "") end)
  end

  def tmpfs!(path, container) do
    ns = Container.ns_path(container, :mnt)
    :ok = Mount.mount("linx", path, "tmpfs", 0, "size=1m", ns, "", 0)
  end

  defp below?(point, path), do: point == path or String.starts_with?(point, path <> "/")
end
