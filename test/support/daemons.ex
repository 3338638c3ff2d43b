defmodule LinxNative.Test.Daemons do
  @moduledoc """
  Mounts of file systems that are a connection to a process: FUSE and autofs. Nobody answers there. To be used in a peer.
  """

  @mount Linx.Mount.Native
  @detach 2

  @doc """
  Mounts one, of the type `"fuse"` or `"autofs"`, as seen from a PID namespace, and unmounts it again. Returns the answers.

    * `fifo`: a pipe for autofs to write to.
  """
  def round(type, fifo, target, ns, pidns) do
    path = if type == "fuse", do: "/dev/fuse", else: fifo
    {:ok, device} = :file.open(path, [:read, :write, :raw, :binary])
    <<fd::native-32>> = :prim_file.get_handle(device)
    mounted = @mount.mount(type, target, type, 0, options(type, fd), ns, pidns, 0)
    unmounted = mounted == :ok && @mount.umount(target, @detach, ns)
    :ok = :file.close(device)
    {mounted, unmounted}
  end

  defp options("fuse", fd), do: "fd=#{fd},rootmode=40000,user_id=0,group_id=0"
  defp options("autofs", fd), do: "fd=#{fd},minproto=5,maxproto=5"
end
