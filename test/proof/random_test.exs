defmodule LinxNative.RandomTest do
  @moduledoc """
  Thousands of random calls on both implementations, each in a VM and a container of its own: same answers, same mounts.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.RandomCalls

  @calls 10_000
  @batch 500
  @seed {2026, 11, 23}

  @moduletag timeout: 300_000

  test "both implementations answer #{@calls} random calls alike and leave the same mounts" do
    IO.puts("\n#{@calls} random calls, seed #{inspect(@seed)}")
    Implementation.build_reference!()
    folder = Folder.make!()
    runs = for implementation <- [:rust, :c], do: run(implementation, folder)
    calls = RandomCalls.generate(@calls, @seed)

    for batch <- Enum.chunk_every(calls, @batch) do
      [{rust, rust_mounts}, {c, c_mounts}] = Enum.map(runs, &answers(&1, batch))

      for {call, rust, c} <- Enum.zip([batch, rust, c]) do
        assert {call, rust} == {call, c}
      end

      assert rust_mounts == c_mounts
      # Calls that did nothing at all would be alike too.
      assert :ok in rust and :opened in rust and ArgumentError in rust
    end
  end

  defp run(implementation, folder) do
    container = Container.start([:net, :mount, :pid])

    vm =
      Vm.start(
        wrap: ["unshare", "--mount", "--propagation=private", "--"],
        env: %{"LINX_NATIVE_IMPL" => "#{implementation}"}
      )

    names =
      for kind <- [:net, :mnt, :pid], into: %{}, do: {kind, Container.ns_path(container, kind)}

    run = %{
      container: container,
      vm: vm,
      folder: folder,
      strings: Map.put(names, :folder, folder)
    }

    for ns <- ["", names.mnt], do: furnish(run, ns)
    run
  end

  # The same file system in the VM's and in the container's mount namespace.
  defp furnish(%{vm: vm, folder: folder}, ns) do
    :ok = Vm.call(vm, Mount, :mount, ["linx", folder, "tmpfs", 0, "", ns, "", 0])
    inside = if ns == "", do: "/proc/#{vm.os_pid}/root", else: Path.dirname(ns) <> "/../root"
    root = inside <> folder
    for name <- ~w(a b a/deep), do: File.mkdir!("#{root}/#{name}")
    for name <- ~w(file other), do: File.write!("#{root}/#{name}", name)
    File.ln_s!("a", root <> "/link")
    File.ln_s!("loop", root <> "/loop")
  end

  defp answers(%{vm: vm, container: container, folder: folder, strings: strings}, calls) do
    answers = Vm.call(vm, RandomCalls, :run, [calls, strings], 120_000)
    {answers, for(pid <- [vm.os_pid, container.pid], do: mounts(pid, folder))}
  end

  defp mounts(pid, folder) do
    for %{mount_point: path} = mount <- MountInfo.list(pid), String.starts_with?(path, folder) do
      {Path.relative_to(path, folder), mount.root, mount.options, mount.fstype, mount.source,
       mount.super_options, length(mount.propagation)}
    end
  end
end
