defmodule LinxNative.FaultsTest do
  @moduledoc """
  Each system call of each kind of call fails, each in several ways: the answer names its stage, and nothing is left.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Operations, SyscallStepper}

  # The errnos if a system call is missing, forbidden or interrupted, or if memory or descriptors are short.
  @errnos %{"ENOSYS" => 38, "EPERM" => 1, "EINTR" => 4, "ENOMEM" => 12, "EMFILE" => 24}
  @atoms %{1 => :eperm, 12 => :enomem, 24 => :emfile}

  @tag :machine_root
  test "each system call of each kind of call fails" do
    hold = SyscallStepper.start()
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()
    before = Vm.call(hold.vm, Machine, :snapshot, [])

    for name <- Operations.names(:all) do
      operation = Operations.get(name, folder, container)
      assert {name, operation.answer, steps(operation)} == undisturbed(hold, operation)

      for {step, n} <- Enum.with_index(operation.steps, 1) do
        refuse(hold, operation, step, n)
        changes = Vm.call(hold.vm, Machine, :changes, [before])
        assert {name, step, n, changes} == {name, step, n, []}
      end
    end
  end

  @tag :rust
  @tag :machine_root
  test "an interrupted wait for the child that mounts is repeated" do
    hold = SyscallStepper.start(["wait4"])
    container = Container.start([:mount, :pid])
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    folder = Folder.make!()
    # Only mount(2) takes such a long source, so every kernel needs a child.
    arguments = [String.duplicate("l", 300), folder, "proc", 0, "", ns, pidns, 0]

    held =
      hold
      |> SyscallStepper.begin_at({Mount, :mount, arguments}, "wait4")
      |> SyscallStepper.fail("EINTR")

    assert held.held == "wait4"
    assert %{answer: :ok} = SyscallStepper.finish(held)
    assert Container.mount_at(container, folder).fstype == "proc"
  end

  defp refuse(hold, operation, {step, stage}, n) do
    for {errno, number} <- errnos(step) do
      Operations.prepare(operation)
      held = SyscallStepper.begin(hold, operation.mfa, n)
      assert held.held == to_string(step)
      %{answer: answer} = held |> SyscallStepper.fail(errno) |> SyscallStepper.finish()
      expected = expected(operation, stage, errno, number)

      assert {operation.name, step, n, errno, answer} ==
               {operation.name, step, n, errno, expected}
    end

    Operations.undo(operation)
  end

  defp expected(_operation, nil, _errno, _number), do: :ok
  defp expected(_operation, {_stage, but: errno}, errno, _number), do: :ok

  defp expected(operation, {stage, but: _}, errno, number),
    do: expected(operation, stage, errno, number)

  defp expected(operation, stage, _errno, number), do: {:error, {stage, errno(operation, number)}}

  # A failed wait can be repeated only if it was interrupted.
  defp errnos(:wait4), do: Map.take(@errnos, ["EINTR"])
  defp errnos(_), do: @errnos

  defp errno(%{name: :open}, number), do: number
  defp errno(_, number), do: Map.get(@atoms, number, number)

  defp steps(operation), do: for({name, _} <- operation.steps, do: to_string(name))

  defp undisturbed(hold, operation) do
    Operations.prepare(operation)
    {answer, steps} = hold |> SyscallStepper.begin(operation.mfa) |> SyscallStepper.trace()
    Operations.undo(operation)

    with {:ok, fd} <- answer, do: Vm.call(hold.vm, NetlinkSocket, :close_fd, [fd])
    {operation.name, Operations.normal(answer), steps}
  end
end
