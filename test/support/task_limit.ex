defmodule LinxNative.Test.TaskLimit do
  @moduledoc """
  Lets a VM start no more than so many further threads and processes: a cgroup's `pids.max`.

  Unlike a seccomp filter this can begin once the VM is up, when it no longer needs any itself.
  """

  alias LinxNative.Test.{Await, Vm}

  @v1 "/sys/fs/cgroup/pids"
  @v2 "/sys/fs/cgroup"

  @doc """
  From now on `vm` can start `further` threads and processes at a time. Can be called again.
  """
  def set!(%Vm{os_pid: os_pid} = vm, further) do
    group = Path.join(hierarchy(), "linx_native_test_#{os_pid}")

    unless File.dir?(group) do
      File.mkdir!(group)
      ExUnit.Callbacks.on_exit(fn -> remove(group, vm) end)
      File.write!(Path.join(group, "cgroup.procs"), os_pid)
    end

    current = group |> Path.join("pids.current") |> File.read!() |> String.trim()
    File.write!(Path.join(group, "pids.max"), "#{String.to_integer(current) + further}")
  end

  # It can go once it is empty, and the kernel takes its time to notice.
  defp remove(group, vm) do
    Vm.stop(vm)
    Await.until(fn -> File.rmdir(group) == :ok end) || raise "cannot remove #{group}"
  end

  defp hierarchy do
    if File.dir?(@v1) do
      @v1
    else
      File.write!(Path.join(@v2, "cgroup.subtree_control"), "+pids")
      @v2
    end
  end
end
