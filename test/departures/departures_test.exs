defmodule LinxNative.DeparturesTest do
  @moduledoc """
  The differences from the C code, on both implementations. `LinxNative.Test.Departures` has the list. The test of the arguments has
  D1, the test of reloads has D8.
  """

  use LinxNative.Test.Case

  @bind 4096
  @remount 32
  @silent 32_768
  @private 0x40000

  describe "D2: with create_target, a path of a container" do
    setup do
      folder = Folder.make!()
      :ok = Mount.mount("linx", folder, "tmpfs", 0, "", "", "", 0)
      on_exit(fn -> Mount.umount(folder, 2, "") end)
      File.mkdir_p!(folder <> "/inside")
      File.mkdir_p!(folder <> "/outside")
      %{folder: folder}
    end

    test "a link to a directory in it is refused, and nothing is made behind it", %{
      folder: folder
    } do
      File.ln_s!("../outside", folder <> "/inside/dev")
      result = Mount.mount("/dev/null", folder <> "/inside/dev/null", "", @bind, "", "", "", 1)
      assert result == expect(:D2, rust: {:error, {:create, :eloop}}, c: :ok)
      assert File.ls!(folder <> "/outside") == expect(:D2, rust: [], c: ["null"])
    end

    test "a link as the last name is refused, also if it leads nowhere", %{folder: folder} do
      File.ln_s!("../outside/null", folder <> "/inside/null")

      bind = fn ->
        Mount.mount("/dev/null", folder <> "/inside/null", "", @bind, "", "", "", 1)
      end

      assert bind.() == expect(:D2, rust: {:error, {:create, :eloop}}, c: :ok)
      File.write(folder <> "/outside/null", "")
      assert bind.() == expect(:D2, rust: {:error, {:create, :eloop}}, c: :ok)
    end

    test "a link is refused for any other kind of mount too", %{folder: folder} do
      File.ln_s!("../outside", folder <> "/inside/link")

      assert Mount.mount("", folder <> "/inside/link", "tmpfs", 0, "", "", "", 1) ==
               expect(:D2, rust: {:error, {:create, :eloop}}, c: :ok)
    end

    test "a path must not leave the root", %{folder: folder} do
      container = Container.start([:mount])

      for ns <- ["", Container.ns_path(container, :mnt)] do
        result = Mount.mount("/dev/null", "/..#{folder}/null", "", @bind, "", ns, "", 1)
        assert result == expect(:D2, rust: {:error, {:create, 18}}, c: :ok)
      end

      assert :ok = Mount.mount("/dev/null", "#{folder}/inside/../null", "", @bind, "", "", "", 1)
    end

    test "a container that allows its user namespace no mount namespace gets an error", %{
      folder: folder
    } do
      container = Container.start([:user, :mount])

      [ns, source, target] = [
        Container.ns_path(container, :mnt) | Enum.map(~w(a b), &"#{folder}/#{&1}")
      ]

      File.write!(source, "")
      bind = fn -> Mount.mount(source, target, "", @bind, "", ns, "", 1) end
      Container.limit_mount_namespaces(container, 0)
      assert bind.() == expect(:D2, rust: {:error, {:mount, 28}}, c: :ok)
      # Its own, and that of the copy, which is not mounted yet.
      Container.limit_mount_namespaces(container, 2)
      assert bind.() == :ok
    end

    test "a kernel without openat2(2), or without open_tree(2), gives an error and no look-up by name",
         %{folder: folder} do
      args = ["/dev/null", folder <> "/null", "", @bind, "", "", "", 1]

      for {rule, rust} <- [
            {"openat2=ENOSYS", {:error, {:create, 38}}},
            {"open_tree=ENOSYS", {:error, {:mount, 38}}},
            {"move_mount=ENOSYS", {:error, {:mount, 38}}},
            {"openat2=EPERM", {:error, {:create, :eperm}}},
            {"openat2=EINTR", {:error, {:create, 4}}},
            {"openat2=EAGAIN", {:error, {:create, :eagain}}},
            {"open_tree=ENOMEM", {:error, {:mount, :enomem}}}
          ] do
        vm = Vm.start(wrap: Harness.seccomp(rule))
        before = Vm.call(vm, Machine, :snapshot, [])
        result = Vm.call(vm, Mount, :mount, args)
        assert {rule, result} == {rule, expect(:D2, rust: rust, c: :ok)}

        case result do
          :ok -> :ok = Mount.umount(folder <> "/null", 0, "")
          {:error, _} -> assert Vm.call(vm, Machine, :changes, [before]) == []
        end

        Vm.stop(vm)
      end
    end
  end

  describe "D3: options that do not fit into a page" do
    defp options(size, last) do
      String.duplicate(",", size - byte_size(last)) <> last
    end

    test "are refused, not cut" do
      folder = Folder.make!()
      # Cut by the kernel, the last option would be gone, and with it what is wrong with it.
      mount = &Mount.mount("", folder, "tmpfs", 0, &1, "", "", 0)
      page = page_size()

      assert {:error, {:mount, :einval}} = mount.(options(page - 1, "nosuchoption"))

      for size <- [page + 12, page + 1_000, 64 * page] do
        assert mount.(options(size, "nosuchoption")) ==
                 expect(:D3, rust: {:error, {:mount, 7}}, c: :ok)

        Mount.umount(folder, 0, "")
      end

      assert mount.(options(page, "size=4k")) == expect(:D3, rust: {:error, {:mount, 7}}, c: :ok)
      Mount.umount(folder, 0, "")

      assert :ok = mount.(options(page - 1, "size=64k"))
      assert "size=64k" in MountInfo.at(folder).super_options
      assert :ok = Mount.umount(folder, 0, "")
    end

    test "an earlier stage is reported first" do
      data = options(2 * page_size(), "x")
      mount = &Mount.mount("", "/nonexistent/x", "proc", 0, data, &1, &2, &3)
      assert {:error, {:open_ns, :enoent}} = mount.("/nonexistent", "", 1)
      assert {:error, {:create, :enoent}} = mount.("", "", 1)
      own = "/proc/self/ns/mnt"
      assert {:error, {:open_pidns, :enoent}} = mount.(own, "/nonexistent", 0)
    end

    test "are refused for a procfs of another PID namespace too" do
      container = Container.start([:mount, :pid])
      folder = Folder.make!()
      [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
      data = options(2 * page_size(), "nosuchoption")

      assert Mount.mount("proc", folder, "proc", 0, data, ns, pidns, 0) ==
               expect(:D3, rust: {:error, {:mount, 7}}, c: :ok)
    end

    defp page_size do
      {size, 0} = System.cmd("getconf", ["PAGE_SIZE"])
      size |> String.trim() |> String.to_integer()
    end
  end

  describe "D4: the namespace files" do
    setup do
      container = Container.start([:mount, :pid])
      [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
      %{container: container, ns: ns, pidns: pidns, folder: Folder.make!()}
    end

    test "are looked up here, so a container needs no /proc", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context
      Container.sh!(container, "umount --lazy /proc")

      for type <- ["proc", "tmpfs"] do
        assert Mount.mount("", folder, type, 0, "", ns, pidns, 0) ==
                 expect(:D4, rust: :ok, c: {:error, {:open_pidns, :enoent}})
      end
    end

    test "are not looked up in the container", context do
      %{container: container, ns: ns, pidns: pidns, folder: folder} = context

      # A /proc of the container, in which that pid is nobody, and a file of its choice under the name.
      Container.sh!(container, "mount -t tmpfs fake /proc")
      Container.sh!(container, "mkdir -p #{Path.dirname(pidns)} && touch #{pidns}")

      assert Mount.mount("", folder, "tmpfs", 0, "", ns, pidns, 0) ==
               expect(:D4, rust: :ok, c: {:error, {:setns_pid, :einval}})
    end

    test "give their errors in the same order as in the C code", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      mount = &Mount.mount("", folder, "proc", 0, "", &1, &2, 0)
      gone = Path.dirname(ns)
      assert {:error, {:open_ns, :enoent}} = mount.(gone <> "/no", gone <> "/pid")
      assert {:error, {:open_ns, :enoent}} = mount.(gone <> "/no", gone <> "/no")
      assert {:error, {:setns, :einval}} = mount.(pidns, gone <> "/no")
      assert {:error, {:setns, :einval}} = mount.("/proc/self/stat", "/nonexistent")
      assert {:error, {:open_pidns, :enoent}} = mount.(ns, gone <> "/no")
      assert {:error, {:open_pidns, :enoent}} = mount.(ns, "/nonexistent")
    end

    test "need three descriptors at a time", %{ns: ns, pidns: pidns, folder: folder} do
      vm = Vm.start(wrap: ["prlimit", "--nofile=256:256", "--"])
      args = ["", folder, "tmpfs", 0, "", ns, pidns, 0]
      mount = &Vm.call(vm, Descriptors, :with_only, [&1, Mount, :mount, args])
      assert {:error, {:open_ns, :emfile}} = mount.(0)

      assert mount.(1) ==
               expect(:D4, rust: {:error, {:open_ns, :emfile}}, c: {:error, {:pipe, :emfile}})

      assert mount.(2) == expect(:D4, rust: {:error, {:open_pidns, :emfile}}, c: :ok)
      assert :ok = mount.(3)
    end
  end

  describe "D5: a FIFO in the place of a namespace file" do
    setup do
      fifo = Folder.make!() <> "/fifo"
      {_, 0} = System.cmd("mkfifo", [fifo])
      %{fifo: fifo}
    end

    test "does not block a call", %{fifo: fifo} do
      container = Container.start([:mount])
      ns = Container.ns_path(container, :mnt)
      # In the folder of the FIFO, which is then opened through a handle on that folder.
      beside = Path.join(Path.dirname(fifo), "mnt")
      File.ln_s!(ns, beside)

      for {module, function, args, error} <- [
            {NetlinkSocket, :open_in_netns, [fifo, 0], {:setns, 22}},
            {Mount, :umount, ["/nonexistent", 0, fifo], {:setns, :einval}},
            {Mount, :pivot_root, ["/nonexistent", "", fifo], {:setns, :einval}},
            {Mount, :mount, ["", "/nonexistent", "proc", 0, "", fifo, "", 0], {:setns, :einval}},
            {Mount, :mount, ["", "/nonexistent", "proc", 0, "", ns, fifo, 0],
             {:setns_pid, :einval}},
            {Mount, :mount, ["", "/nonexistent", "proc", 0, "", beside, fifo, 0],
             {:setns_pid, :einval}}
          ] do
        call = Task.async(fn -> apply(module, function, args) end)
        seen = Await.until(fn -> answered(call) || blocked() end)
        assert {args, seen} == {args, expect(:D5, rust: {:answer, {:error, error}}, c: :blocked)}

        if seen == :blocked do
          # A writer lets it go on.
          {_, 0} = System.cmd("sh", ["-c", ": > #{fifo}"])
          assert {:error, ^error} = Task.await(call, :infinity)
        end
      end
    end

    defp answered(task) do
      with {:ok, answer} <- Task.yield(task, 0), do: {:answer, answer}
    end

    test "and a terminal there does not become the VM's" do
      container = Container.start([:mount])
      ns = Container.ns_path(container, :mnt)
      folder = Folder.make!()
      beside = folder <> "/mnt"
      File.ln_s!(ns, beside)

      for {module, function, args, error} <- [
            {NetlinkSocket, :open_in_netns, [:terminal, 0], {:setns, 22}},
            {Mount, :umount, ["/nonexistent", 0, :terminal], {:setns, :einval}},
            {Mount, :mount, ["", "/nonexistent", "proc", 0, "", ns, :terminal, 0],
             {:setns_pid, :einval}},
            # In one folder, whose files are opened through a handle on it.
            {Mount, :mount, ["", "/nonexistent", "proc", 0, "", beside, :link, 0],
             {:setns_pid, :einval}}
          ] do
        # A terminal becomes that of a process only if it leads a session, as a service does.
        vm = Vm.start()
        assert {vm.os_pid, "0"} == session_and_terminal(vm)
        program = Program.start!(Harness.path(), ["terminal"])
        "ready " <> terminal = Program.line!(program)
        link = folder <> "/terminal"
        File.rm(link)
        File.ln_s!(terminal, link)
        args = for arg <- args, do: Map.get(%{terminal: terminal, link: link}, arg, arg)
        assert {:error, ^error} = Vm.call(vm, module, function, args)
        {_session, now} = session_and_terminal(vm)
        assert {args, now != "0"} == {args, expect(:D5, rust: false, c: true)}
        Vm.stop(vm)
        Program.dismiss(program)
      end
    end

    defp session_and_terminal(vm) do
      [_, fields] = "/proc/#{vm.os_pid}/stat" |> File.read!() |> String.split(") ")
      [_state, _parent, _group, session, terminal | _] = String.split(fields)
      {session, terminal}
    end

    # Some thread of the VM waits for the other end of a FIFO.
    defp blocked do
      waits? = fn tid ->
        File.read("/proc/self/task/#{tid}/wchan") == {:ok, "wait_for_partner"}
      end

      if Enum.any?(File.ls!("/proc/self/task"), waits?), do: :blocked
    end
  end

  describe "D6 and D7: a mount as seen from a PID namespace" do
    setup do
      container = Container.start([:mount, :pid])
      [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
      %{ns: ns, pidns: pidns, folder: Folder.make!()}
    end

    @tag :machine_root
    test "makes no process for a procfs (D6)", %{ns: ns, pidns: pidns, folder: folder} do
      args = ["", folder, "proc", 0, "", ns, pidns, 0]
      vm = Vm.start()
      TaskLimit.set!(vm, 1)

      expected =
        if without_process?(),
          do: expect(:D6, rust: :ok, c: {:error, {:fork, :eagain}}),
          else: {:error, {:fork, :eagain}}

      assert Vm.call(vm, Mount, :mount, args) == expected

      mount = &Vm.call(vm, Mount, :mount, List.replace_at(args, 2, &1))
      # FUSE depends on the PID namespace of the process that mounts it.
      assert mount.("fuse") == {:error, {:fork, :eagain}}
      # Other file systems do not.
      assert mount.("tmpfs") == expect(:D10, rust: :ok, c: {:error, {:fork, :eagain}})
    end

    test "makes a process only for file systems that depend on its PID namespace (D6, D10)",
         context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      vm = Vm.start()
      child = [:shares_memory]
      procfs = if without_process?(), do: [], else: child
      file = Path.join(folder, "file")
      File.write!(file, "")

      for {id, type, target, flags, create, rust} <- [
            {:D6, "proc", folder, 0, 0, procfs},
            {:D10, "proc", folder, @silent, 0, procfs},
            {:D10, "proc", folder <> "/no", 0, 0, []},
            {:D10, "tmpfs", folder, 0, 0, []},
            {:D10, "", file, @bind, 0, []},
            {:D10, "", file, @bind, 1, []},
            {:D10, "", folder, @private, 0, []},
            {:D10, "nosuchtype", folder, 0, 0, []},
            {:D6, "fuse", folder, 0, 0, child},
            {:D6, "fuse.x", folder, 0, 0, child},
            {:D6, "fuseblk", folder, 0, 0, child},
            {:D6, "virtiofs", folder, 0, 0, child},
            {:D6, "autofs", folder, 0, 0, child},
            {:D10, "fuse", folder, @remount, 0, []}
          ] do
        call = {Mount, :mount, ["/dev/null", target, type, flags, "", ns, pidns, create]}
        {_answer, calls} = Strace.calls(vm, ~w(clone clone3 fork vfork), call)
        made = for call <- calls, not (call =~ ~r/CLONE_THREAD|= -1 /), do: memory(call)
        assert {type, flags, made} == {type, flags, expect(id, rust: rust, c: [:copies_memory])}
      end
    end

    # Asks the kernel whether procfs takes a PID namespace as an option. If not, a process is needed.
    defp without_process?, do: Harness.can?("procfs-of-a-pid-namespace")

    defp memory(call), do: if(call =~ "CLONE_VM", do: :shares_memory, else: :copies_memory)

    test "has no descriptor without close-on-exec at any time (D7)", context do
      %{ns: ns, pidns: pidns, folder: folder} = context
      vm = Vm.start()
      opens = ~w(open openat openat2 pipe pipe2 socket fsopen fsmount open_tree dup fcntl)

      for type <- ["proc", "tmpfs"] do
        call = {Mount, :mount, ["", folder, type, 0, "", ns, pidns, 0]}
        {:ok, calls} = Strace.calls(vm, opens, call)
        assert calls != []
        inherited = for call <- calls, not (call =~ "CLOEXEC"), do: hd(String.split(call, "("))
        assert {type, inherited} == {type, expect(:D7, rust: [], c: ["pipe2"])}
      end
    end

    test "other calls have no descriptor without close-on-exec either" do
      container = Container.start([:mount, :net])
      [ns, net] = for kind <- [:mnt, :net], do: Container.ns_path(container, kind)
      folder = Folder.make!()
      vm = Vm.start()
      opens = ~w(open openat openat2 pipe pipe2 socket open_tree dup fcntl)

      for call <- [
            {NetlinkSocket, :open_in_netns, [net, 0]},
            {Mount, :mount, ["", folder, "tmpfs", 0, "", ns, "", 0]},
            {Mount, :mount, ["/dev/null", folder <> "/null", "", @bind, "", ns, "", 1]},
            {Mount, :umount, [folder, 2, ns]},
            {Mount, :pivot_root, ["/nonexistent", "", ns]}
          ] do
        {_, calls} = Strace.calls(vm, opens, call)
        assert calls != []
        assert {call, []} == {call, Enum.reject(calls, &(&1 =~ "CLOEXEC"))}
      end
    end
  end
end
