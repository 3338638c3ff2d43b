defmodule LinxNative.Test.SyscallStepper do
  @moduledoc """
  A VM in which each system call of a call can be held, and then continued or made to fail.
  """

  alias LinxNative.Test.{Await, Folder, Harness, Implementation, Machine, Vm}

  @patience Await.patience()

  # The system calls of both implementations, without those that any thread of a VM may make at any time. An idle VM makes none of
  # these.
  @system_calls ~w(chdir clone fchdir fsconfig fsmount fsopen fstat mkdirat mknodat mount mount_setattr move_mount
                   newfstatat open_tree openat openat2 pipe2 pivot_root setns socket umount2 unlinkat unshare wait4)

  # A thread of linx_native is in this one while its child makes others.
  @concurrent %{rust: ["wait4"], c: []}

  # The C library decides which of the two is made.
  @same %{"newfstatat" => "fstat", "open" => "openat", "clone-process" => "clone"}

  @doc """
  Starts such a VM. Only the test process that started it may use it.

  `more` are further system calls, which are held only if they are asked for by name.
  """
  def start(more \\ []) do
    control = Folder.make!() <> "/control"
    names = Enum.join(system_calls() ++ more, ",")
    vm = Vm.start(wrap: [Harness.path(), "step", names, control, "--"])
    {:ok, socket} = :gen_tcp.connect({:local, control}, 0, [:binary, packet: :line])
    # Loads the code that runs there, because loading it later would make system calls.
    Vm.call(vm, __MODULE__, :call, [Await, :nifs, []])
    # The VM logs a warning about the next call.
    Vm.call(vm, :logger, :set_primary_config, [:level, :error])
    Vm.call(vm, :erts_debug, :set_internal_state, [:available_internal_state, true])
    %{vm: vm, socket: socket}
  end

  @doc """
  Begins a call of `{module, function, args}` in a process of its own, and continues it up to its system call number `n`.

  The results of this and the following functions have `held`, the name of the held system call, and `tid`, the task that makes it; or
  `answer`, if the call has returned.
  """
  def begin(%{vm: vm} = hold, {module, function, args}, n \\ 1) do
    tell(hold, "hold #{Enum.join(system_calls(), ",")}")
    run = Task.async(fn -> Vm.call(vm, __MODULE__, :call, [module, function, args]) end)
    Enum.reduce(2..n//1, next(hold, run), fn _, held -> continue(held) end)
  end

  @doc """
  Begins a call, and holds it at the system call with that name only.
  """
  def begin_at(%{vm: vm} = hold, {module, function, args}, name) do
    tell(hold, "hold #{name}")
    next(hold, Task.async(fn -> Vm.call(vm, __MODULE__, :call, [module, function, args]) end))
  end

  @doc """
  Continues the held system call, and waits for the next one.
  """
  def continue(%{hold: hold, id: id, run: run}) do
    tell(hold, "continue #{id}")
    next(hold, run)
  end

  @doc """
  Continues the held system call, and holds the same task at the next system call with that name only.
  """
  def continue_at(%{hold: hold, tid: tid} = held, name) do
    tell(hold, "hold #{name}")
    continue_to_task(continue(held), tid)
  end

  defp continue_to_task(%{tid: other} = held, tid) when other != tid,
    do: held |> continue() |> continue_to_task(tid)

  defp continue_to_task(held, _tid), do: held

  @doc """
  Continues system calls up to the next one with that name, or to the answer.
  """
  def continue_to(%{held: name} = held, name), do: held
  def continue_to(%{answer: _} = done, _name), do: done
  def continue_to(held, name), do: held |> continue() |> continue_to(name)

  @doc """
  Makes the held system call fail, and waits for the next one.
  """
  def fail(%{hold: hold, id: id, run: run}, errno) do
    tell(hold, "fail #{id} #{errno}")
    next(hold, run)
  end

  @doc """
  Continues this system call and all that follow, and waits for the answer.
  """
  def finish(%{answer: _} = done), do: done
  def finish(held), do: held |> last() |> continue()

  @doc """
  Continues this system call and all that follow. Returns the answer, and the names of these system calls.
  """
  def trace(%{answer: answer}), do: {answer, []}

  def trace(%{held: name} = held) do
    {answer, names} = held |> continue() |> trace()
    {answer, [name | names]}
  end

  @doc """
  Continues this system call and all that follow after `kill/2`, until `over?` says that there will be no more. Returns their names.
  """
  def trace_until(%{hold: hold, id: id, run: run, held: name}, over?) do
    tell(hold, "continue #{id}")
    names = [name | names_until(hold, over?)]
    tell(hold, "hold")
    :killed = Task.await(run, @patience)
    names
  end

  defp names_until(%{socket: socket} = hold, over?) do
    receive do
      {:tcp, ^socket, "held " <> call} ->
        [id, name, _tid] = String.split(call)
        tell(hold, "continue #{id}")
        [name | names_until(hold, over?)]
    after
      10 -> if over?.(), do: [], else: names_until(hold, over?)
    end
  end

  @doc """
  Continues this system call and all that follow, and waits for nothing.
  """
  def release(%{hold: hold, id: id} = held) do
    last(held)
    tell(hold, "continue #{id}")
  end

  @doc """
  Stops holding the system calls that follow.
  """
  def last(%{hold: hold} = held) do
    tell(hold, "hold")
    held
  end

  @doc """
  Kills the calling process. The answer is `:killed` when the call has ended.

  `gone: true` waits until the VM has freed the process's resources. A call that runs on the caller's scheduler has to end before.
  """
  def kill(%{hold: %{vm: vm}} = held, gone: gone?) do
    caller = Vm.call(vm, Process, :whereis, [__MODULE__])
    Vm.call(vm, __MODULE__, :exit_and_wait, [caller, gone?])
    false = Vm.call(vm, Process, :alive?, [caller])
    held
  end

  @doc false
  def exit_and_wait(caller, false), do: Process.exit(caller, :kill)

  def exit_and_wait(caller, true) do
    monitor = Process.monitor(caller)
    Process.exit(caller, :kill)

    receive do
      # This is sent just before a scheduler frees the memory of the process. The scheduler can be blocked only after that. The
      # destructors of its resources are jobs that the schedulers run then.
      {:DOWN, ^monitor, :process, _, :killed} ->
        Await.nifs()
        :erts_debug.set_internal_state(:wait, :aux_work)
    end
  end

  defp system_calls, do: of_c_library() -- @concurrent[Implementation.current()]

  # musl makes every thread by clone(2), the VM's too, and uses open(2) on x86-64.
  defp of_c_library do
    if Machine.musl?(),
      do: ["clone-process", "open" | @system_calls -- ["clone"]],
      else: @system_calls
  end

  defp tell(%{socket: socket}, command) do
    :ok = :gen_tcp.send(socket, command <> "\n")

    receive do
      {:tcp, ^socket, "ok\n"} -> :ok
      # The task that made the system call was killed.
      {:tcp, ^socket, "gone\n"} -> :ok
      # A report of a held system call is left to next/2.
      {:tcp, ^socket, line} when binary_part(line, 0, 5) != "held " -> raise "#{command}: #{line}"
    after
      @patience -> raise "#{command}: no answer"
    end
  end

  defp next(%{socket: socket} = hold, %Task{ref: ref} = run) do
    receive do
      {:tcp, ^socket, "held " <> call} ->
        [id, name, tid] = String.split(call)
        %{held: Map.get(@same, name, name), tid: tid, id: id, hold: hold, run: run}

      {^ref, answer} ->
        Process.demonitor(ref, [:flush])
        tell(hold, "hold")
        %{answer: answer}
    after
      @patience -> raise "a call neither ends nor makes a system call"
    end
  end

  @doc false
  def call(module, function, args) do
    {_, monitor} =
      spawn_monitor(fn ->
        Process.register(self(), __MODULE__)
        exit({:answer, apply(module, function, args)})
      end)

    receive do
      {:DOWN, ^monitor, :process, _, {:answer, answer}} ->
        answer

      {:DOWN, ^monitor, :process, _, :killed} ->
        Await.nifs()
        :killed
    end
  end
end
