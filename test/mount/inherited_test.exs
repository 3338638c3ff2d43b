defmodule LinxNative.Mount.InheritedTest do
  @moduledoc """
  Every descriptor of `LinxNative.Mount` is close-on-exec from its creation, so a program that the VM starts does not inherit it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Test.{MappedContainer, MountCalls}

  @moduletag :mount

  @fd 9

  # Each function, with all that makes it open something.
  defp calls(folder, here, target, namespace) do
    [path, new, overlay, procfs] =
      for name <- ~w(path new overlay procfs), do: "#{folder}/#{name}"

    made = [in: namespace, create: :directory]
    lines = [id_map: [{0, 1000, 5}]]
    of_container = [id_map: namespace]

    [
      {:mount, ["tmpfs", path, made ++ [options: [mode: 755], propagation: :private] ++ lines]},
      {:mount, ["tmpfs", new, made ++ of_container]},
      {:mount, ["overlay", overlay, made ++ [options: [lowerdir: [here, "/proc"]]]]},
      {:mount, ["proc", procfs, made ++ [pid_namespace: namespace]]},
      {:bind, [here, path, made ++ [recursive: true, attributes: [:ro]] ++ lines]},
      {:bind, [here, path, made ++ of_container]},
      {:bind, [folder, folder, [from: namespace, in: namespace]]},
      {:bind, [folder, target, [from: namespace]]},
      {:bind, [here <> "/file", folder <> "/file", [in: namespace, create: :file]]},
      {:set, [folder, [in: namespace, attributes: [:nodev]]]},
      {:move, [folder, here, made]},
      {:umount, [folder, [in: namespace]]},
      {:umount, [folder, [in: namespace, detach: true]]},
      {:pivot_root, [folder, folder <> "/old", made]}
    ]
  end

  # Their results do not matter here: a kernel may refuse some, and some undo others.
  @tag :machine_root
  test "of any function, however its namespace is given" do
    container = MappedContainer.start()
    [folder, here, target] = for _ <- 1..3, do: Folder.make!()
    Folder.tmpfs!(here)
    File.write!(here <> "/file", "")
    :ok = Mount.mount("tmpfs", folder, in: {:pid, container.pid})

    for namespace <- [{:pid, container.pid}, {:fd, @fd}] do
      vm = Vm.start(wrap: Harness.pidfd(container.pid, @fd))
      MountCalls.load!(vm)

      for {function, arguments} <- calls(folder, here, target, namespace) do
        {_, made, inheritable} = Strace.descriptors(vm, {Mount, function, arguments})
        assert made != []
        assert {function, arguments, inheritable} == {function, arguments, []}
        Mount.umount(target)
      end
    end
  end
end
