defmodule LinxNative.ContainerDeathTest do
  @moduledoc """
  A container ends during a call, at each of the call's system calls, and its pid is reused.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Operations, SyscallStepper}

  @last_pid "/proc/sys/kernel/ns_last_pid"

  @tag :machine_root
  test "a call into a container that ends returns an error of the kernel, and leaves nothing" do
    hold = SyscallStepper.start()
    folder = Folder.make!()
    before = Vm.call(hold.vm, Machine, :snapshot, [])

    for name <- Operations.names(:there), n <- 1..length(Operations.steps(name)) do
      container = Container.start([:net, :mount, :pid])
      operation = Operations.get(name, folder, container)
      Operations.prepare(operation)
      answer = hold |> SyscallStepper.begin(operation.mfa, n) |> die(container)
      assert {name, n, Operations.normal(answer)} == {name, n, expected(operation, n)}
      with {:ok, fd} <- answer, do: Vm.call(hold.vm, NetlinkSocket, :close_fd, [fd])
    end

    assert Vm.call(hold.vm, Machine, :changes, [before]) == []
  end

  # While the call is held.
  defp die(held, container) do
    SyscallStepper.last(held)
    dying = Task.async(fn -> Container.stop(container) end)

    # Its end is that of all its processes: of a child, too, that is over and about to be waited for.
    if held.held != "wait4", do: Task.await(dying, :infinity)
    %{answer: answer} = SyscallStepper.finish(held)
    if held.held == "wait4", do: Task.await(dying, :infinity)
    answer
  end

  # Once its namespaces are open they stay, but for what it takes a living init to do.
  defp expected(operation, n) do
    left = Enum.drop(operation.steps, n - 1)
    names = Keyword.keys(left)
    file = Enum.find(Keyword.values(left), &(&1 in [:open, :open_ns, :open_pidns]))

    cond do
      file == :open -> {:error, {:open, 2}}
      file -> {:error, {file, :enoent}}
      :clone in names -> {:error, {:fork, :enomem}}
      # The child that was to do it is killed with the container.
      :mount in names and Operations.by_child?(operation) -> {:error, {:mount, 5}}
      true -> operation.answer
    end
  end

  test "a pid that is reused between the two look-ups does not mix two processes (D4)" do
    hold = SyscallStepper.start()
    container = Container.start([:mount, :pid])
    observer = inhabitant(container)
    folder = Folder.make!()
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    mfa = {Mount, :mount, ["", folder, "proc", 0, "", ns, pidns, 0]}

    second = Enum.find_index(Operations.steps(:procfs_as_seen), &(&1 == {:openat, :open_pidns}))
    held = SyscallStepper.begin(hold, mfa, second + 1)
    Container.stop(container)
    recycle(container.pid)
    %{answer: answer} = SyscallStepper.finish(held)

    assert answer == expect(:D4, rust: {:error, {:open_pidns, :enoent}}, c: :ok)
    # The /proc of the other process, and so of the VM's own PID namespace.
    exposed? = File.exists?("/proc/#{observer}/root#{folder}/#{System.pid()}")
    assert exposed? == expect(:D4, rust: false, c: true)
  end

  # A process in its mount namespace only, so that it stays when the container dies.
  defp inhabitant(container) do
    enter = ["--target", "#{container.pid}", "--mount", "--", "sh", "-c", "echo $$; read line"]
    "nsenter" |> Program.start!(enter) |> Program.line!()
  end

  # Gives the pid of a container that is gone to one that is not in a PID namespace of its own.
  defp recycle(pid) do
    free? = fn -> not File.exists?("/proc/#{pid}") end
    Await.until(free?) || raise "somebody else has the pid #{pid}"
    File.write!(@last_pid, "#{pid - 1}")
    other = Container.start([:mount])

    # Somebody else may have been faster.
    if other.pid != pid do
      Container.stop(other)
      recycle(pid)
    end
  end
end
