defmodule LinxNative.Test.Folder do
  @moduledoc """
  An empty folder that goes when the test does.
  """

  alias Linx.Mount.Native, as: Mount
  alias LinxNative.Test.{Container, MountInfo}

  @detach 2

  @doc """
  Makes one and returns its path.
  """
  def make! do
    path = Path.join(System.tmp_dir!(), "#{System.unique_integer([:positive])}")
    File.mkdir!(path)
    # Whatever the umask is: tests look into it as other users.
    File.chmod!(path, 0o755)
    ExUnit.Callbacks.on_exit(fn -> remove!(path) end)
    path
  end

  @doc """
  Removes one: never through a mount, as what is bound there is not ours. Raises if something was left mounted in it.
  """
  def remove!(path) do
    left = for %{mount_point: point} <- MountInfo.list(), below?(point, path), do: point
    for point <- Enum.reverse(left), do: Mount.umount(point, @detach, "")
    if left != [], do: raise("left mounted: #{left |> Enum.uniq() |> Enum.join(", ")}")
    File.rm_rf!(path)
    :ok
  end

  @doc """
  Mounts a small tmpfs at a path, in a container or else here, where it goes when the test does.
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
