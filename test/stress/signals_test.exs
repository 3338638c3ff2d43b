defmodule LinxNative.SignalsTest do
  @moduledoc """
  Only the VM's own threads handle its signals. A thread that enters a namespace handles none.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Operations, SyscallStepper}

  # The Erlang threads that the C code makes are the VM's matter.
  @moduletag :rust
  @moduletag :machine_root

  # The signals that the C library reserves.
  @kept if Machine.musl?(), do: [32, 33, 34], else: [32, 33]

  # All of the 64 but SIGKILL and SIGSTOP, which cannot be blocked.
  @blocked Enum.reduce([9, 19 | @kept], 0xFFFF_FFFF_FFFF_FFFF, fn signal, mask ->
             Bitwise.bxor(mask, Bitwise.bsl(1, signal - 1))
           end)

  test "signals are blocked at each system call of each kind of call in a namespace" do
    hold = SyscallStepper.start()
    container = Container.start([:net, :mount, :pid])
    folder = Folder.make!()

    for name <- Operations.names(:there) do
      operation = Operations.get(name, folder, container)
      Operations.prepare(operation)
      held = SyscallStepper.begin(hold, operation.mfa)
      {answer, masks} = masks(held, [])
      with {:ok, fd} <- answer, do: Vm.call(hold.vm, NetlinkSocket, :close_fd, [fd])
      assert {name, Operations.normal(answer)} == {name, operation.answer}
      Operations.undo(operation)

      for {call, mask} <- masks do
        assert {name, call, Bitwise.band(mask, @blocked)} == {name, call, @blocked}
      end

      assert length(masks) >= 3
    end
  end

  test "a child that the container stops continues its one system call" do
    hold = SyscallStepper.start()
    container = Container.start([:mount, :pid])
    operation = Operations.get(:procfs_by_child, Folder.make!(), container)
    Operations.prepare(operation)

    held = hold |> SyscallStepper.begin(operation.mfa) |> SyscallStepper.continue_to("mount")
    assert File.read!("/proc/#{held.tid}/status") =~ ~r/^NSpid:\s*\d+\s+\d+$/m
    {_, 0} = System.cmd("kill", ["-STOP", held.tid])
    assert %{answer: :ok} = held |> SyscallStepper.last() |> to_the_end()
    Operations.undo(operation)
  end

  # The kernel begins a call again that a signal interrupted.
  defp to_the_end(%{held: _} = held), do: held |> SyscallStepper.continue() |> to_the_end()
  defp to_the_end(done), do: done

  defp masks(%{answer: answer}, masks), do: {answer, Enum.reverse(masks)}

  defp masks(%{held: call, tid: tid} = held, masks) do
    [_, mask] = Regex.run(~r/^SigBlk:\s*(\w+)$/m, File.read!("/proc/#{tid}/status"))
    held |> SyscallStepper.continue() |> masks([{call, String.to_integer(mask, 16)} | masks])
  end
end
