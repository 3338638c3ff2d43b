defmodule LinxNative.Test.TaskLimit do
  @moduledoc """
  Limits the threads and processes that a VM can start, by a cgroup's `pids.max`.

  Unlike a seccomp filter, the limit can begin after the VM has started, when the VM itself needs no more threads.
  """

  alias LinxNative.Test.{Await, Vm}

  @v1 "/sys/fs/cgroup/pids"
  @v2 "/sys/fs/cgroup"

  @doc """
  Limits `vm` to `further` more threads and processes from now on. Can be called again.
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

  # The cgroup can be removed when it is empty, which the kernel notices with a delay.
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
