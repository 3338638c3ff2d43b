defmodule LinxNative.Mount.NamespacesTest do
  @moduledoc """
  The namespaces of one call of `LinxNative.Mount` belong together, also if the process that they are taken from is replaced during
  the call.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{MountCalls, SyscallStepper}

  @moduletag :mount

  # As with the files of a process whose pid is reused, the same path leads to the namespaces of another process afterwards.
  @tag :machine_root
  test "are those of one process, whenever another one takes its pid" do
    folder = Folder.make!()
    containers = for _ <- 1..2, do: Container.start([:mount, :pid])
    [first, second] = for container <- containers, do: "/proc/#{container.pid}/ns"
    path = &{:path, "#{folder}/process/#{&1}"}
    hold = SyscallStepper.start()
    MountCalls.load!(hold.vm)

    options = [in: path.("mnt"), pid_namespace: path.("pid"), timeout: :infinity]
    mfa = {Mount, :mount, ["proc", "/mnt", options]}
    point_to!(folder, first)
    {:ok, calls} = hold |> SyscallStepper.begin(mfa) |> SyscallStepper.trace()
    assert mounted(containers) == [first]

    used =
      for n <- 1..Enum.find_index(calls, &(&1 == "setns")) do
        point_to!(folder, first)
        held = SyscallStepper.begin(hold, mfa, n)
        point_to!(folder, second)
        assert %{answer: :ok} = SyscallStepper.finish(held)
        assert [one] = mounted(containers)
        one
      end

    assert Enum.sort(Enum.uniq(used)) == Enum.sort([first, second])
  end

  defp point_to!(folder, target) do
    File.rm(folder <> "/process")
    File.ln_s!(target, folder <> "/process")
  end

  # Unmounts the procfs on /mnt, and returns the namespaces of the container that has it. It has to show that container's processes.
  defp mounted(containers) do
    for container <- containers,
        inside = {:pid, container.pid},
        Container.mount_at(container, "/mnt")[:fstype] == "proc" do
      shown = File.read_link!("/proc/#{container.pid}/root/mnt/1/ns/pid")
      assert shown == File.read_link!(Container.ns_path(container, :pid))
      :ok = Mount.umount("/mnt", in: inside)
      "/proc/#{container.pid}/ns"
    end
  end

  @tag :machine_root
  test "that are the VM's have the root of the VM, also after another one was entered" do
    folder = Folder.make!()
    Folder.tmpfs!(folder)
    root = folder <> "/root"
    File.mkdir!(root)
    script = "mount --rbind / #{root} && exec chroot #{root} \"$@\""
    private = ~w(unshare --mount --propagation=private -- sh -c)
    vm = Vm.start(wrap: private ++ [script, "sh"])
    container = Container.start([:mount])
    outside = Folder.make!()
    :ok = Vm.call(vm, Mount, :mount, ["tmpfs", outside])

    for {from, name} <- [{:host, "one"}, {{:pid, container.pid}, "two"}] do
      target = "#{outside}/#{name}"
      options = [from: from, create: :directory]
      assert :ok = Vm.call(vm, Mount, :bind, ["/proc", target, options])
      assert {:ok, names} = Vm.call(vm, File, :ls, [target])
      assert "self" in names
    end

    assert File.ls!(outside) == []
  end

  test "have their own errors if they are in one directory that is not there" do
    path = &{:path, "/proc/self/nothing/#{&1}"}

    assert {:error, %Error{stage: {:open, :in}, reason: :enoent}} =
             Mount.mount("proc", "/mnt", in: path.("mnt"), pid_namespace: path.("pid"))
  end
end
