defmodule LinxNative.ReloadTest do
  @moduledoc """
  Modules that are loaded again, upgraded and unloaded, with calls in flight.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Callers, Hang, Library, StubModule}

  @reloads 100
  @refused "Upgrade not supported by this NIF library."

  # Every function, the dirty ones on a thread and without.
  @calls [
    {NetlinkSocket, :open_in_netns, ["/nonexistent", 0], {:error, {:open, 2}}},
    {NetlinkSocket, :open_in_netns, ["/proc/self/ns/net", 31], {:error, {:socket, 93}}},
    {NetlinkSocket, :close_fd, [-1], :ok},
    {NetlinkSocket, :bind_netlink, [-1, 0], {:error, 9}},
    {Mount, :version, [], ~c"linx_mount"},
    {Mount, :mount, ["", "/", "nothing", 0, "", "", "", 0], {:error, {:mount, :enodev}}},
    {Mount, :mount, ["", "/", "", 0, "", "/proc/self/ns/net", "", 0],
     {:error, {:setns, :einval}}},
    {Mount, :umount, ["/nonexistent", 0, ""], {:error, {:umount, :enoent}}},
    {Mount, :umount, ["/", 0, "/nonexistent"], {:error, {:open_ns, :enoent}}},
    {Mount, :pivot_root, ["/nonexistent", "/", ""], {:error, {:chdir, :enoent}}}
  ]

  # The error of a look-up in a released `Hang`.
  @not_connected {:error, {:open, 107}}

  # The code of a module as it is in use: with the library at hand.
  defp code(module) do
    case Implementation.current() do
      :rust ->
        {^module, binary, _} = :code.get_object_code(module)
        binary

      :c ->
        path = Implementation.library_path(module)
        Implementation.bare_module(module, Path.rootname(path))
    end
  end

  defp load(vm, module) do
    Vm.call(vm, :code, :load_binary, [module, ~c"#{module}", code(module)])
  end

  # Gives up the old code once no process runs it, so that none is killed.
  defp give_up_old_code!(vm, module) do
    gone? = fn -> Vm.call(vm, :code, :soft_purge, [module]) end
    assert Await.until(gone?), "#{inspect(module)}: the old code stays in use"
  end

  defp quietly(vm), do: :ok = Vm.call(vm, :logger, :remove_handler, [:default])

  defp old_code?(vm, module), do: Vm.call(vm, :erlang, :check_old_code, [module])

  defp mapped?(vm, file), do: File.read!("/proc/#{vm.os_pid}/maps") =~ file

  defp start_callers(vm), do: Vm.call(vm, Callers, :start, [@calls])

  # Every caller makes `calls` more, at least.
  defp await_calls!(vm, callers, calls) do
    before = Vm.call(vm, Callers, :counts, [callers])
    assert Await.until(fn -> calls(vm, callers, before) >= calls end), "a caller got stuck"
  end

  # The calls of the slowest caller since then.
  defp calls(vm, callers, before) do
    now = Vm.call(vm, Callers, :counts, [callers])
    before |> Enum.zip_with(now, &(&2 - &1)) |> Enum.min()
  end

  describe "with calls of every function in flight" do
    test "a hundred reloads of each module: every call returns the right answer" do
      vm = Vm.start()
      quietly(vm)
      callers = start_callers(vm)
      before = Vm.call(vm, Callers, :counts, [callers])

      for _ <- 1..@reloads, module <- Implementation.modules() do
        expected = expect(:D8, rust: {:module, module}, c: {:error, :on_load_failure})
        assert load(vm, module) == expected
        assert old_code?(vm, module) == expect(:D8, rust: true, c: false)
        give_up_old_code!(vm, module)
      end

      assert calls(vm, callers, before) > @reloads
      await_calls!(vm, callers, 2)
      assert Vm.call(vm, Callers, :stop, [callers]) == []
    end

    # A call makes a resource, whose type the new instance takes over at that moment.
    test "reloads as fast as possible do not corrupt the memory of the VM" do
      vm = Vm.start()
      quietly(vm)
      call = {Mount, :umount, ["/", 0, "/nonexistent"], {:error, {:open_ns, :enoent}}}
      callers = Vm.call(vm, Callers, :start, [List.duplicate(call, 16)])
      # A reload takes as long as several calls of a race.
      reloads = div(Harness.race_rounds(), 5)

      assert Vm.call(vm, Callers, :reload, [Mount, code(Mount), reloads]) ==
               expect(:D8, rust: [{:module, Mount}], c: [{:error, :on_load_failure}])

      await_calls!(vm, callers, 2)
      assert Vm.call(vm, Callers, :stop, [callers]) == []
    end

    test "an upgrade to other code with a library at another path, and back" do
      vm = Vm.start()
      before = Vm.call(vm, Machine, :snapshot, [])
      callers = start_callers(vm)

      for module <- Implementation.modules() do
        elsewhere = Path.join(Folder.make!(), "library.so")
        File.cp!(Implementation.library_path(module), elsewhere)
        md5 = Vm.call(vm, module, :module_info, [:md5])

        answer = StubModule.load(vm, module, Implementation.functions(module), elsewhere)
        assert answer == expect(:D8, rust: :ok, c: {:upgrade, @refused})
        upgraded? = Vm.call(vm, module, :module_info, [:md5]) != md5
        assert upgraded? == expect(:D8, rust: true, c: false)
        await_calls!(vm, callers, 2)

        give_up_old_code!(vm, module)
        load(vm, module)
        give_up_old_code!(vm, module)
        assert Vm.call(vm, module, :module_info, [:md5]) == md5
      end

      await_calls!(vm, callers, 2)
      assert Vm.call(vm, Callers, :stop, [callers]) == []
      assert Vm.call(vm, Machine, :changes, [before]) == []
    end
  end

  describe "with a call that takes long" do
    setup do
      vm = Vm.start(wrap: ["unshare", "--mount", "--"])
      quietly(vm)
      folder = Folder.make!()
      hang = Hang.mount!(vm, folder)
      before = Vm.call(vm, Machine, :snapshot, [])
      %{vm: vm, hang: hang, path: Path.join(folder, "ns"), before: before}
    end

    defp call(%{vm: vm, hang: hang, path: path}) do
      call = Task.async(fn -> Vm.call(vm, NetlinkSocket, :open_in_netns, [path, 0]) end)
      Hang.await_calls!(hang, 1)
      call
    end

    defp let_go(%{hang: hang}, call) do
      Hang.release(hang)
      Task.await(call, :infinity)
    end

    @tag :machine_root
    test "a reload does not wait for it, and it returns its answer", %{vm: vm} = context do
      call = call(context)
      expected = expect(:D8, rust: {:module, NetlinkSocket}, c: {:error, :on_load_failure})
      assert load(vm, NetlinkSocket) == expected
      assert Vm.call(vm, NetlinkSocket, :close_fd, [-1]) == :ok
      given_up? = Vm.call(vm, :code, :soft_purge, [NetlinkSocket])
      assert given_up? == expect(:D8, rust: false, c: true)

      assert let_go(context, call) == @not_connected
      give_up_old_code!(vm, NetlinkSocket)
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
    end

    @tag :machine_root
    test "a soft purge is refused, and it returns its answer", %{vm: vm} = context do
      call = call(context)
      true = Vm.call(vm, :code, :delete, [NetlinkSocket])
      refute Vm.call(vm, :code, :soft_purge, [NetlinkSocket])

      assert let_go(context, call) == @not_connected
      give_up_old_code!(vm, NetlinkSocket)
      assert_unloaded(vm)
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
    end

    @tag :machine_root
    test "a purge kills its caller, and nothing else", %{vm: vm} = context do
      endless = {NetlinkSocket, :open_in_netns, [context.path, 0], @not_connected}
      [caller] = Vm.call(vm, Callers, :start, [[endless]])
      Hang.await_calls!(context.hang, 1)
      true = Vm.call(vm, :code, :delete, [NetlinkSocket])
      assert Vm.call(vm, :code, :purge, [NetlinkSocket])
      assert mapped?(vm, Implementation.library_path(NetlinkSocket)), "a thread is still in there"

      Hang.release(context.hang)
      gone? = fn -> not Vm.call(vm, Process, :alive?, [caller]) end
      assert Await.until(gone?)
      assert_unloaded(vm)
      assert Vm.call(vm, Machine, :changes, [context.before]) == []
    end

    # The VM closes a file when the last process has left it.
    defp assert_unloaded(vm) do
      file = Implementation.library_path(NetlinkSocket)
      stays? = expect(:D8, rust: true, c: false)
      assert Await.until(fn -> mapped?(vm, file) == stays? end)
      assert {:module, NetlinkSocket} = load(vm, NetlinkSocket)

      assert Vm.call(vm, NetlinkSocket, :open_in_netns, ["/nonexistent", 0]) ==
               {:error, {:open, 2}}
    end
  end

  test "the libraries are linked with -z nodelete" do
    for module <- Implementation.modules() do
      headers = Library.headers(Implementation.library_path(module))
      assert headers =~ "NODELETE" == expect(:D8, rust: true, c: false)
    end
  end
end
