defmodule LinxNative.PackageTest do
  @moduledoc """
  The files of the package: all that users build, and no tool of the tests.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Test.{Folder, Harness}

  @moduletag :rust
  @moduletag timeout: 600_000

  @root Path.expand("../..", __DIR__)

  setup do
    package = Path.join(Folder.make!(), "linx_native")
    File.mkdir!(package)

    for name <- Mix.Project.config()[:package][:files] do
      assert File.exists?(Path.join(@root, name)), "#{name} is not there"
      File.cp_r!(Path.join(@root, name), Path.join(package, name))
    end

    %{package: package}
  end

  # A way of each library, and of each part of the third.
  @program """
  linx_mount = to_string(Linx.Mount.Native.version())
  no_netns = Linx.Netlink.Socket.Native.open_in_netns("/nonexistent", 0)
  {:ok, conn} = LinxNative.Conn.start_link(:route)
  {:ok, links} = LinxNative.Conn.request(conn, LinxNative.Rtnetlink.message(:getlink, flags: [:dump]))
  {:error, no_mount} = LinxNative.Mount.umount("/nonexistent")
  IO.inspect({linx_mount, no_netns, links != [], no_mount.stage, no_mount.reason})
  """

  test "an application that has just these files builds and works", %{package: package} do
    app = Path.join(Path.dirname(package), "app")
    File.mkdir_p!(app)

    File.write!(Path.join(app, "mix.exs"), """
    defmodule App.MixProject do
      use Mix.Project
      def project, do: [app: :app, version: "1.0.0", deps: [{:linx_native, path: #{inspect(package)}}]]
    end
    """)

    assert {said, 0} = mix(app, ["compile"])
    refute said =~ ~r/warning/i
    assert {said, 0} = mix(app, ["run", "--no-compile", "-e", @program])
    assert said == ~s({"linx_mount", {:error, {:open, 2}}, true, :umount, :enoent}\n)

    assert {said, 1} = mix(app, ["linx_native.package", Path.join(app, "archives")])
    assert said =~ "Run it in the folder of linx_native itself."
  end

  # Crates that were built before are not built again: those of the package have the same names wherever it is.
  defp mix(app, args) do
    unset = ~w(MIX_ENV MIX_TARGET MIX_BUILD_PATH MIX_BUILD_ROOT LINX_NATIVE_TARGET)
    target = {"CARGO_TARGET_DIR", Path.join(Harness.target_dir(), "package")}

    System.cmd("mix", args,
      cd: app,
      env: [target | Enum.map(unset, &{&1, nil})],
      stderr_to_stdout: true
    )
  end

  test "it has the libraries and what they share, and no program", %{package: package} do
    crates = Path.wildcard(Path.join(package, "**/Cargo.toml"))
    names = for file <- crates, do: file |> Path.dirname() |> Path.relative_to(package)

    assert Enum.sort(names) ==
             Enum.sort(
               ["." | ~w(linx_core linx_mount linx_native netlink_socket nif_entry)]
               |> Enum.map(&crate/1)
             )

    assert Path.wildcard(Path.join(package, "**/main.rs")) == []
    for file <- crates, do: refute(File.read!(file) =~ "[[bin]]")
  end

  defp crate("."), do: "."
  defp crate(name), do: Path.join("native", name)

  test "nothing in it installs a system call filter, swaps names, or panics on demand", %{
    package: package
  } do
    for file <- Path.wildcard(Path.join(package, "**/*.{rs,ex,exs}")) do
      refute File.read!(file) =~
               ~r/SYS_seccomp|PR_SET_SECCOMP|renameat2|RENAME_EXCHANGE|panic!\("probe/,
             file
    end
  end

  test "every link of its pages leads to one of its files", %{package: package} do
    pages = Enum.flat_map(~w(*.md docs/*.md), &Path.wildcard(Path.join(package, &1)))
    assert pages != []

    for page <- pages,
        [_, link] <- Regex.scan(~r/\]\(([^)#:]+)(?:#[^)]*)?\)/, File.read!(page)) do
      assert File.exists?(Path.expand(link, Path.dirname(page))),
             "#{Path.relative_to(page, package)}: #{link}"
    end
  end

  test "nothing that the tests or the builds make is in it" do
    for name <- Mix.Project.config()[:package][:files],
        do: refute(name in ~w(test bench script integration target _build c_src_legacy priv doc))
  end
end
