defmodule LinxNative.Test.Strace do
  @moduledoc """
  The system calls that a VM makes, as strace(1) writes them.
  """

  alias LinxNative.Test.{Folder, Program, Vm}

  @doc """
  Calls a function in `vm` and returns the system calls of all its threads meanwhile, and of processes they make; a line
  each, without the number of the thread. Others than `calls` are left out,
  and those of them that the machine does not have, as aarch64 has no `open`.
  """
  def calls(%Vm{os_pid: os_pid} = vm, calls, {module, function, args}) do
    log = Folder.make!() <> "/strace"

    # It ends with a signal, not with its input.
    script = """
    strace -f -qq -e trace=#{Enum.map_join(calls, ",", &("?" <> &1))} -e signal=none -o #{log} -p #{os_pid} &
    strace=$!
    until grep -q "^TracerPid:\t$strace$" $(printf '/proc/#{os_pid}/task/%s/status ' $(ls /proc/#{os_pid}/task)) 2>/dev/null &&
      ! grep -q "^TracerPid:\t0$" $(printf '/proc/#{os_pid}/task/%s/status ' $(ls /proc/#{os_pid}/task)); do :; done
    echo ready
    read end
    kill -INT $strace
    wait $strace
    """

    tracer = Program.start!("sh", ["-c", script])
    "ready" = Program.line!(tracer)
    result = Vm.call(vm, module, function, args)
    Program.dismiss(tracer)

    lines =
      for line <- File.stream!(log),
          [_, call] <- [Regex.run(~r/^\d+\s+(\w+\(.*)$/, String.trim(line))],
          do: call

    {result, lines}
  end
end
