defmodule LinxNative.Bench.Cpus do
  @moduledoc """
  Keeps the VM on one CPU.

  On several CPUs, a call that makes a thread spends most of its time waking another CPU. How long that takes depends on whether that
  CPU is halted, polling or busy, which stays the same for seconds and then changes. On one CPU there is none to wake.
  """

  @doc """
  Calls `fun` with the VM, and the programs that it starts meanwhile, on one CPU and one scheduler.
  """
  def on_one(fun) do
    allowed = allowed()
    online = :erlang.system_info(:schedulers_online)

    try do
      bind!(last(allowed))
      # Those for dirty calls follow, there and back.
      :erlang.system_flag(:schedulers_online, 1)
      fun.()
    after
      :erlang.system_flag(:schedulers_online, online)
      bind!(allowed)
    end
  end

  @doc """
  Returns the CPUs that the VM may run on, for example `0-3`.
  """
  def allowed do
    [_, list] = Regex.run(~r/^Cpus_allowed_list:\s*(\S+)/m, File.read!("/proc/self/status"))
    list
  end

  defp last(list), do: list |> String.split([",", "-"]) |> List.last()

  # A program inherits from the process that starts it for the VM, which is the parent of this shell.
  defp bind!(list) do
    bind = "taskset -a -p -c #{list} #{System.pid()} && taskset -p -c #{list} $PPID"
    {_, 0} = System.cmd("sh", ["-c", bind], stderr_to_stdout: true)
  end
end
