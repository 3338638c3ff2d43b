defmodule LinxNative.UnderLinxTest do
  @moduledoc """
  An application that has Linx and adds one line to its `deps`. `script/integration` tests more of it.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Build.{Prebuilt, Target}
  alias LinxNative.Test.Folder

  @moduletag :rust
  @moduletag timeout: 600_000

  @libraries ~w(linx_mount.so netlink_socket.so)

  setup do
    folder = Folder.make!()
    linx = Path.join(folder, "linx")
    copy_linx!(linx)
    app = Path.join(folder, "app")
    File.mkdir_p!(Path.join(app, "lib"))
    File.write!(Path.join(app, "lib/app.ex"), "defmodule App, do: @moduledoc(false)\n")
    {:ok, app: app, linx: linx, prebuilt: prebuilt!(Path.join(folder, "prebuilt"))}
  end

  test "runs on the Rust libraries, also after Linx is built again", context do
    write_mix_exs!(context, [:linx, :linx_native])

    said = mix!(context, ["compile"])
    refute said =~ ~r/warning|redefining/i
    assert said =~ ~r"^linx_native: swapped .* in _build/dev/lib/linx/priv; running VMs keep"m
    assert libraries(context, "linx") == libraries(context, "linx_native")
    # Nothing that Linx has is there a second time.
    assert Path.wildcard(path(context, "linx_native/ebin/Elixir.Linx.*")) == []

    # Nothing to be done, nothing said. Our departure D1 shows who answers.
    answer = ~S|IO.inspect(Linx.Netlink.Socket.Native.open_in_netns(["/none", 0, "x"], 0))|
    assert mix!(context, ["run", "-e", answer]) == "{:error, {:open, 22}}\n"

    kept = File.read!(path(context, "linx/swapped_out/linx_mount.so"))

    assert mix!(context, ["compile"], %{"CFLAGS" => "-O1"}) =~
             "linx_native: removed the older original"

    assert libraries(context, "linx") == libraries(context, "linx_native")
    refute File.read!(path(context, "linx/swapped_out/linx_mount.so")) == kept

    write_mix_exs!(context, [:linx])
    mix!(context, ["deps.compile", "linx", "--force"])
    assert mix!(context, ["run", "-e", answer]) =~ "{:error, {:open, 2}}\n"
  end

  test "does not compile if the Rust libraries do not load in the modules of that Linx",
       context do
    libraries = Map.new(Mix.Tasks.Compile.LinxNative.crates(), &{&1, "not a library"})
    Prebuilt.write!(context.prebuilt, libraries, Mix.Project.config()[:version], Target.host())
    write_mix_exs!(context, [:linx, :linx_native])

    assert {said, 1} = mix(context, ["compile"])

    assert said =~
             ~r/^linx_native: the libraries of linx_native do not load in .*Failed to load NIF library/m

    refute said =~ "Generated app app"
    refute libraries(context, "linx") == libraries(context, "linx_native")
    refute File.exists?(path(context, "linx/swapped_out"))
  end

  test "without Linx has the two modules of linx_native, until Linx is added", context do
    write_mix_exs!(context, [:linx_native])
    refute mix!(context, ["compile"]) =~ ~r/warning|swapped/i
    module = path(context, "linx_native/ebin/Elixir.Linx.Mount.Native.beam")
    assert File.exists?(module)

    write_mix_exs!(context, [:linx_native, :linx])
    said = mix!(context, ["compile"])
    refute said =~ ~r/warning|redefining/i
    assert said =~ "linx_native: swapped"
    refute File.exists?(module)

    write_mix_exs!(context, [:linx_native])
    mix!(context, ["compile"])
    assert File.exists?(module)
  end

  test "a Linx that only another dependency brings is an error with a remedy", context do
    between = Path.join(Path.dirname(context.app), "between")
    File.mkdir_p!(between)
    write_mix_exs!(%{context | app: between}, [:linx], "between")
    write_mix_exs!(Map.put(context, :between, between), [:linx_native, :between])

    assert {said, 1} = mix(context, ["compile"])
    assert said =~ "linx_native: both Linx and linx_native define Linx.Mount.Native"
    assert said =~ "Linx has to be in `deps` of the same mix.exs as linx_native"

    write_mix_exs!(Map.put(context, :between, between), [:linx_native, :between, :linx])
    assert mix!(context, ["compile"]) =~ "linx_native: swapped"
  end

  defp write_mix_exs!(context, deps, name \\ "app") do
    paths = Map.put(context, :linx_native, File.cwd!())
    deps = for dep <- deps, do: {dep, path: Map.fetch!(paths, dep)}

    File.write!(Path.join(context.app, "mix.exs"), """
    defmodule #{Macro.camelize(name)}.MixProject do
      use Mix.Project
      def project, do: [app: :#{name}, version: "1.0.0", deps: #{inspect(deps)}]
    end
    """)
  end

  defp mix!(context, args, env \\ %{}) do
    {said, status} = mix(context, args, env)
    assert status == 0, "mix #{Enum.join(args, " ")}: #{said}"
    said
  end

  defp mix(context, args, env \\ %{}) do
    unset = ~w(MIX_ENV MIX_TARGET MIX_BUILD_PATH MIX_BUILD_ROOT CFLAGS LINX_NATIVE_TARGET)

    env =
      unset
      |> Map.new(&{&1, nil})
      |> Map.put("LINX_NATIVE_PREBUILT", context.prebuilt)
      |> Map.merge(env)

    System.cmd("mix", args, cd: context.app, env: env, stderr_to_stdout: true)
  end

  # The very libraries of this run.
  defp prebuilt!(folder) do
    priv = :code.priv_dir(:linx_native)
    names = Mix.Tasks.Compile.LinxNative.crates()
    libraries = Map.new(names, &{&1, File.read!(Path.join(priv, &1 <> ".so"))})
    Prebuilt.write!(folder, libraries, Mix.Project.config()[:version], Target.host())
    folder
  end

  defp copy_linx!(to) do
    for file <- ~w(mix.exs lib c_src) do
      File.mkdir_p!(to)

      File.cp_r!(Path.join("integration/linx", file), Path.join(to, file),
        dereference_symlinks: true
      )
    end
  end

  defp libraries(context, app) do
    for name <- @libraries, do: File.read!(path(context, "#{app}/priv/#{name}"))
  end

  defp path(context, relative), do: Path.join([context.app, "_build/dev/lib", relative])
end
