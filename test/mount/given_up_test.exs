defmodule LinxNative.Mount.GivenUpTest do
  @moduledoc """
  Calls of `LinxNative.Mount` that time out, or whose caller is killed, mount nothing and hold nothing of the VM.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{Hang, MountCalls, SyscallStepper}

  @moduletag :mount

  defp private_vm, do: Vm.start(wrap: ["unshare", "--mount", "--propagation=private", "--"])

  describe "in a file system that does not answer" do
    @describetag :machine_root

    test "each function times out, and the VM continues to read files" do
      folder = Folder.make!()
      vm = private_vm()
      before = Machine.snapshot()
      hang = Hang.mount!(vm, folder)
      inside = {:path, "/proc/#{vm.os_pid}/ns/mnt"}
      there = [in: inside]

      calls = [
        fn path, time -> Mount.mount("tmpfs", path, there ++ time) end,
        fn path, time -> Mount.mount("tmpfs", path, there ++ [create: :directory] ++ time) end,
        fn path, time ->
          Mount.mount(
            "overlay",
            "/mnt",
            there ++ [from: inside, options: [lowerdir: path]] ++ time
          )
        end,
        fn path, time -> Mount.bind("/dev/null", path, there ++ [create: :file] ++ time) end,
        fn path, time -> Mount.bind(path, "/mnt", there ++ [from: inside] ++ time) end,
        fn path, time -> Mount.set(path, there ++ [attributes: [:ro]] ++ time) end,
        fn path, time -> Mount.move(path, "/mnt", there ++ time) end,
        fn path, time -> Mount.move("/proc", path, there ++ time) end,
        fn path, time -> Mount.umount(path, there ++ time) end,
        fn path, time -> Mount.umount(path, there ++ [detach: true] ++ time) end,
        fn path, time -> Mount.pivot_root(path, path, there ++ time) end
      ]

      mounts = MountInfo.list(vm.os_pid)
      hanging = for {call, n} <- Enum.with_index(calls), do: hang(call, "#{folder}/#{n}", 50)

      # Their threads are where the kernel does not let them go.
      assert Enum.all?(hanging, &looks_up?/1)
      # They end as soon as the kernel lets them, and do nothing any more.
      Hang.release(hang)

      assert Machine.changes(before) == []

      left =
        for mount <- MountInfo.list(vm.os_pid),
            mount.mount_point != "/sys/fs/fuse/connections",
            do: mount

      assert Enum.map(left, & &1.mount_point) -- Enum.map(mounts, & &1.mount_point) == []
    end

    # Returns the thread of a call that hangs. If the time was over before its look-up, that one ends, and the next has more time.
    defp hang(call, path, timeout) do
      before = Machine.threads()
      begun = System.monotonic_time(:millisecond)
      # A name of its own: the kernel has a second look-up of a name wait for the first.
      assert {:error, %Error{reason: :timeout}} = call.("#{path}_#{timeout}/x", timeout: timeout)
      assert System.monotonic_time(:millisecond) - begun >= timeout
      assert File.read!("/proc/self/comm") != ""
      new = Map.keys(Machine.threads()) -- Map.keys(before)
      gone? = &(not File.exists?("/proc/self/task/#{&1}"))
      assert Await.until(fn -> Enum.all?(new, &(gone?.(&1) or looks_up?(&1))) end)
      Enum.find(new, &looks_up?/1) || hang(call, path, timeout * 2)
    end

    # The number of openat2(2), the same on every machine.
    defp looks_up?(thread),
      do: match?({:ok, "437 " <> _}, File.read("/proc/self/task/#{thread}/syscall"))

    test "a hundred hanging calls delay no file I/O, and end with their callers" do
      folder = Folder.make!()
      vm = private_vm()
      hang = Hang.mount!(vm, folder)
      inside = {:path, "/proc/#{vm.os_pid}/ns/mnt"}

      threads = fn -> length(File.ls!("/proc/self/task")) end
      before = threads.()

      callers =
        for n <- 1..100 do
          # Neither the calls without a deadline nor those with a distant one wait on a scheduler.
          timeout = if rem(n, 2) == 0, do: :infinity, else: :timer.hours(24)
          spawn(fn -> Mount.mount("tmpfs", "#{folder}/#{n}", in: inside, timeout: timeout) end)
        end

      read = Task.async(fn -> Await.until(fn -> threads.() >= before + 100 end) end)
      assert Task.yield(read, patience()) == {:ok, true}
      monitors = for caller <- callers, do: Process.monitor(caller)
      for caller <- callers, do: Process.exit(caller, :kill)
      for monitor <- monitors, do: assert_receive({:DOWN, ^monitor, :process, _, :killed})
      Hang.release(hang)
    end
  end

  describe "at each system call" do
    @describetag :machine_root

    setup do
      folder = Folder.make!()
      container = Container.start([:mount])
      :ok = Mount.mount("tmpfs", folder, in: {:pid, container.pid})
      hold = SyscallStepper.start()
      MountCalls.load!(hold.vm)
      before = Vm.call(hold.vm, Machine, :snapshot, [])
      %{hold: hold, container: container, folder: folder, before: before}
    end

    defp state(%{container: container, folder: folder}) do
      mounts = for mount <- Container.mountinfo(container), do: {mount.mount_point, mount.options}
      # There is no such folder in a new root.
      files = File.ls("/proc/#{container.pid}/root#{folder}")
      {Enum.sort(mounts), with({:ok, names} <- files, do: Enum.sort(names))}
    end

    # Asked of the kernel, because a scheduler of the VM may be held.
    defp gone?(%{hold: hold, before: before}),
      do: length(File.ls!("/proc/#{hold.vm.os_pid}/task")) == map_size(before.threads)

    defp over!(%{hold: hold, before: before} = context) do
      assert Await.until(fn -> gone?(context) end)
      assert Vm.call(hold.vm, Machine, :changes, [before]) == []
    end

    test "a mount or a bind whose caller is killed leaves nothing, and is attached only if that had begun",
         context do
      %{hold: hold, container: container, folder: folder} = context
      target = folder <> "/new"
      there = [in: {:pid, container.pid}, create: :directory, timeout: :infinity]
      mapped = if Harness.can?("id-map-of-a-tmpfs"), do: [id_map: [{0, 1000, 5}]], else: []

      for {function, arguments} <- [
            mount: ["tmpfs", target, there ++ [options: [size: "1m"]] ++ mapped],
            bind: ["/proc", target, there ++ [recursive: true, attributes: [:ro]]]
          ] do
        mfa = {Mount, function, arguments}
        state = state(context)
        {:ok, calls} = hold |> SyscallStepper.begin(mfa) |> SyscallStepper.trace()
        assert length(calls) > 8
        :ok = Mount.umount(target, in: {:pid, container.pid}, detach: true)
        File.rmdir!("/proc/#{container.pid}/root#{target}")
        assert state(context) == state

        for {name, n} <- Enum.with_index(calls, 1) do
          held = SyscallStepper.begin(hold, mfa, n)
          assert {function, n, held.held} == {function, n, name}
          killed = SyscallStepper.kill(held, gone: true)
          made = SyscallStepper.trace_until(killed, fn -> gone?(context) end)
          # What is removed or detached again could be seen for a moment.
          for step <- ~w(mkdirat move_mount) do
            assert {function, n, step, step in made} == {function, n, step, name == step}
          end

          # The last fsconfig(2) makes the file system, and the other one sets its option.
          made? = name == "fsmount" or (name == "fsconfig" and Enum.at(calls, n) == "fsmount")
          assert {function, n, "fsmount" in made} == {function, n, made?}
          over!(context)
          assert {function, n, state(context)} == {function, n, state}
        end
      end
    end

    test "a caller killed during a procfs mount by a child leaves nothing", context do
      %{hold: hold, folder: folder} = context
      container = Container.start([:mount, :pid])
      inside = {:pid, container.pid}
      :ok = Mount.mount("tmpfs", folder, in: inside)
      target = folder <> "/new"
      options = [in: inside, pid_namespace: inside, create: :directory, timeout: :infinity]
      mfa = {Mount, :mount, ["proc", target, options]}
      # The kernel answers so before Linux 6.17.
      begin = fn ->
        hold
        |> SyscallStepper.begin(mfa)
        |> SyscallStepper.continue_to("fsconfig")
        |> SyscallStepper.fail("EINVAL")
      end

      context = %{context | container: container}
      state = state(context)
      {:ok, calls} = SyscallStepper.trace(begin.())
      assert "clone" in calls and "mount" in calls
      :ok = Mount.umount(target, in: inside)
      File.rmdir!("/proc/#{container.pid}/root#{target}")
      assert state(context) == state

      for {name, n} <- Enum.with_index(calls, 1) do
        held = Enum.reduce(2..n//1, begin.(), fn _, held -> SyscallStepper.continue(held) end)
        assert {n, held.held} == {n, name}

        killed = SyscallStepper.kill(held, gone: true)
        made = SyscallStepper.trace_until(killed, fn -> gone?(context) end)
        # What is detached again could be seen for a moment.
        assert {n, name, "mount" in made} == {n, name, name in ["clone", "mount"]}
        over!(context)
        assert {n, name, state(context)} == {n, name, state}
      end
    end

    test "a mount that is attached when the timeout is over is detached again", context do
      %{hold: hold, container: container, folder: folder} = context
      state = state(context)
      file = %{in: {:pid, container.pid}, create: :file}
      give_up = &attach_too_late(hold, &1, &2, 2_000)

      give_up.(:bind, ["/dev/null", folder <> "/file", Map.to_list(file)])
      over!(context)
      assert state(context) == state
      give_up.(:mount, ["tmpfs", folder <> "/new", Map.to_list(%{file | create: :directory})])
      over!(context)
      assert state(context) == state
    end

    # Held while it attaches, until the caller has its answer. Again with more time if it was over before.
    defp attach_too_late(hold, function, arguments, timeout) do
      with_time = List.update_at(arguments, -1, &(&1 ++ [timeout: timeout]))
      held = SyscallStepper.begin_at(hold, {Mount, function, with_time}, "move_mount")

      case held do
        %{answer: {:error, %Error{reason: :timeout}}} ->
          attach_too_late(hold, function, arguments, timeout * 2)

        %{held: "move_mount"} ->
          assert Await.until(fn -> not Process.alive?(held.run.pid) end)
          assert %{answer: {:error, %Error{reason: :timeout}}} = SyscallStepper.finish(held)
      end
    end

    test "a call that attached before its deadline returns :ok", context do
      hold = SyscallStepper.start(["exit"])
      MountCalls.load!(hold.vm)
      attach_in_time(%{context | hold: hold}, 1_000)
    end

    test "a call that attached before its deadline does not wait until its thread has closed its descriptors",
         context do
      hold = SyscallStepper.start(["close"])
      MountCalls.load!(hold.vm)
      before = Vm.call(hold.vm, Machine, :snapshot, [])
      context = %{context | hold: hold, before: before}
      held = attach_and_hold_close(context, 1_000)
      assert Task.yield(held.run, patience()) == {:ok, :ok}
      SyscallStepper.release(held)
      over!(context)
    end

    # Holds the thread of a call after the attachment. Tries again with more time if the deadline passed before.
    defp attach_and_hold_close(
           %{hold: hold, container: container, folder: folder} = context,
           timeout
         ) do
      options = [in: {:pid, container.pid}, timeout: timeout]
      mfa = {Mount, :mount, ["tmpfs", folder, options]}

      with %{held: "move_mount"} = held <- SyscallStepper.begin_at(hold, mfa, "move_mount"),
           %{held: "close"} = held <- SyscallStepper.continue_at(held, "close") do
        held
      else
        %{answer: {:error, %Error{reason: :timeout}}} ->
          attach_and_hold_close(context, timeout * 2)
      end
    end

    test "a mount on top of one that is detached again does not keep it", context do
      %{hold: hold, container: container, folder: folder} = context
      state = state(context)
      there = [in: {:pid, container.pid}, create: :directory, timeout: :infinity]
      mfa = {Mount, :mount, ["tmpfs", folder <> "/new", there]}
      held = SyscallStepper.begin_at(hold, mfa, "move_mount")
      SyscallStepper.kill(held, gone: true)
      assert Task.await(held.run, patience()) == :killed
      held = SyscallStepper.continue_at(held, "umount2")
      for _ <- 1..2, do: Folder.tmpfs!(folder <> "/new", container)
      SyscallStepper.release(held)
      over!(context)
      assert state(context) == state
    end

    # Holds the thread at its end until the deadline has passed. Tries again with more time if the deadline passed earlier.
    defp attach_in_time(%{hold: hold, container: container, folder: folder} = context, timeout) do
      options = [in: {:pid, container.pid}, timeout: timeout]
      deadline = System.monotonic_time(:millisecond) + timeout

      held =
        SyscallStepper.begin_at(hold, {Mount, :mount, ["tmpfs", folder, options]}, "move_mount")

      held = if is_map_key(held, :held), do: SyscallStepper.continue_at(held, "exit"), else: held
      # The call is then given up in its next turn, if it can be.
      Await.until(fn -> System.monotonic_time(:millisecond) > deadline + 100 end)
      %{answer: answer} = SyscallStepper.finish(held)
      mounts = Enum.count(Container.mountinfo(container), &(&1.mount_point == folder))

      case answer do
        :ok -> assert mounts == 2
        {:error, %Error{reason: :timeout}} -> assert mounts == 1
      end

      if answer != :ok, do: attach_in_time(context, timeout * 2)
    end

    test "the thread of an unmount leaves the directory, because it would keep the mount in use",
         context do
      %{hold: hold, container: container, folder: folder} = context

      {:ok, calls} =
        hold
        |> SyscallStepper.begin({Mount, :umount, [folder, [in: {:pid, container.pid}]]})
        |> SyscallStepper.trace()

      assert ["umount2", "chdir"] = Enum.take(calls, -2)
    end

    test "the child with the user namespace of an id map ends if the VM is killed",
         context do
      %{hold: %{vm: vm} = hold, container: container, folder: folder} = context
      options = [in: {:pid, container.pid}, id_map: [{0, 1000, 5}], timeout: :infinity]
      held = SyscallStepper.begin(hold, {Mount, :mount, ["tmpfs", folder, options]})
      # The next step writes the maps.
      held = held |> SyscallStepper.continue_to("clone") |> SyscallStepper.continue()
      own = File.read_link!("/proc/self/ns/user")

      children =
        for file <- Path.wildcard("/proc/#{vm.os_pid}/task/*/children"), do: File.read!(file)

      inside? = &(File.read_link("/proc/#{&1}/ns/user") not in [{:ok, own}, {:error, :enoent}])
      assert [child] = children |> Enum.join() |> String.split() |> Enum.filter(inside?)
      # The task of the call ends with the VM.
      Process.unlink(held.run.pid)
      {_, 0} = System.cmd("kill", ["-KILL", vm.os_pid])

      gone? = fn ->
        with {:ok, status} <- File.read("/proc/#{child}/status"), do: status =~ "State:\tZ"
      end

      over? = Await.until(gone?)
      # Otherwise it would never end, and would keep the VM's descriptors open.
      if !over?, do: System.cmd("kill", ["-KILL", child])
      assert over?
    end

    @changes ~w(mount_setattr move_mount umount2 pivot_root)

    test "a change whose caller is killed is made only if it had begun",
         context do
      %{hold: hold, container: container, folder: folder} = context
      path = folder <> "/mount"
      inside = {:pid, container.pid}
      :ok = Mount.mount("tmpfs", path, in: inside, create: :directory)
      there = [in: inside, timeout: :infinity]

      for {function, arguments, undo} <- [
            {:set, [path, there ++ [attributes: [:ro]]],
             fn -> Mount.set(path, in: inside, attributes: [:rw]) end},
            {:move, [path, folder <> "/new", there ++ [create: :directory]],
             fn ->
               :ok = Mount.move(folder <> "/new", path, in: inside)
               File.rmdir("/proc/#{container.pid}/root#{folder}/new")
             end},
            {:umount, [path, there], fn -> Mount.mount("tmpfs", path, in: inside) end},
            {:umount, [path, there ++ [detach: true]],
             fn -> Mount.mount("tmpfs", path, in: inside) end},
            {:pivot_root, [path, path <> "/old", there ++ [create: :directory]],
             fn ->
               :ok = Mount.pivot_root("/old", "/old" <> path, in: inside)
               File.rmdir("/proc/#{container.pid}/root#{path}/old")
             end}
          ] do
        mfa = {Mount, function, arguments}
        state = state(context)
        {:ok, calls} = hold |> SyscallStepper.begin(mfa) |> SyscallStepper.trace()
        done = state(context)
        assert done != state
        :ok = undo.()
        assert state(context) == state
        change = Enum.find_index(calls, &(&1 in @changes)) + 1

        for {name, n} <- Enum.with_index(calls, 1) do
          held = SyscallStepper.begin(hold, mfa, n)
          assert {function, n, held.held} == {function, n, name}

          assert %{answer: :killed} =
                   held |> SyscallStepper.kill(gone: true) |> SyscallStepper.finish()

          over!(context)
          expected = if n >= change, do: done, else: state
          assert {function, n, state(context)} == {function, n, expected}
          if n >= change, do: :ok = undo.()
        end
      end
    end
  end
end
