defmodule LinxNative.ProcfsWaysTest do
  @moduledoc """
  A procfs of a container that is mounted from outside has the same result and the same mount as one that `mount(2)` makes inside, for
  many combinations of flags, options and sources.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Mounts

  @flags [
    ro: 1,
    nosuid: 2,
    nodev: 4,
    noexec: 8,
    sync: 16,
    mandlock: 64,
    dirsync: 128,
    nosymfollow: 256,
    noatime: 1024,
    nodiratime: 2048,
    silent: 32_768,
    posixacl: 65_536,
    relatime: 0x200000,
    i_version: 0x800000,
    strictatime: 0x1000000,
    lazytime: 0x2000000,
    # Internal flags of the kernel, and the magic number of old programs, alone and with more bits than the kernel keeps.
    kernmount: 0x400000,
    submount: 0x4000000,
    noremotelock: 0x8000000,
    nosec: 0x10000000,
    born: 0x20000000,
    active: 0x40000000,
    nouser: 0x80000000,
    beyond: 0x100000000,
    magic: 0xC0ED0000,
    magic_beyond: 0x1C0ED0000
  ]

  # Each is what an option of procfs can be like: right, wrong, of another type, twice, empty.
  @options [
    "hidepid=0",
    "hidepid=1",
    "hidepid=2",
    "hidepid=4",
    "hidepid=off",
    "hidepid=noaccess",
    "hidepid=invisible",
    "hidepid=ptraceable",
    "hidepid=3",
    "hidepid=9",
    "hidepid=-1",
    "hidepid=02",
    "hidepid=0x2",
    "hidepid= 2",
    "hidepid=2 ",
    "hidepid=Invisible",
    "hidepid=99999999999999999999",
    "hidepid=",
    "hidepid",
    "hidepid=1,hidepid=2",
    "hidepid=9,hidepid=2",
    "gid=0",
    "gid=7",
    "gid=65534",
    "gid=007",
    "gid=0x7",
    "gid=-1",
    "gid=4294967295",
    "gid=4294967296",
    "gid=x",
    "gid=",
    "gid",
    "subset=pid",
    "subset=",
    "subset",
    "subset=pid+pid",
    "subset=nothing",
    "subset=pid,subset=pid",
    "hidepid=2,gid=7,subset=pid",
    "hidepid=invisible,gid=7",
    "ro",
    "rw",
    "ro,rw",
    "sync",
    "async",
    "dirsync",
    "lazytime",
    "nolazytime",
    "mand",
    "nomand",
    "ro=1",
    "sync=x",
    "source=other",
    "source=",
    "source",
    "silent",
    "nosuid",
    "noexec",
    "defaults",
    "nosuchoption",
    "nosuchoption=1",
    "HIDEPID=2",
    " hidepid=2",
    "hidepid =2",
    ",",
    ",,,",
    ",,hidepid=1,,",
    "=",
    "=x",
    "=x,subset=pid",
    "=,=,hidepid=2",
    "hidepid==2",
    "hidepid=2=2",
    "hidepid=2\n",
    "h\u00EFdepid=2",
    <<255, 254>>,
    "hidepid=2;gid=7",
    ~s("hidepid=2"),
    "pidns=",
    "pidns",
    "pidns=/nonexistent",
    "pidns=/proc/self/ns/net",
    "pidns=/",
    "context=x",
    "security=x",
    "fscontext=x",
    "umask=022",
    "uid=0",
    "mode=555"
  ]

  @sources [
    "",
    "proc",
    "none",
    "linx",
    "name with spaces",
    "tab\tand\nnewline",
    "back\\slash",
    "comma,and=equals",
    "#comment",
    "n\u00E4me",
    <<255, 254, 1>>,
    "/dev/null",
    "/",
    ".",
    " ",
    String.duplicate("s", 254),
    String.duplicate("s", 255),
    String.duplicate("s", 256),
    String.duplicate("s", 1_000),
    String.duplicate("s", 4_094),
    String.duplicate("s", 4_095),
    String.duplicate("s", 4_096)
  ]

  @long [
    "hidepid=" <> String.duplicate("0", 246) <> "2",
    "hidepid=" <> String.duplicate("0", 247) <> "2",
    "hidepid=" <> String.duplicate("0", 255) <> "2",
    "hidepid=" <> String.duplicate("2", 300),
    "gid=" <> String.duplicate("0", 300) <> "7",
    String.duplicate("x", 255),
    String.duplicate("x", 256),
    String.duplicate("x", 300),
    "hidepid=2," <> String.duplicate("x", 300),
    String.duplicate(",", 4_000) <> "hidepid=2"
  ]

  setup do
    container = Container.start([:mount, :pid])
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    folder = Folder.make!()
    File.mkdir!(folder <> "/target")
    File.write!(folder <> "/file", "")
    File.ln_s!("target", folder <> "/link")
    File.ln_s!("loop", folder <> "/loop")

    %{
      container: container,
      ns: ns,
      pidns: pidns,
      folder: folder,
      inside: Mounts.start!(container)
    }
  end

  defp requests do
    single = for {name, flag} <- @flags, do: {name, flag}
    names = Enum.take(single, 16)
    pairs = for {a, x} <- names, {b, y} <- names, x < y, do: {{a, b}, x + y}
    all = Enum.sum(for {_, flag} <- names, do: flag)

    flags =
      [{:none, 0}, {:all, all}, {:magic_and_all, all + 0xC0ED0000}] ++
        [{:magic_and_ro, 0xC0ED0001}, {:magic_beyond_and_ro, 0x1C0ED0001}] ++ single ++ pairs

    by_flags = for {_, flags} <- flags, do: {"linx", "/target", flags, ""}
    by_options = for data <- @options ++ @long, do: {"linx", "/target", 0, data}
    by_source = for source <- @sources, do: {source, "/target", 0, ""}

    mixed =
      for {data, n} <- Enum.with_index(Enum.take_every(@options, 3)) do
        {_, flags} = Enum.at(names, rem(n, length(names)))
        {Enum.at(@sources, rem(n, 15)), "/target", flags, data}
      end

    by_target =
      for target <- ["/missing", "/missing/x", "/file", "/file/x", "/link", "/loop", "/target/."],
          data <- ["", "hidepid=2", "nosuchoption", "hidepid=9"],
          source <- ["linx", String.duplicate("s", 5_000)],
          do: {source, target, 0, data}

    Enum.uniq(by_flags ++ by_options ++ by_source ++ mixed ++ by_target)
  end

  test "the result and the mount are the same", context do
    %{container: container, ns: ns, pidns: pidns, folder: folder, inside: inside} = context
    requests = requests()

    differences =
      for {source, target, flags, data} <- requests,
          target = folder <> target,
          reference =
            seen(container, ns, Mounts.mount(inside, source, target, "proc", flags, data)),
          ours =
            seen(
              container,
              ns,
              Mount.mount(source, target, "proc", flags, data, ns, pidns, 0)
            ),
          reference != ours,
          do: {{source, target, flags, data}, inside: reference, ours: ours}

    assert length(requests) > 300
    assert {length(requests), differences} == {length(requests), []}
  end

  # Undoes what was mounted, and tells all of it but for its numbers.
  defp seen(_, _, {:error, _} = error), do: error

  defp seen(container, ns, :ok) do
    mount = List.last(Container.mountinfo(container))
    :ok = Mount.umount(mount.mount_point, 0, ns)
    %{mount | id: nil, parent: nil, device: nil}
  end
end
