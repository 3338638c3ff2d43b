defmodule LinxNative.GrowthTest do
  @moduledoc """
  Repeated calls, valid and failing ones, do not make the VM grow.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Operations, Repeat}

  @times 1_000
  # The least number of bytes that a leaking call would keep.
  @least 32

  setup do
    %{vm: Vm.start(), container: Container.start([:net, :mount, :pid]), folder: Folder.make!()}
  end

  for name <- Operations.names(:all) do
    test "#{name}: #{@times} calls leave nothing", context do
      %{vm: vm, container: container, folder: folder} = context
      operation = Operations.get(unquote(name), folder, container)
      Operations.prepare(operation)
      {module, function, args} = operation.mfa
      wrong = {module, function, List.replace_at(args, 0, "/nonexistent")}
      undo = {Mount, :umount, [operation.target, 2, operation.ns]}
      again = {Mount, :mount, ["", operation.target, "tmpfs", 0, "", operation.ns, "", 0]}
      calls = [operation.mfa, undo, wrong, undo] ++ if(function == :umount, do: [again], else: [])
      before = Vm.call(vm, Repeat, :run, [calls, 20])
      Vm.call(vm, Repeat, :run, [calls, @times])
      Operations.undo(operation)
      # Memory that the VM frees later, and its own memory, vary.
      grown = fn -> Vm.call(vm, Repeat, :run, [[], 0]) - before end
      Await.until(div(patience(), 20), fn -> grown.() < @least * @times end)
      assert grown.() < @least * @times
    end
  end
end
