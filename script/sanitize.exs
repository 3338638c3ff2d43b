defmodule LinxNative.SeededTest do
  @moduledoc """
  AddressSanitizer finds bugs where our code runs. Run by `script/sanitize`, where it is at work.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Buggy, StubModule}

  @library Path.join(Path.dirname(Harness.path()), "examples/libbuggy.so")

  for {function, bug} <- [
        heap: "heap-buffer-overflow",
        heap_in_thread: "heap-buffer-overflow",
        stack_in_thread: "stack-buffer-overflow"
      ] do
    test "#{function}: a #{bug} ends the VM and is reported" do
      reports = Folder.make!()
      options = "detect_leaks=0:log_path=#{reports}/report"
      vm = Vm.start(env: %{"ASAN_OPTIONS" => options})
      functions = [heap: 0, heap_in_thread: 0, stack_in_thread: 0]
      :ok = StubModule.load(vm, Buggy, functions, @library)
      catch_exit(Vm.call(vm, Buggy, unquote(function), []))
      Vm.stop(vm)
      assert [report] = File.ls!(reports)
      assert File.read!("#{reports}/#{report}") =~ "AddressSanitizer: #{unquote(bug)}"
    end
  end
end
