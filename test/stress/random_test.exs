defmodule LinxNative.RandomTest do
  @moduledoc """
  Thousands of random calls on both implementations, each in a VM and a container of its own, give the same answers and mounts.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.RandomCalls

  @moduletag :rust
  @calls 10_000
  @batch 500
  @read_only 1
  @seed {2026, 11, 23}

  test "both implementations return the same for #{@calls} random calls and leave the same mounts" do
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

    # Not at the top of what is mounted: `..` of it is ours too.
    run = %{
      container: container,
      vm: vm,
      folder: folder,
      strings: Map.put(names, :folder, folder <> "/root")
    }

    for ns <- ["", names.mnt], do: furnish(run, ns)
    run
  end

  # Mounts the same file systems in the VM's and in the container's mount namespace.
  defp furnish(%{vm: vm, folder: folder, strings: %{folder: root}}, ns) do
    inside = if ns == "", do: "/proc/#{vm.os_pid}/root", else: Path.dirname(ns) <> "/../root"
    mount = &(:ok = Vm.call(vm, Mount, :mount, ["linx", &1, "tmpfs", &2, "", ns, "", 0]))
    make = &File.mkdir!(inside <> root <> &1)

    mount.(folder, 0)
    for name <- ["", "/a", "/b", "/a/deep", "/store", "/read_only"], do: make.(name)
    for name <- ~w(file other), do: File.write!("#{inside}#{root}/#{name}", name)
    File.ln_s!("a", inside <> root <> "/link")
    File.ln_s!("loop", inside <> root <> "/loop")
    mount.(root <> "/store", 0)
    make.("/store/deep")
    mount.(root <> "/read_only", @read_only)
  end

  defp answers(%{vm: vm, container: container, folder: folder, strings: strings}, calls) do
    answers = Vm.call(vm, RandomCalls, :run, [calls, strings])
    {answers, for(pid <- [vm.os_pid, container.pid], do: mounts(pid, folder))}
  end

  defp mounts(pid, folder) do
    for %{mount_point: path} = mount <- MountInfo.list(pid), String.starts_with?(path, folder) do
      {Path.relative_to(path, folder), mount.root, mount.options, mount.fstype, mount.source,
       mount.super_options, length(mount.propagation)}
    end
  end
end
