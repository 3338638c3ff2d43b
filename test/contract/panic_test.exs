defmodule LinxNative.PanicTest do
  @moduledoc """
  No panic reaches the VM. The probe library has the same entry as the libraries, and panics in each place where they could.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Probe, ProbeLibrary}

  @panics [
    {:body, [], "in the body, in two lines"},
    {:dirty_body, [], "in the body of a dirty NIF"},
    {:decoding, [:anything], "while decoding"},
    {:encoding, [], "while encoding"},
    {:thread, [], "in the thread"},
    {:child, [], "in the child"},
    {:pending, [], "in the pending call"}
  ]

  # A backtrace of the thread would need more than its stack.
  @env %{"RUST_BACKTRACE" => "full"}

  @mebibyte 1024 * 1024

  setup_all do
    ProbeLibrary.build!()
  end

  setup do
    errors = Path.join(Folder.make!(), "errors")
    %{errors: errors, to_file: ["sh", "-c", ~s(exec "$@" 2>>"$0"), errors]}
  end

  defp start(to_file) do
    vm = Vm.start(load: false, wrap: to_file, env: @env)
    :ok = ProbeLibrary.load(vm)
    vm
  end

  # Out of `times` calls, how many raised just what they should.
  defp raised(vm, function, arguments, times) do
    Vm.eval(
      vm,
      quote do
        Enum.count(1..var!(times), fn _ ->
          try do
            apply(unquote(Probe), var!(function), var!(arguments))
          rescue
            error -> error == %ErlangError{original: :nif_panicked}
          end
        end)
      end,
      function: function,
      arguments: arguments,
      times: times
    )
  end

  test "a panic is an exception, a line on standard error, and nothing else", context do
    vm = start(context.to_file)
    before = Vm.call(vm, Machine, :snapshot, [])

    for {function, arguments, message} <- @panics do
      File.write!(context.errors, "")
      assert {function, 1} == {function, raised(vm, function, arguments, 1)}
      assert {function, []} == {function, Vm.call(vm, Machine, :changes, [before])}
      assert [line, ""] = context.errors |> File.read!() |> String.split("\n")

      assert line =~
               ~r/^linx_native: panic at \S+\.rs:\d+:\d+: probe: #{message}; please report this$/
    end
  end

  @tag :memory_size
  test "a thousand panics of each kind leave nothing", context do
    vm = start(context.to_file)
    thousand = fn -> for {name, args, _} <- @panics, do: raised(vm, name, args, 1000) end
    assert Enum.uniq(thousand.()) == [1000]

    before = Vm.call(vm, Machine, :snapshot, [])
    resident = resident(vm)
    assert Enum.uniq(thousand.()) == [1000]
    assert Vm.call(vm, Machine, :changes, [before]) == []
    # A stack, were it kept, would be 64 KiB each.
    assert resident(vm) - resident < 8 * @mebibyte
    assert context.errors |> File.stream!() |> Enum.count() == 2 * 1000 * length(@panics)
  end

  test "panics of many processes at a time print one line each", context do
    vm = start(context.to_file)

    results =
      @panics
      |> List.duplicate(4)
      |> List.flatten()
      |> Task.async_stream(fn {name, args, _} -> raised(vm, name, args, 100) end,
        max_concurrency: 24,
        timeout: :infinity
      )

    assert Enum.uniq(results) == [ok: 100]
    lines = File.stream!(context.errors)
    assert Enum.count(lines) == 100 * 4 * length(@panics)
    assert Enum.all?(lines, &(&1 =~ ~r/^linx_native: panic at .* please report this\n$/))
  end

  test "a panic in nif_init is an error of on_load", context do
    env = Map.put(@env, "LINX_TEST_PANIC_IN_INIT", "yes")
    vm = Vm.start(wrap: context.to_file, env: env)
    assert {:bad_lib, text} = ProbeLibrary.load(vm)
    assert text =~ "unsuccessful"
    # Nor does the second attempt find a half-made entry.
    assert {:bad_lib, ^text} = ProbeLibrary.load(vm)
    assert [line, line, ""] = context.errors |> File.read!() |> String.split("\n")
    assert line =~ "probe: in nif_init; please report this"
    assert Vm.call(vm, Mount, :version, []) == ~c"linx_mount"
  end

  test "the shipped libraries have no code of the probe" do
    probes? = &(File.read!(&1) =~ "probe: in the thread")
    assert probes?.(ProbeLibrary.path())

    for module <- Implementation.modules(),
        do: refute(probes?.(Implementation.library_path(module)))
  end

  defp resident(vm) do
    status = File.read!("/proc/#{vm.os_pid}/status")
    [_, kibibytes] = Regex.run(~r/^VmRSS:\s*(\d+) kB$/m, status)
    String.to_integer(kibibytes) * 1024
  end
end
