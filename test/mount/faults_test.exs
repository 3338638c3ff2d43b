defmodule LinxNative.Mount.FaultsTest do
  @moduledoc """
  Each system call of each function of `LinxNative.Mount` fails, each in several ways: the error names its stage, and
  nothing is left.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{MountCalls, SyscallStepper}

  @moduletag :mount

  @errnos ~w(ENOSYS EPERM EINTR ENOMEM EMFILE)

  # The stages of the system calls in their order. `nil`: what fails there is no error. `:again`: one that was interrupted is made
  # again.
  @enter [:unshare, {:open, :in}, {:enter, :in}]
  @prepare [:unshare, :unshare, {:open, :in}]
  @make [:create, :create, nil, :create]
  @stages %{
    set: @enter ++ [:target, :attributes],
    umount: @enter ++ [:target, :target, :umount, nil],
    detach: @prepare ++ [{:enter, :in}, :target, :umount, :umount],
    move: @enter ++ [:source, :target] ++ @make ++ [:attach],
    bind:
      @prepare ++
        [:source, :source, :clone, :attributes, {:enter, :in}, :target] ++ @make ++ [:attach],
    mount:
      @prepare ++
        [:file_system, {:option, "size"}, :superblock, :superblock, :attributes] ++
        [{:enter, :in}, :target] ++ @make ++ [:attach],
    # To its last system call, or to that which a kernel refuses that cannot map the ids of a tmpfs.
    id_map:
      @prepare ++
        [{:pipe, :user_namespace}, {:pipe, :user_namespace}, :user_namespace, :user_namespace] ++
        List.duplicate({:again, :user_namespace}, 3) ++
        [:user_namespace, :file_system, :superblock, :superblock, :id_map],
    pivot_root:
      @prepare ++
        [{:enter, :in}, :new_root, :put_old] ++ @make ++ [:pivot_root, :pivot_root]
  }

  @tag :machine_root
  test "each system call of each function fails" do
    hold = SyscallStepper.start()
    container = Container.start([:mount])
    folder = Folder.make!()
    inside = {:pid, container.pid}
    :ok = Mount.mount("tmpfs", folder, in: inside)
    :ok = Mount.mount("tmpfs", folder <> "/mount", in: inside, create: :directory)
    there = [in: inside, timeout: :infinity]
    {path, new} = {folder <> "/mount", folder <> "/new"}
    made = there ++ [create: :directory]

    calls = [
      set: {:set, [path, there ++ [attributes: [:ro]]]},
      umount: {:umount, [path, there]},
      detach: {:umount, [path, there ++ [detach: true]]},
      move: {:move, [path, new, made]},
      bind: {:bind, ["/proc", new, made ++ [attributes: [:ro]]]},
      mount: {:mount, ["tmpfs", new, made ++ [options: [size: "1m"], propagation: :unbindable]]},
      id_map: {:mount, ["tmpfs", new, made ++ [id_map: [{0, 1000, 5}]]]},
      # The old root below the new one, at a place that is made. Which the kernel refuses, so that the root stays.
      pivot_root: {:pivot_root, [folder <> "/plain", folder <> "/plain/old", made]}
    ]

    File.mkdir!("/proc/#{container.pid}/root#{folder}/plain")
    state = fn -> {state(container), File.ls!("/proc/#{container.pid}/root#{folder}/plain")} end
    MountCalls.load!(hold.vm)
    before = Vm.call(hold.vm, Machine, :snapshot, [])

    for {name, {function, arguments}} <- calls do
      mfa = {Mount, function, arguments}
      unchanged = state.()

      for {stage, n} <- Enum.with_index(Map.fetch!(@stages, name), 1),
          stage != nil,
          errno <- errnos(stage) do
        held = SyscallStepper.begin(hold, mfa, n)

        assert is_map_key(held, :held),
               "#{name} makes fewer system calls than #{n}: #{inspect(held)}"

        %{answer: answer} = held |> SyscallStepper.fail(errno) |> SyscallStepper.finish()
        reason = errno |> String.downcase() |> String.to_existing_atom()
        assert {^name, ^n, {:error, %Error{stage: found, reason: why}}} = {name, n, answer}

        assert {name, n, held.held, errno, found, why} ==
                 {name, n, held.held, errno, stage(stage), reason}

        assert {name, n, errno, state.()} == {name, n, errno, unchanged}
      end

      changes = Vm.call(hold.vm, Machine, :changes, [before])
      assert {name, changes} == {name, []}
    end
  end

  # From the system call on that tells that procfs has no option for a PID namespace, which is so before Linux 6.17.
  @by_child [{:enter, :in}, :target] ++
              @make ++ [:target, {:enter, :pid_namespace}, :fork, :superblock, nil]

  @tag :machine_root
  test "each system call of a procfs that a child mounts fails" do
    hold = SyscallStepper.start()
    container = Container.start([:mount, :pid])
    folder = Folder.make!()
    inside = {:pid, container.pid}
    :ok = Mount.mount("tmpfs", folder, in: inside)
    options = [in: inside, pid_namespace: inside, create: :directory, timeout: :infinity]
    mfa = {Mount, :mount, ["proc", folder <> "/new", options]}
    MountCalls.load!(hold.vm)
    before = Vm.call(hold.vm, Machine, :snapshot, [])
    state = fn -> {state(container), File.ls!("/proc/#{container.pid}/root#{folder}")} end
    unchanged = state.()

    for {stage, n} <- Enum.with_index(@by_child, 1), stage != nil, errno <- @errnos do
      begun =
        hold
        |> SyscallStepper.begin(mfa)
        |> SyscallStepper.continue_to("fsconfig")
        |> SyscallStepper.fail("EINVAL")

      held = Enum.reduce(2..n//1, begun, fn _, held -> SyscallStepper.continue(held) end)
      assert is_map_key(held, :held), "there are fewer system calls than #{n}: #{inspect(held)}"
      %{answer: answer} = held |> SyscallStepper.fail(errno) |> SyscallStepper.finish()
      reason = errno |> String.downcase() |> String.to_existing_atom()
      assert {^n, {:error, %Error{stage: found, reason: why}}} = {n, answer}
      assert {n, held.held, errno, found, why} == {n, held.held, errno, stage, reason}
      assert {n, errno, state.()} == {n, errno, unchanged}
    end

    assert Vm.call(hold.vm, Machine, :changes, [before]) == []
  end

  defp errnos({:again, _stage}), do: @errnos -- ["EINTR"]
  # musl makes a pipe otherwise then.
  defp errnos({:pipe, _stage}), do: if(Machine.musl?(), do: @errnos -- ["ENOSYS"], else: @errnos)
  defp errnos(_stage), do: @errnos

  defp stage({how, stage}) when how in [:again, :pipe], do: stage
  defp stage(stage), do: stage

  defp state(container) do
    Enum.sort(for mount <- Container.mountinfo(container), do: {mount.mount_point, mount.options})
  end
end
