defmodule LinxNative.Mount.ExamplesTest do
  @moduledoc """
  Runs `examples/container.exs`, and the example in the documentation of `LinxNative.Mount`.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Test.{MappedContainer, Surroundings}

  @moduletag :mount
  @moduletag :machine_root

  @root Path.expand("../..", __DIR__)

  test "container.exs prints the container from both sides, and leaves nothing" do
    folder = Folder.make!()
    env = [{"MIX_ENV", to_string(Mix.env())}, {"TMPDIR", folder}]
    options = [cd: @root, env: env, stderr_to_stdout: true]
    {output, status} = System.cmd("mix", ~w(run --no-compile examples/container.exs), options)
    assert Enum.reject(File.ls!(folder), &Surroundings.of_mix?/1) == []

    if Harness.can?("id-map-of-a-tmpfs") do
      assert {output, status} == {output, 0}
      shows_the_container(output)
    else
      assert {output, status} == {output, 1}
      assert output =~ ~r/LinxNative.Mount.Error.*tmpfs: 6.3/
    end
  end

  defp shows_the_container(output) do
    for line <- [
          "  I am 0, process ",
          "  /dev has null random urandom zero",
          "  /data/file belongs to 0",
          "  /data/deep/file belongs to 0",
          "  /made belongs to 0",
          "  made inside, and belongs to 100000",
          "  more/file",
          "  now /more has 0 files",
          "All of it is gone: true"
        ],
        do: assert(output =~ "\n" <> line, output)

    for name <- ~w(/data/new /data/deep/new),
        do: assert(output =~ ~r/'?#{name}'?: Read-only file system/)

    assert output =~ "the kernel says: tmpfs: Unknown parameter 'sise'"
  end

  # The steps under this heading of the module's documentation.
  defp documented_steps(heading) do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Mount)
    [_, section] = String.split(text, "\n## #{heading}\n", parts: 2)
    [section | _] = String.split(section, "\n## ", parts: 2)
    code = for "    " <> line <- String.split(section, "\n"), do: line
    Enum.join(code, "\n")
  end

  test "the steps of the documentation build a container" do
    folder = Folder.make!()
    :ok = Mount.mount("tmpfs", folder, options: [mode: 755], propagation: :private)
    on_exit(fn -> Mount.umount(folder, detach: true) end)

    for name <-
          ~w(image image/etc blue blue/root blue/image blue/upper blue/work data data/deep more),
        do: File.mkdir!("#{folder}/#{name}")

    :ok = Mount.mount("tmpfs", folder <> "/data/deep")

    for path <- ~w(image/etc/file data/file data/deep/file more/file),
        do: File.write!("#{folder}/#{path}", path)

    for name <- ~w(upper work), do: File.chown!("#{folder}/blue/#{name}", MappedContainer.first())

    container = MappedContainer.start()
    inside = {:pid, container.pid}
    # Checks the container before the last steps.
    steps =
      "alias LinxNative.Mount\n" <>
        String.replace(documented_steps("A container"), "/srv", folder)

    [steps, later] = String.split(steps, "# Later", parts: 2)

    if Harness.can?("id-map-of-a-tmpfs") do
      {:ok, _} = Code.eval_string(steps, inside: inside)
      looks_as_documented(container)
      {:ok, _} = Code.eval_string("alias LinxNative.Mount\n# Later" <> later, inside: inside)
      assert File.ls!("/proc/#{container.pid}/root/more") == []
    else
      # The first one.
      error = assert_raise MatchError, fn -> Code.eval_string(steps, inside: inside) end
      assert {:error, %Mount.Error{stage: :id_map, reason: :einval}} = error.term
    end
  end

  defp looks_as_documented(container) do
    seen = &"/proc/#{container.pid}/root#{&1}"
    assert Enum.sort(File.ls!(seen.("/"))) == ~w(data dev etc proc)
    assert File.read!(seen.("/data/deep/file")) == "data/deep/file"
    assert %{uid: 100_000} = File.stat!(seen.("/data/file"))
    assert %{uid: 100_000} = File.stat!(seen.("/etc/file"))
    assert Enum.sort(File.ls!(seen.("/dev"))) == ~w(null random urandom zero)
    assert File.exists?(seen.("/proc/self"))

    for path <- ["/data", "/data/deep"] do
      assert "ro" in Container.mount_at(container, path).options
    end
  end
end
