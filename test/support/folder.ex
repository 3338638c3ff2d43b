defmodule LinxNative.Test.Folder do
  @moduledoc """
  An empty folder that goes when the test does.
  """

  alias Linx.Mount.Native, as: Mount
  alias LinxNative.Test.Container

  @doc """
  Makes one and returns its path.
  """
  def make! do
    name = "linx_native_#{System.pid()}_#{System.unique_integer([:positive])}"
    path = Path.join(System.tmp_dir!(), name)
    File.mkdir!(path)
    # Fails if a mount was left in it.
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(path) end)
    path
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
end
