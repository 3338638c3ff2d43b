defmodule Mix.Tasks.Compile.LinxNativeTest do
  @moduledoc """
  The compiler task in a project in a temporary folder, with a shell script instead of cargo.
  """

  use LinxNative.Test.Case

  import ExUnit.CaptureIO

  alias LinxNative.Build.{Cargo, Prebuilt}
  alias Mix.Tasks.Compile.LinxNative

  @moduletag :rust
  @files ~w(linx_mount.so linx_native.so netlink_socket.so)
  @packages "--package netlink_socket --package linx_mount --package linx_native"

  @version ~s(case "$1" in --version\) echo "cargo 1.95.0 (f2d3ce0bd 2026-03-21\)"; exit;; esac\n)

  setup do
    name = "linx_native_mix_#{System.pid()}_#{System.unique_integer([:positive])}"
    root = Path.join(System.tmp_dir!(), name)
    bin = Path.join(root, "bin")
    File.mkdir_p!(bin)
    File.write!(Path.join(root, "Cargo.toml"), ~s([workspace.package]\nrust-version = "1.91"\n))

    variables = ~w(PATH CARGO_TARGET_DIR LINX_NATIVE_PREBUILT LINX_NATIVE_TARGET)
    before = Map.new(variables, &{&1, System.get_env(&1)})
    System.put_env(Map.new(variables, &{&1, nil}))
    System.put_env("PATH", bin <> ":" <> before["PATH"])

    on_exit(fn ->
      System.put_env(before)
      File.rm_rf!(root)
    end)

    {:ok, root: root, bin: bin}
  end

  describe "without a cargo that works" do
    test "none on PATH", %{root: root, bin: bin} do
      System.put_env("PATH", bin)

      assert {{:error, [%{severity: :error, message: message}]}, said} = compile(root)
      assert message =~ ~r/^cargo is not on PATH; install Rust with rustup/
      assert message =~ ~r/, or set LINX_NATIVE_PREBUILT to a folder of prebuilt libraries$/
      assert said == "linx_native: #{message}\n"
    end

    test "too old", %{root: root, bin: bin} do
      cargo(bin, "echo 'cargo 1.65.0'")

      assert {{:error, [diagnostic]}, said} = compile(root)
      assert diagnostic.message =~ ~r/^cargo 1\.65\.0 is too old, Rust 1\.91 is needed; `rustup/
      assert diagnostic.file == Path.join(root, "Cargo.toml")
      assert said == "linx_native: #{diagnostic.message}\n"
    end

    test "no toolchain behind rustup's cargo", %{root: root, bin: bin} do
      cargo(bin, "echo 'error: rustup could not choose a version of cargo to run'; exit 1")

      assert {{:error, [%{message: message}]}, _said} = compile(root)
      assert message =~ "exit status 1: error: rustup could not choose a version of cargo to run"
    end

    test "accepts a nightly of the needed version", %{root: root, bin: bin} do
      cargo(bin, "echo 'cargo 1.91.0-nightly (840b83a10 2025-07-30)'")
      assert Cargo.find(root) == {:ok, Path.join(bin, "cargo")}
    end

    test "versions are compared as numbers", %{root: root, bin: bin} do
      cargo(bin, "echo 'cargo 1.100.0'")
      assert Cargo.find(root) == {:ok, Path.join(bin, "cargo")}
    end

    test "another operating system" do
      assert Cargo.check_system({:unix, :linux}) == :ok
      assert {:error, "this is darwin, but" <> _} = Cargo.check_system({:unix, :darwin})
    end
  end

  describe "a build that fails" do
    test "gives the errors and warnings of rustc, in colour or not", %{root: root, bin: bin} do
      said = """
         Compiling linx_core v0.1.0 (/src/native/linx_core)
      \e[1m\e[33mwarning\e[0m\e[1m: function `unused` is never used\e[0m
        \e[1m\e[94m--> \e[0mnative/linx_core/src/lib.rs:12:4

      error[E0425]: cannot find value `nope` in this scope
       --> native/linx_core/src/netlink.rs:5:25
        |
      5 | pub fn three() -> i64 { nope }
        |                         ^^^^ not found in this scope

      note: a note has no entry of its own
        --> native/linx_core/src/error.rs:1:1

      error: could not compile `linx_core` (lib) due to 1 previous error
      """

      cargo(
        bin,
        @version <> "cat <<'END'\n#{artifact("linx_core", "rlib", "x.rlib")}#{said}END\nexit 101"
      )

      assert {{:error, [warning, error, last]}, shown} = compile(root)
      assert shown == said <> "linx_native: #{last.message}\n"
      assert last.message == "cargo failed with exit status 101, see its output above"

      assert %{severity: :warning, message: "function `unused` is never used", position: 12} =
               warning

      assert %{severity: :error, message: "cannot find value `nope` in this scope", position: 5} =
               error

      assert error.file == Path.join(root, "native/linx_core/src/netlink.rs")
      assert error.compiler_name == "linx_native"
    end

    test "because of a missing target says what to install", %{root: root, bin: bin} do
      # A line of the output of rustc 1.95.
      missing = "  = note: the `riscv64gc-unknown-linux-gnu` target may not be installed"
      cargo(bin, @version <> "echo '#{missing}' >&2; exit 101")

      assert {{:error, diagnostics}, _said} = compile(root)
      assert List.last(diagnostics).message =~ "`rustup target add riscv64gc-unknown-linux-gnu`"
    end

    test "because of a missing linker says what to install", %{root: root, bin: bin} do
      cargo(bin, @version <> "echo 'error: linker `cc` not found' >&2; exit 101")

      assert {{:error, [_, %{message: message}]}, said} = compile(root)
      assert message =~ "apt-get install gcc libc6-dev"
      assert said == "error: linker `cc` not found\nlinx_native: #{message}\n"
    end
  end

  describe "with LINX_NATIVE_PREBUILT" do
    setup %{root: root, bin: bin} do
      # A call of this cargo would leave a file.
      cargo(bin, "touch #{root}/called")
      folder = Path.join(root, "prebuilt")
      libraries = Map.new(LinxNative.crates(), &{&1, "what #{&1} is"})
      System.put_env("LINX_NATIVE_PREBUILT", folder)
      System.put_env("LINX_NATIVE_TARGET", "some-target")
      {:ok, archives: Prebuilt.write!(folder, libraries, "1.0.0", "some-target")}
    end

    test "the libraries are taken from there, without cargo", %{root: root} do
      assert compile(root) == {{:ok, []}, ""}
      priv = Path.join(build_folder(root), "priv")
      assert Enum.sort(File.ls!(priv)) == @files
      assert File.read!(Path.join(priv, "linx_mount.so")) == "what linx_mount is"
      assert compile(root) == {{:noop, []}, ""}
      refute File.exists?(Path.join(root, "called"))
    end

    test "the choice is kept without the variable and without the folder", context do
      %{root: root, archives: archives} = context
      assert compile(root) == {{:ok, []}, ""}
      System.delete_env("LINX_NATIVE_PREBUILT")
      assert compile(root) == {{:noop, []}, ""}

      library = Path.join(build_folder(root), "priv/linx_mount.so")
      File.rm!(library)
      assert compile(root) == {{:ok, []}, ""}
      assert File.read!(library) == "what linx_mount is"

      Enum.each(archives, &File.rm!/1)
      assert compile(root) == {{:noop, []}, ""}
      assert {{:error, [%{message: message}]}, _} = compile(root, ["--force"])
      assert message =~ ~r"^LINX_NATIVE_PREBUILT: cannot read .*/prebuilt/lib.*: no such file"
      assert message =~ "chosen by an earlier build; LINX_NATIVE_PREBUILT= chooses cargo"

      # Another target is not what was chosen.
      System.put_env("LINX_NATIVE_TARGET", "other-target")
      assert {{:error, [%{message: message}]}, _} = compile(root)
      assert message =~ "does not list"
      assert message =~ "chosen by an earlier build"
      refute File.exists?(Path.join(root, "called"))
    end

    test "the libraries of an earlier version are replaced, also without the variable", context do
      %{root: root} = context
      assert compile(root) == {{:ok, []}, ""}
      System.delete_env("LINX_NATIVE_PREBUILT")
      library = Path.join(build_folder(root), "priv/linx_mount.so")
      File.write!(library, "the one of 0.9.0")
      [manifest] = in_project(root, &LinxNative.manifests/0)
      File.write!(manifest, manifest |> File.read!() |> String.replace("1.0.0", "0.9.0"))

      assert compile(root) == {{:ok, []}, ""}
      assert File.read!(library) == "what linx_mount is"
      assert compile(root) == {{:noop, []}, ""}
    end

    test "an empty variable chooses cargo again, for later builds as well", context do
      %{root: root, bin: bin} = context
      assert compile(root) == {{:ok, []}, ""}
      cargo(bin, "echo 'cargo 1.65.0'")

      System.put_env("LINX_NATIVE_PREBUILT", "")
      assert {{:error, [%{message: "cargo 1.65.0 is too old" <> _}]}, _} = compile(root)

      # Nothing was built, so the choice of before is still the one that holds.
      System.delete_env("LINX_NATIVE_PREBUILT")
      assert compile(root) == {{:noop, []}, ""}

      lines =
        for crate <- LinxNative.crates(), do: artifact(crate, "cdylib", library(root, crate))

      cargo(bin, @version <> "cat <<'END'\n#{lines}END")
      System.put_env("LINX_NATIVE_PREBUILT", "")
      assert {{:ok, []}, ""} = compile(root)
      System.delete_env("LINX_NATIVE_PREBUILT")
      cargo(bin, "echo 'cargo 1.65.0'")
      assert {{:error, [%{message: "cargo 1.65.0 is too old" <> _}]}, _} = compile(root)
    end

    test "an error is one line", %{root: root, archives: archives} do
      # The first one it looks at.
      archive = Enum.find(archives, &(&1 =~ "netlink_socket"))
      File.write!(archive, "something else")
      assert {{:error, [%{message: message}]}, said} = compile(root)
      assert message =~ ~r"^LINX_NATIVE_PREBUILT: #{archive} does not match the list: "
      assert said == "linx_native: #{message}\n"

      System.put_env("LINX_NATIVE_TARGET", "other-target")
      assert {{:error, [%{message: message}]}, _} = compile(root)
      assert message =~ "does not list"
      refute File.exists?(Path.join(build_folder(root), "priv/linx_mount.so"))
    end
  end

  describe "a build" do
    setup %{root: root, bin: bin} do
      # Quotes and backslashes are what JSON escapes in a name.
      built = Path.join(root, ~S(quoted "filenames":["a\b))
      File.mkdir_p!(built)
      files = Map.new(LinxNative.crates(), &{&1, Path.join(built, "lib#{&1}.so")})
      Enum.each(files, fn {crate, file} -> File.write!(file, crate) end)

      lines = for {crate, file} <- files, do: artifact(crate, "cdylib", file)
      finished = "    Finished `release` profile [optimized] target(s) in 0.02s\n"
      log = Path.join(root, "arguments")
      cargo(bin, @version <> "echo $@ >> #{log}; cat <<'END'\n#{lines}#{finished}END")

      {:ok, files: files, log: log, priv: Path.join(build_folder(root), "priv")}
    end

    test "puts the libraries into priv and says nothing", %{root: root, log: log, priv: priv} do
      assert compile(root) == {{:ok, []}, ""}
      assert Enum.sort(File.ls!(priv)) == @files
      assert File.read!(Path.join(priv, "linx_mount.so")) == "linx_mount"

      assert File.read!(log) ==
               "build --release --locked --message-format=json-render-diagnostics " <>
                 "#{@packages} --target-dir #{build_folder(root)}/native\n"
    end

    test "replaces only changed files, each by a new file", context do
      %{root: root, files: files, priv: priv} = context
      inodes = fn -> Map.new(@files, &{&1, File.stat!(Path.join(priv, &1)).inode}) end

      assert {{:ok, []}, _} = compile(root)
      before = inodes.()
      assert {{:noop, []}, ""} = compile(root)
      assert inodes.() == before

      File.write!(files["linx_mount"], "changed")
      assert {{:ok, []}, _} = compile(root)
      assert File.read!(Path.join(priv, "linx_mount.so")) == "changed"
      assert Map.keys(Map.filter(inodes.(), &(&1 not in before))) == ["linx_mount.so"]
    end

    test "does not write to the source tree if priv is a link to it", context do
      %{root: root, priv: priv} = context
      source = Path.join(root, "priv")
      File.mkdir_p!(source)
      File.write!(Path.join(source, "other"), "")
      File.mkdir_p!(Path.dirname(priv))
      File.ln_s!("../../../../priv", priv)

      assert {{:ok, []}, _} = compile(root)
      assert File.ls!(source) == ["other"]
      assert Enum.sort(File.ls!(priv)) == Enum.sort(["other" | @files])
    end

    test "reads a line of cargo of any length", context do
      %{root: root, bin: bin, files: files, priv: priv, log: log} = context
      # Three pieces and a bit.
      long = String.duplicate("x", 200_000)

      lines =
        for {crate, file} <- files do
          crate
          |> artifact("cdylib", file)
          |> String.replace(~s("features":[]), ~s("features":["#{long}"]))
        end

      said = Path.join(root, "said")
      File.write!(said, [lines, "warning: ", long, "\n"])
      cargo(bin, @version <> "echo $@ >> #{log}; cat #{said}")

      assert {{:ok, [%{severity: :warning, message: ^long}]}, _} = compile(root)
      assert Enum.sort(File.ls!(priv)) == @files
    end

    @tag :machine_root
    test "leaves nothing half written on a full disk", context do
      %{root: root, files: files, priv: priv} = context
      File.mkdir_p!(priv)
      :ok = Mount.mount("linx", priv, "tmpfs", 0, "size=64k", "", "", 0)
      on_exit(fn -> Mount.umount(priv, 2, "") end)
      File.write!(files["netlink_socket"], String.duplicate("x", 100_000))

      assert_raise File.Error, ~r/no space left on device/, fn -> compile(root) end
      assert File.ls!(priv) -- @files == []
      # Each file is the old one, or complete.
      for name <- File.ls!(priv),
          do: assert(File.read!(Path.join(priv, name)) == Path.rootname(name))
    end

    test "leaves CARGO_TARGET_DIR to cargo", %{root: root, log: log} do
      System.put_env("CARGO_TARGET_DIR", "elsewhere")
      assert {{:ok, []}, _} = compile(root)
      refute File.read!(log) =~ "--target-dir"
    end

    test "names the chosen target", %{root: root, log: log} do
      System.put_env("LINX_NATIVE_TARGET", "aarch64-unknown-linux-gnu")
      assert {{:ok, []}, _} = compile(root, ["--force"])
      assert [clean, build, ""] = log |> File.read!() |> String.split("\n")
      for args <- [clean, build], do: assert(args =~ ~r/ --target aarch64-unknown-linux-gnu$/)
    end

    test "with --force removes cargo's artifacts first", %{root: root, log: log} do
      assert {{:ok, []}, _} = compile(root, ["--force"])
      assert [clean, "build " <> _, ""] = log |> File.read!() |> String.split("\n")
      assert clean =~ "clean --release --locked #{@packages}"
    end

    test "that lacks a library is an error", %{root: root, bin: bin} do
      cargo(bin, @version <> "exit 0")
      assert {{:error, [%{message: message}]}, _} = compile(root)
      assert message == "cargo succeeded, but named no library of netlink_socket"
    end

    test "is removed by mix clean", %{root: root, priv: priv} do
      assert {{:ok, []}, _} = compile(root)
      File.mkdir_p!(Path.join(build_folder(root), "native/release"))

      in_project(root, fn ->
        assert Enum.all?(LinxNative.manifests(), &File.exists?/1)
        assert LinxNative.clean() == :ok
        refute Enum.any?(LinxNative.manifests(), &File.exists?/1)
      end)

      assert File.ls!(priv) == []
      refute File.exists?(Path.join(build_folder(root), "native"))
    end

    test "mix clean removes no library of the source tree if priv is a link to it", context do
      %{root: root, priv: priv} = context
      source = Path.join(root, "priv")
      File.mkdir_p!(source)
      for name <- @files, do: File.write!(Path.join(source, name), "the source's")
      File.mkdir_p!(Path.dirname(priv))
      File.ln_s!("../../../../priv", priv)

      assert in_project(root, fn -> LinxNative.clean() end) == :ok
      for name <- @files, do: assert(File.read!(Path.join(source, name)) == "the source's")

      # Nor where there are none of its own in the link's place.
      assert {{:ok, []}, _} = compile(root)
      assert in_project(root, fn -> LinxNative.clean() end) == :ok
      assert File.ls!(priv) == []
      for name <- @files, do: assert(File.read!(Path.join(source, name)) == "the source's")
    end

    test "mix clean works if nothing was built", %{root: root} do
      assert in_project(root, fn -> LinxNative.clean() end) == :ok
      assert in_project(root, fn -> LinxNative.clean() end) == :ok
    end
  end

  defp library(root, crate) do
    path = Path.join(root, "lib#{crate}.so")
    File.write!(path, crate)
    path
  end

  defp cargo(bin, script) do
    path = Path.join(bin, "cargo")
    File.write!(path, "#!/bin/sh\n" <> script <> "\n")
    File.chmod!(path, 0o755)
  end

  defp artifact(crate, kind, file) do
    escaped = String.replace(file, ["\\", "\""], &("\\" <> &1))

    ~s({"reason":"compiler-artifact","package_id":"path+file:///src/native/#{crate}#0.1.0",) <>
      ~s("manifest_path":"/src/native/#{crate}/Cargo.toml","target":{"kind":["#{kind}"],) <>
      ~s("crate_types":["#{kind}"],"name":"#{crate}","src_path":"/src/lib.rs","edition":"2024"},) <>
      ~s("profile":{"opt_level":"3"},"features":[],"filenames":["#{escaped}"],) <>
      ~s("executable":null,"fresh":true}\n)
  end

  defp compile(root, args \\ []) do
    with_io(:stderr, fn ->
      # Before an error Mix prints the name of the project.
      {result, _} = with_io(fn -> in_project(root, fn -> LinxNative.run(args) end) end)
      result
    end)
  end

  defp in_project(root, fun) do
    app = app(root)
    module = Macro.camelize("#{app}")

    File.write!(Path.join(root, "mix.exs"), """
    defmodule #{module}.MixProject do
      use Mix.Project
      def project, do: [app: :#{app}, version: "1.0.0"]
    end
    """)

    Mix.Project.in_project(app, root, fn _project -> fun.() end)
  end

  # Mix keeps a project by its name.
  defp app(root), do: root |> Path.basename() |> String.to_atom()
  defp build_folder(root), do: Path.join(root, "_build/#{Mix.env()}/lib/#{app(root)}")
end
