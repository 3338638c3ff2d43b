defmodule LinxNative.Test.Strace do
  @moduledoc """
  The system calls that a VM makes, as strace(1) prints them.
  """

  alias LinxNative.Test.{Folder, Program, Vm}

  # All that make descriptors, but for those of ioctl(2), which are close-on-exec always.
  @makers ~w(accept accept4 creat dup dup2 dup3 epoll_create epoll_create1 eventfd eventfd2 fcntl fsmount fsopen
             inotify_init inotify_init1 memfd_create open open_tree openat openat2 pidfd_getfd pidfd_open pipe pipe2
             signalfd signalfd4 socket socketpair timerfd_create)

  @doc """
  Calls a function in `vm`. Returns its result, the system calls that made descriptors meanwhile, and those of them whose descriptor
  a program that the VM starts would inherit.
  """
  def descriptors(%Vm{} = vm, mfa) do
    {result, calls} = calls(vm, @makers, mfa)
    # Of fcntl(2) only what duplicates.
    made = Enum.reject(calls, &(&1 =~ ~r/^fcntl/ and not (&1 =~ "F_DUPFD")))
    {result, made, Enum.reject(made, &(&1 =~ "CLOEXEC"))}
  end

  @doc """
  Calls a function in `vm` and returns the system calls that its threads and their child processes make meanwhile, one line each,
  without the thread id. Only `calls` are returned. Names that the machine does not have are ignored: for example, aarch64 has no
  `open`.
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

    {result, log |> File.stream!() |> joined()}
  end

  # strace(1) prints a call in two lines if another thread does something meanwhile: `1 clone(… <unfinished ...>` and
  # `1 <... clone resumed>…) = 0`.
  defp joined(lines) do
    {calls, unfinished} =
      Enum.flat_map_reduce(lines, %{}, fn line, unfinished ->
        [thread, text] = line |> String.trim() |> String.split(~r/\s+/, parts: 2)

        text =
          Regex.replace(~r/^<\.\.\. \w+ resumed>/, text, fn _ ->
            Map.get(unfinished, thread, "")
          end)

        case Regex.run(~r/^(.*?)\s*<unfinished \.\.\.>$/, text) do
          [_, begun] -> {[], Map.put(unfinished, thread, begun)}
          nil -> {[text], Map.delete(unfinished, thread)}
        end
      end)

    Enum.filter(calls ++ Map.values(unfinished), &(&1 =~ ~r/^\w+\(/))
  end
end
