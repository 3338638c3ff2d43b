defmodule LinxNative.Mount.CapabilitiesTest do
  @moduledoc """
  The capabilities of `LinxNative.Mount` that its documentation lists: these alone are enough, and each of them is needed.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.Capabilities

  @moduletag :mount

  @private ~w(unshare --mount --propagation=private --)
  # To enter the VM's own mount namespace needs as much as to enter another.
  @inside [in: {:path, "/proc/self/ns/mnt"}]

  setup do
    %{folder: Folder.make!()}
  end

  defp start(capabilities), do: Vm.start(wrap: @private ++ Capabilities.only(capabilities))

  # Calls each function. Returns `:ok` or the stage and the reason for each.
  defp answers(vm, folder, where) do
    [one, two] = for name <- ~w(one two), do: "#{folder}/#{name}"

    for {function, arguments} <- [
          mount: ["tmpfs", one, [create: :directory]],
          bind: [one, two, [create: :directory]],
          set: [one, [attributes: [:ro]]],
          umount: [two, []],
          move: [one, two, []],
          umount: [two, []],
          # It fails in any case, but only without a capability with EPERM.
          pivot_root: ["/", "/", []]
        ] do
      {options, others} = List.pop_at(arguments, -1)

      case Vm.call(vm, Mount, function, others ++ [options ++ where]) do
        :ok -> :ok
        {:error, %Error{stage: :pivot_root, reason: :eperm}} -> {:pivot_root, :eperm}
        {:error, %Error{stage: :pivot_root}} -> :ok
        {:error, %Error{} = error} -> {error.stage, error.reason}
      end
    end
  end

  @works List.duplicate(:ok, 7)

  test "CAP_SYS_ADMIN is enough for the VM's own mount namespace, CAP_SYS_CHROOT is needed for another",
       %{folder: folder} do
    vm = start([:sys_admin])
    assert answers(vm, folder, []) == @works
    assert answers(vm, folder, @inside) == List.duplicate({{:enter, :in}, :eperm}, 7)

    vm = start([:sys_admin, :sys_chroot])
    assert answers(vm, folder, @inside) == @works
  end

  test "CAP_SYS_CHROOT without CAP_SYS_ADMIN is not enough", %{folder: folder} do
    vm = start([:sys_chroot])

    for where <- [[], @inside],
        {function, arguments} <- [
          mount: ["tmpfs", folder, where],
          bind: [folder, folder, where],
          set: ["/", [attributes: [:ro]] ++ where],
          umount: ["/proc", where],
          move: ["/proc", folder, where],
          pivot_root: ["/", "/", where]
        ] do
      assert {:error, %Error{} = error} = Vm.call(vm, Mount, function, arguments)
      assert {where, function, error.reason} == {where, function, :eperm}
    end
  end

  @tag :machine_root
  test "a list as id_map: needs CAP_SETUID and CAP_SETGID, and CAP_SETFCAP to show user 0",
       %{folder: folder} do
    # Shown as ids of the VM from 100000 on, or from 0 on.
    [others, root] = [[{5, 100_000, 10}], [{5, 0, 10}]]

    for {capabilities, allowed} <- [
          {[], []},
          {[:setuid, :setfcap], []},
          {[:setgid, :setfcap], []},
          {[:setuid, :setgid], [others]},
          {[:setuid, :setgid, :setfcap], [others, root]}
        ] do
      vm = start([:sys_admin | capabilities])

      for map <- [others, root] do
        result = Vm.call(vm, Mount, :mount, ["tmpfs", folder, [id_map: map]])
        assert {capabilities, map, allowed(result)} == {capabilities, map, map in allowed}
        if result == :ok, do: :ok = Vm.call(vm, Mount, :umount, [folder])

        with {:error, %Error{stage: :user_namespace} = error} <- result,
             do: assert(Exception.message(error) =~ "CAP_SETFCAP")
      end

      Vm.stop(vm)
    end
  end

  # On older kernels a tmpfs has no id map.
  defp allowed({:error, %Error{stage: :user_namespace, reason: :eperm}}), do: false
  defp allowed({:error, %Error{stage: :id_map, reason: :einval}}), do: true
  defp allowed(:ok), do: true
end
