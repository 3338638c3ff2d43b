defmodule LinxNative.LibrariesTest do
  @moduledoc """
  The functions of the two libraries, their scheduling, and the errors for a library that does not fit.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.{Library, Probe, ProbeLibrary, StubModule}

  @offers %{
    NetlinkSocket => """
    bind_netlink/2 normal
    close_fd/1 normal
    open_in_netns/2 dirty_io
    """,
    Mount => """
    mount/8 dirty_io
    pivot_root/3 dirty_io
    umount/3 dirty_io
    version/0 normal
    """
  }

  # Each fails, if it can, before it does anything.
  @calls [
    {NetlinkSocket, :open_in_netns, ["/nonexistent", 0]},
    {NetlinkSocket, :close_fd, [-1]},
    {NetlinkSocket, :bind_netlink, [-1, 0]},
    {Mount, :version, []},
    {Mount, :mount, ["", "/nonexistent", "", 0, "", "", "", 0]},
    {Mount, :umount, ["/nonexistent", 0, ""]},
    {Mount, :pivot_root, ["/nonexistent", "/nonexistent", ""]}
  ]

  # The same length as the name that it replaces in a library.
  @needed "enif_make_badarg"
  @unknown "enif_of_tomorrow"

  defp bare(vm, module, file),
    do: StubModule.load(vm, module, Implementation.functions(module), file)

  # The messages of glibc and musl.
  defp missing(symbol), do: ~r/undefined symbol: #{symbol}|#{symbol}: symbol not found/

  defp copy!(module, change) do
    copy = Path.join(Folder.make!(), "copy.so")
    content = module |> Implementation.library_path() |> File.read!()
    File.write!(copy, change.(content))
    copy
  end

  defp replace!(content, old, new) do
    assert content =~ old
    String.replace(content, old, new)
  end

  describe "a library" do
    test "has exactly the functions of the contract, with their scheduling" do
      for {module, functions} <- @offers do
        {name, minor, offered} = Library.offer(Implementation.library_path(module))
        assert name == Atom.to_string(module)
        assert offered == functions
        # Ours load into OTP 25. The C code is built for the OTP of this machine.
        assert minor <= %{rust: 16, c: own_minor()}[Implementation.current()]
      end
    end

    defp own_minor do
      ["2", minor] = String.split("#{:erlang.system_info(:nif_version)}", ".")
      String.to_integer(minor)
    end

    test "exports one symbol" do
      for module <- Implementation.modules() do
        assert Library.exported(Implementation.library_path(module)) == ["nif_init"]
      end
    end
  end

  describe "in the VM" do
    test "dirty calls run on dirty schedulers, the others do not" do
      for {module, function, arguments} <- @calls do
        name = "#{function}/#{length(arguments)}"
        assert {name, scheduling(name, module)} == {name, seen(module, function, arguments)}
      end
    end

    test "both libraries load in modules with exactly their functions" do
      vm = Vm.start(load: false)

      for module <- Implementation.modules() do
        assert bare(vm, module, Implementation.library_path(module)) == :ok
      end

      assert {:error, {:open, 2}} =
               Vm.call(vm, NetlinkSocket, :open_in_netns, ["/nonexistent", 0])

      assert Vm.call(vm, Mount, :version, []) == ~c"linx_mount"
    end

    test "neither library loads in a module that lacks one of its functions" do
      vm = Vm.start(load: false)

      for module <- Implementation.modules(), {name, arity} <- Implementation.functions(module) do
        functions = Keyword.delete(Implementation.functions(module), name)
        path = Implementation.library_path(module)
        assert {:bad_lib, text} = StubModule.load(vm, module, functions, path)
        assert text =~ "Function not found" and text =~ "#{name}/#{arity}"
      end
    end

    test "neither library loads in the module of the other" do
      vm = Vm.start(load: false)
      [one, other] = Implementation.modules()

      for {module, file} <- [{one, other}, {other, one}] do
        assert {:bad_lib, text} = bare(vm, module, Implementation.library_path(file))
        assert text =~ "does not match"
      end
    end

    defp scheduling(name, module) do
      if @offers[module] =~ "#{name} dirty_io", do: :leaves, else: :stays
    end

    # Does a process that makes the call leave its scheduler for it?
    defp seen(module, function, arguments) do
      process =
        spawn(fn ->
          receive do
            :go -> apply(module, function, arguments)
          end
        end)

      1 = :erlang.trace(process, true, [:running])
      send(process, :go)
      switches = switches(process, Process.monitor(process))
      if {module, function, length(arguments)} in switches, do: :leaves, else: :stays
    end

    defp switches(process, monitor) do
      receive do
        {:DOWN, ^monitor, :process, ^process, :normal} -> delivered(process)
      end
    end

    # The trace messages are not in order with others.
    defp delivered(process) do
      delivered = :erlang.trace_delivered(process)

      receive do
        {:trace_delivered, ^process, ^delivered} -> collect(process)
      end
    end

    defp collect(process) do
      receive do
        {:trace, ^process, :out, place} -> [place | collect(process)]
        {:trace, ^process, _, _} -> collect(process)
      after
        0 -> []
      end
    end
  end

  describe "a VM that does not fit" do
    test "lacks a function that the library needs" do
      vm = Vm.start(load: false)

      for module <- Implementation.modules() do
        copy = copy!(module, &replace!(&1, @needed, @unknown))
        assert {:load_failed, text} = bare(vm, module, copy)
        assert text =~ missing(@unknown)
        assert {"linx_harness: " <> text, 125} = Harness.run("entry", [copy])
        assert text =~ missing(@unknown)
        # The file itself loads afterwards.
        assert bare(vm, module, Implementation.library_path(module)) == :ok
      end
    end

    test "is older than the library" do
      ProbeLibrary.build!()
      vm = Vm.start(load: false)
      assert {:bad_lib, text} = StubModule.load(vm, Probe, [], ProbeLibrary.newer())
      assert text =~ ~r/needs|version/
      assert ProbeLibrary.load(vm) == :ok
    end
  end

  # The modules as users have them look for their files in the application's folder.
  describe "an installation" do
    for {what, content, remedy} <- [
          {"without the files", nil, "The file is not there: run "},
          {"with text in their place", "#!/bin/sh\n", "It was built for another machine"},
          {"with files of no length", "", "It was built for another machine"},
          {"with files that were cut short", :cut, "It was built for another machine"},
          {"with files for another VM", :other, "It was built for another machine"}
        ] do
      test "#{what}: each attempt logs one line, and the functions are undefined" do
        {vm, log} = installation(&install(&1, &2, unquote(content)))

        for {module, function, arguments} <- @calls do
          error = catch_error(Vm.call(vm, module, function, arguments))
          assert %UndefinedFunctionError{} = Exception.normalize(:error, error)
          assert [line, ""] = String.split(log.(), "\n")

          assert line =~
                   ~r/linx_native: cannot load \S+#{file_name(module)}: .*#{unquote(remedy)}/
        end
      end
    end

    defp install(_, _, nil), do: :ok

    defp install(module, path, :cut) do
      <<start::binary-size(40), _::binary>> = File.read!(Implementation.library_path(module))
      File.write!(path, start)
    end

    defp install(module, path, :other) do
      File.cp!(copy!(module, &replace!(&1, @needed, @unknown)), path)
    end

    defp install(_, path, content), do: File.write!(path, content)

    # Starts a VM with a copy of the application, and returns it with a function that reads its log.
    defp installation(install) do
      folder = Folder.make!()
      application = Path.join(folder, "linx_native")
      File.mkdir_p!(application <> "/priv")
      File.cp_r!(Application.app_dir(:linx_native, "ebin"), application <> "/ebin")

      for module <- Implementation.modules() do
        install.(module, Path.join([application, "priv", file_name(module)]))
      end

      vm = Vm.start(load: false)
      true = Vm.call(vm, :code, :add_patha, [to_charlist(application <> "/ebin")])
      {vm, log_to(vm, Path.join(folder, "log"))}
    end

    defp log_to(vm, file) do
      options = %{config: %{file: to_charlist(file)}}
      :ok = Vm.call(vm, :logger, :add_handler, [:to_file, :logger_std_h, options])
      :ok = Vm.call(vm, :logger, :remove_handler, [:default])

      fn ->
        :ok = Vm.call(vm, :logger_std_h, :filesync, [:to_file])
        text = File.read!(file)
        File.write!(file, "")
        text
      end
    end

    defp file_name(module), do: module |> Implementation.library_path() |> Path.basename()
  end
end
