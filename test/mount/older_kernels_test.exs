defmodule LinxNative.Mount.OlderKernelsTest do
  @moduledoc """
  `LinxNative.Mount` on older kernels. A filter makes any kernel answer like one that lacks a system call: the error names the
  Linux version that is needed, and nothing is mounted or made.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error

  @moduletag :mount

  @pidfd 9

  setup do
    folder = Folder.make!()
    container = Container.start([:mount])
    inside = {:pid, container.pid}
    :ok = Mount.mount("tmpfs", folder, in: inside)
    :ok = Mount.mount("tmpfs", folder <> "/mount", in: inside, create: :directory)
    %{folder: folder, container: container, in: inside}
  end

  # Each function, in several ways.
  defp calls(%{folder: folder, in: inside}) do
    {mount, new} = {folder <> "/mount", folder <> "/new"}
    made = [in: inside, create: :directory]

    %{
      mount: {:mount, ["tmpfs", new, made]},
      mount_with_option: {:mount, ["tmpfs", new, made ++ [options: [size: "1m"]]]},
      mount_with_propagation: {:mount, ["tmpfs", new, made ++ [propagation: :shared]]},
      mount_with_id_map: {:mount, ["tmpfs", new, made ++ [id_map: [{0, 0, 1}]]]},
      bind: {:bind, ["/proc", new, made]},
      set: {:set, [mount, [in: inside, attributes: [:ro]]]},
      move: {:move, [mount, new, made]},
      umount: {:umount, [mount, [in: inside]]},
      detach: {:umount, [mount, [in: inside, detach: true]]},
      pivot_root: {:pivot_root, [mount, mount <> "/old", made]}
    }
  end

  defp state(%{container: container, folder: folder}) do
    mounts = for mount <- Container.mountinfo(container), do: {mount.mount_point, mount.options}
    {mounts, File.ls!("/proc/#{container.pid}/root#{folder}")}
  end

  for {call, answers, version, functions} <- [
        {"openat2", "ENOSYS", "5.6",
         mount: :target,
         bind: :source,
         set: :target,
         move: :source,
         umount: :target,
         detach: :target,
         pivot_root: :new_root},
        {"mount_setattr", "ENOSYS", "5.12",
         bind: :attributes,
         set: :attributes,
         mount_with_propagation: :attributes,
         mount_with_id_map: :id_map},
        {"fsopen", "ENOSYS", "5.2", mount: :file_system},
        {"fsconfig", "ENOSYS", "5.2", mount: :superblock, mount_with_option: {:option, "size"}},
        {"fsmount", "ENOSYS", "5.2", mount: :superblock},
        {"open_tree", "ENOSYS", "5.2", bind: :clone},
        {"move_mount", "ENOSYS", "5.2", mount: :attach, bind: :attach, move: :attach},
        # The answers of a kernel without `nosymfollow`.
        {"fsmount", "EINVAL", "5.14", mount: :superblock},
        {"mount_setattr", "EINVAL", "5.14", set: :attributes}
      ] do
    @call call
    @answers answers
    @version version
    @functions functions

    test "an error names Linux #{version} if #{call} fails with #{answers}", context do
      vm = Vm.start(wrap: Harness.seccomp("#{@call}=#{@answers}"))
      state = state(context)
      before = Vm.call(vm, Machine, :snapshot, [])

      for {name, stage} <- @functions do
        {function, arguments} = Map.fetch!(calls(context), name)
        assert {:error, %Error{} = error} = Vm.call(vm, Mount, function, arguments)
        reason = @answers |> String.downcase() |> String.to_existing_atom()
        assert {name, error.stage, error.reason} == {name, stage, reason}
        assert Exception.message(error) =~ "Linux #{@version}"
        assert {name, state(context)} == {name, state}
      end

      assert Vm.call(vm, Machine, :changes, [before]) == []
    end
  end

  test "functions work without system calls that they do not need",
       context do
    vm = Vm.start(wrap: Harness.seccomp("mount_setattr=ENOSYS"))

    for name <- [:mount, :move, :detach] do
      {function, arguments} = Map.fetch!(calls(context), name)
      Mount.umount(context.folder <> "/new", in: context.in, detach: true)
      assert {name, Vm.call(vm, Mount, function, arguments)} == {name, :ok}
      Mount.mount("tmpfs", context.folder <> "/mount", in: context.in)
    end
  end

  test "an error names Linux 5.8 if setns(2) refuses a pidfd", context do
    wrap = Harness.pidfd(context.container.pid, @pidfd) ++ Harness.seccomp("setns-mnt=EINVAL")
    vm = Vm.start(wrap: wrap)
    arguments = ["/proc", context.folder <> "/new", [in: {:fd, @pidfd}, create: :directory]]
    assert {:error, %Error{stage: {:enter, :in}} = error} = Vm.call(vm, Mount, :bind, arguments)
    assert error.reason == :einval
    assert Exception.message(error) =~ "Linux 5.8"
  end

  test "an error names Linux 6.11 if a pidfd does not give its namespaces", context do
    filter = Harness.seccomp("pidfd-pid-namespace=ENOTTY,pidfd-user-namespace=ENOTTY")
    vm = Vm.start(wrap: Harness.pidfd(context.container.pid, @pidfd) ++ filter)

    for {option, function, arguments} <- [
          {:pid_namespace, :mount, ["proc", context.folder]},
          {:id_map, :bind, ["/proc", context.folder]}
        ] do
      arguments = arguments ++ [[{option, {:fd, @pidfd}}, in: context.in]]
      assert {:error, %Error{} = error} = Vm.call(vm, Mount, function, arguments)
      assert {error.stage, error.reason} == {{:open, option}, :enotty}
      assert Exception.message(error) =~ "Linux 6.11"
    end
  end
end
