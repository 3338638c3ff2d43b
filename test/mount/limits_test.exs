defmodule LinxNative.Mount.LimitsTest do
  @moduledoc """
  What a container can do with a mount that `LinxNative.Mount` made in it: the limits that `SECURITY.md` names.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.MappedContainer

  @moduletag :mount
  @moduletag :machine_root

  setup do
    folder = Folder.make!()
    Folder.tmpfs!(folder)
    :ok = Mount.set(folder, propagation: :private)
    for name <- ~w(source target), do: File.mkdir!("#{folder}/#{name}")
    %{folder: folder, source: folder <> "/source", target: folder <> "/target"}
  end

  defp started(propagation) do
    container = MappedContainer.start(propagation)
    {container, {:pid, container.pid}}
  end

  defp sh(container, command), do: MappedContainer.sh!(container, command <> " 2>&1 || true")

  @remount "mount -o remount,bind,rw"

  test "its root can clear read-only of a mount that was made in it, and take a tree apart",
       context do
    %{source: source} = context
    File.chmod!(source, 0o777)
    File.mkdir!(source <> "/one")
    File.write!(source <> "/one/covered", "")
    Folder.tmpfs!(source <> "/one")
    {container, inside} = started("private")
    :ok = Mount.mount("tmpfs", "/mnt", in: inside)
    bind = [in: inside, create: :directory, recursive: true, attributes: [:ro]]
    :ok = Mount.bind(source, "/mnt/in", bind)
    assert sh(container, "touch /mnt/in/new") =~ "Read-only file system"
    assert sh(container, "#{@remount} /mnt/in && touch /mnt/in/new") == ""
    assert Enum.sort(File.ls!(source)) == ["new", "one"]
    assert sh(container, "ls /mnt/in/one; umount /mnt/in/one; ls /mnt/in/one") == "covered"
  end

  test "its root cannot clear read-only of a mount that is propagated to it", context do
    %{folder: folder, source: source, target: target} = context
    File.chmod!(source, 0o777)
    :ok = Mount.set(folder, propagation: :shared)
    {container, _inside} = started("slave")
    :ok = Mount.bind(source, target, attributes: [:ro])
    assert sh(container, "#{@remount} #{target}; touch #{target}/new") =~ "Read-only file system"
    assert File.ls!(source) == []
    :ok = Mount.umount(target)
    assert sh(container, "ls #{target}") == ""
    :ok = Mount.set(folder, propagation: :private)
  end

  test "a mount on a shared target is made at its slaves too, and its source is not shared",
       context do
    %{folder: folder, source: source, target: target} = context
    File.mkdir!(source <> "/sub")
    :ok = Mount.set(folder, propagation: :shared)
    {_container, slave} = started("slave")
    :ok = Mount.bind(source, target)
    at = fn {:pid, pid}, path -> MountInfo.at(pid, path) end
    assert at.(slave, target)
    :ok = Mount.mount("tmpfs", target <> "/sub")
    assert at.(slave, target <> "/sub")
    refute MountInfo.at(source <> "/sub")
    :ok = Mount.umount(target, detach: true)
    refute at.(slave, target)

    # An unmount leaves a copy in which something is mounted.
    :ok = Mount.bind(source, target)
    :ok = Mount.mount("tmpfs", target <> "/sub", in: slave)
    :ok = Mount.umount(target)
    assert at.(slave, target)
    :ok = Mount.set(folder, propagation: :private)
  end

  test "it keeps a copy of a mount that is unmounted", %{source: source} do
    File.write!(source <> "/file", "")
    {container, inside} = started("private")
    :ok = Mount.mount("tmpfs", "/mnt", in: inside)
    :ok = Mount.bind(source, "/mnt/in", in: inside, create: :directory)

    sh(
      container,
      "mount -t tmpfs own /proc && mkdir /proc/copy && mount --bind /mnt/in /proc/copy"
    )

    :ok = Mount.umount("/mnt/in", in: inside)
    assert sh(container, "ls /mnt/in /proc/copy") =~ "file"
  end

  test "the process whose user namespace is taken chooses the id map", context do
    %{source: source} = context
    other = MappedContainer.first() + 1_000_000
    File.write!(source <> "/file", "of another container")
    File.chmod!(source <> "/file", 0o600)
    File.chown!(source <> "/file", other)
    {container, inside} = started("private")
    :ok = Mount.mount("tmpfs", "/mnt", in: inside)
    there = [in: inside, create: :directory]

    # A process of the container whose root maps that owner to itself.
    enter = ~w(--user --setuid 0 --setgid 0 -- unshare --user sh -c) ++ ["echo $$; read end"]
    process = Program.start!("nsenter", ["--target", "#{container.pid}" | enter])
    pid = Program.line!(process)
    for file <- ~w(uid_map gid_map), do: sh(container, "echo #{other} 0 1 > /proc/#{pid}/#{file}")

    if Harness.can?("id-map-of-a-tmpfs") do
      for {map, shown} <- [
            {inside, ""},
            {{:pid, String.to_integer(pid)}, "of another container"},
            {[{0, MappedContainer.first(), 65_536}], ""}
          ] do
        :ok = Mount.bind(source, "/mnt/in", [id_map: map] ++ there)

        assert {map, MappedContainer.sh!(container, "cat /mnt/in/file 2>/dev/null || true")} ==
                 {map, shown}

        :ok = Mount.umount("/mnt/in", in: inside)
      end
    else
      assert {:error, %Error{stage: :id_map}} =
               Mount.bind(source, "/mnt/in", [id_map: inside] ++ there)
    end
  end

  test "nothing can be made in a file system that does not map the VM's user", context do
    %{source: source} = context
    {container, inside} = started("private")
    MappedContainer.sh!(container, "mount -t tmpfs own /mnt && mkdir /mnt/there")

    assert {:error, %Error{stage: :create, reason: :eoverflow} = error} =
             Mount.bind(source, "/mnt/new", in: inside, create: :directory)

    assert Exception.message(error) =~ "user namespace"
    assert :ok = Mount.bind(source, "/mnt/there", in: inside)
  end
end
