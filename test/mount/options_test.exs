defmodule LinxNative.Mount.OptionsTest do
  @moduledoc """
  Messages of `LinxNative.Mount`: for wrong arguments, and of its errors.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.MountCalls

  @moduletag :mount

  doctest LinxNative.Mount.Error

  defp refused(function), do: Exception.message(assert_raise(ArgumentError, function))

  # A function with the options, on paths that are not there.
  @functions [
    mount: ["tmpfs", "/nowhere"],
    bind: ["/nowhere", "/nowhere"],
    set: ["/nowhere"],
    move: ["/nowhere", "/nowhere"],
    umount: ["/nowhere"],
    pivot_root: ["/nowhere", "/nowhere"]
  ]

  defp possible(:in), do: ":host, {:pid, pid}, {:path, path} or {:fd, fd}"
  defp possible(:follow), do: "true or false"
  defp possible(:timeout), do: "a number of milliseconds, 0 to 4294967295, or :infinity"

  describe "an option" do
    test "that is unknown is refused with the known ones" do
      for {function, arguments} <- @functions do
        text = refused(fn -> apply(Mount, function, arguments ++ [[tiemout: 5]]) end)
        assert text =~ "no option of #{function} is named :tiemout, did you mean :timeout?"
        assert text =~ ":in"
      end
    end

    test "has only valid values" do
      for {function, arguments} <- @functions,
          {name, value} <- [
            in: :there,
            in: {:pid, 0},
            in: {:pid, "1"},
            in: {:fd, -1},
            in: {:fd, 0x8000_0000},
            in: {:path, "a\0b"},
            follow: nil,
            timeout: -1,
            timeout: 1.5,
            timeout: 0x1_0000_0000
          ] do
        text = refused(fn -> apply(Mount, function, arguments ++ [[{name, value}]]) end)
        assert text == "the option #{inspect(name)} is #{possible(name)}, not #{inspect(value)}"
      end

      for {function, name, value} <- [
            {:mount, :create, :folder},
            {:mount, :options, "size=1m"},
            {:mount, :options, [:ro]},
            {:mount, :pid_namespace, 1},
            {:bind, :recursive, :yes},
            {:bind, :from, nil},
            {:bind, :id_map, :all},
            {:bind, :id_map, [uids: [{0, 0, 1}]]},
            {:bind, :id_map, [uids: [{0, 0, 1}], gids: []]},
            {:bind, :id_map, {:gid, 1}},
            {:bind, :id_map, [uids: [{0, 0, 1} | :b], gids: [{0, 0, 1}]]},
            {:umount, :detach, 2}
          ] do
        arguments = @functions[function] ++ [[{name, value}]]
        text = refused(fn -> apply(Mount, function, arguments) end)
        assert text =~ ~r/^the option #{inspect(name)} is .+, not .+$/
      end

      for line <-
            [{0, 0, 0}, {-1, 0, 1}, {0, 0xFFFFFFFF, 1}, {0xFFFFFFFF, 0, 1}] ++
              [{0, 0, 0xFFFFFFFF}, {0, 0}, {0, 0, "1"}] do
        assert refused(fn -> Mount.bind("/a", "/b", id_map: [{0, 0, 1}, line]) end) =~ "id_map"
      end
    end

    test "timeout has the documented default" do
      {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Mount)
      [_, default] = Regex.run(~r/`timeout:` is in milliseconds.* default (\d+)\./, text)

      for {function, _arguments} <- @functions do
        %{timeout: timeout} = LinxNative.Mount.Options.parse!(function, [])
        assert {function, timeout} == {function, String.to_integer(default)}
      end
    end

    test "is in a keyword list" do
      for {function, arguments} <- @functions, options <- [nil, %{}, [1]] do
        assert refused(fn -> apply(Mount, function, arguments ++ [options]) end) =~ "keyword list"
      end
    end
  end

  describe "a name" do
    test "of an attribute or a propagation that is unknown is refused with the known ones" do
      text = refused(fn -> Mount.bind("/a", "/b", attributes: [:readonly]) end)
      assert text =~ "no attribute of a mount is named :readonly"
      assert text =~ ":nosuid" and text =~ ":symfollow"
      text = refused(fn -> Mount.set("/a", propagation: :rshared) end)
      assert text =~ "no propagation is named :rshared, did you mean :shared?"

      for attributes <- [:ro, [:ro | :nosuid]] do
        assert refused(fn -> Mount.set("/a", attributes: attributes) end) =~ "a list of names"
      end
    end

    test "takes no time to compare with the known ones, however long it is" do
      {:reductions, before} = Process.info(self(), :reductions)
      name = String.duplicate("shared", 1_000_000)
      assert refused(fn -> Mount.set("/a", propagation: name) end) =~ "There are: :private"
      {:reductions, now} = Process.info(self(), :reductions)
      assert now - before < 10_000_000
    end

    test "of an overlay's layers is not in an improper list" do
      options = [options: [lowerdir: ["/a" | "/b"]]]
      assert refused(fn -> Mount.mount("overlay", "/a", options) end) =~ "a path is a string"
    end

    test "does not contradict another" do
      for names <- [[:ro, :rw], [:noatime, :relatime], [:nosuid, :ro, :suid]] do
        assert refused(fn -> Mount.set("/a", attributes: names) end) =~ "contradict"
      end
    end
  end

  describe "a path" do
    test "is absolute, without NUL bytes" do
      for path <- ["", "a", "a/b", "/a\0", :a, ~c"/a", nil] do
        assert refused(fn -> Mount.mount("tmpfs", path) end) =~ "begins with a slash"
        assert refused(fn -> Mount.bind(path, "/b") end) =~ "begins with a slash"
        assert refused(fn -> Mount.bind("/b", path) end) =~ "begins with a slash"
        assert refused(fn -> Mount.set(path, attributes: [:ro]) end) =~ "begins with a slash"
        assert refused(fn -> Mount.move(path, "/b") end) =~ "begins with a slash"
        assert refused(fn -> Mount.umount(path) end) =~ "begins with a slash"
        assert refused(fn -> Mount.pivot_root(path, "/b") end) =~ "begins with a slash"
        assert refused(fn -> Mount.pivot_root("/b", path) end) =~ "begins with a slash"
        layers = [lowerdir: ["/a", path]]

        assert refused(fn -> Mount.mount("overlay", "/b", options: layers) end) =~
                 "begins with a slash"
      end
    end

    test "that is too long is refused by the kernel" do
      long = "/" <> String.duplicate("a", 10_000)
      cut = String.duplicate("/", 4_094) <> "tmp/not"

      for path <- [long, cut], options <- [[], [detach: true]] do
        assert {:error, %Error{reason: :enametoolong}} = Mount.umount(path, options)
      end
    end
  end

  describe "a file system" do
    test "has a type and options without NUL bytes" do
      for type <- [:tmpfs, "", "a\0b"] do
        assert refused(fn -> Mount.mount(type, "/a") end) =~ "a type of file system is a string"
      end

      assert refused(fn -> Mount.mount("tmpfs", "/a", source: :a) end) =~ "a source is a string"

      for value <- ["", 1.5, nil] do
        assert refused(fn -> Mount.mount("tmpfs", "/a", options: [size: value]) end) =~
                 "the option size"
      end

      for key <- [1, nil, true, false, "", "a\0b"] do
        assert refused(fn -> Mount.mount("tmpfs", "/a", options: [{key, "a"}]) end) =~
                 "the name of an option"
      end
    end

    test "has a PID namespace only if it is a procfs" do
      assert refused(fn -> Mount.mount("tmpfs", "/a", pid_namespace: {:pid, 1}) end) =~
               ":pid_namespace"
    end
  end

  test "set/2 needs a change" do
    assert refused(fn -> Mount.set("/a", recursive: true) end) =~ ":attributes or :propagation"
  end

  describe "an error" do
    test "has a message for every documented stage, and every errno" do
      stages = MountCalls.documented_stages()
      assert length(stages) == 21

      for stage <- stages, errno <- [1, 2, 22, 38, 40, 524, 4095] do
        message = Exception.message(Error.from_native({stage, errno, "/a", []}))
        assert message =~ ~r/^cannot .*"\/a": / and message =~ "#{errno}"
      end
    end

    test "has one of the stages that the functions name, and they name them all" do
      {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Mount)

      named =
        for {{:function, _, _}, _, _, %{"en" => text}, _} <- docs,
            [_, stages] <- [Regex.run(~r/Stages of errors: ([^.]+)\./, text)],
            [stage] <- Regex.scan(~r/`\{?:(\w+)/, stages, capture: :all_but_first),
            uniq: true,
            do: stage

      documented =
        for stage <- MountCalls.documented_stages() do
          to_string(if is_tuple(stage), do: elem(stage, 0), else: stage)
        end

      assert Enum.sort(named) == Enum.sort(documented)
    end

    test "has a hint that depends on the stage and the errno" do
      for {stage, errno, hint} <- [
            {:target, 40, "follow: true"},
            {:target, 18, "leaves the root"},
            {:target, 38, "Linux 5.6"},
            {:clone, 38, "Linux 5.2"},
            {:attributes, 38, "Linux 5.12"},
            {:id_map, 22, "the layers of an overlay: 5.19"},
            {{:enter, :in}, 1, "CAP_SYS_CHROOT"},
            {{:open, :from}, 2, "the process has ended"},
            {{:open, :id_map}, 25, "Linux 6.11"},
            {:user_namespace, 1, "CAP_SETUID"},
            {:attach, 1, "CAP_SYS_ADMIN"}
          ] do
        assert Exception.message(Error.from_native({stage, errno, nil, []})) =~ hint
      end
    end

    test "has the kernel's message without the letter of its kind" do
      error = Error.from_native({:superblock, 22, nil, ["e a: b", "w a: c"]})
      assert error.text == "a: b; a: c"
      assert Exception.message(error) =~ "the kernel says: a: b; a: c"
    end

    test "has the kernel's message in printable characters" do
      for {word, text} <- [
            {"e a: '\e]0;x\a\n'", ~S"a: '\x1B]0;x\x07\x0A'"},
            {"e a: \xff\"", ~S(a: \xFF")},
            {"e a: \u202e", ~S"a: \xE2\x80\xAE"},
            {"e a: \"ä\"", ~S(a: "ä")}
          ] do
        assert Error.from_native({:superblock, 22, nil, [word]}).text == text
      end
    end

    test "is :timeout without a stage if the time was over" do
      error = Error.from_native(:timeout)
      assert %{reason: :timeout, stage: nil, errno: nil} = error
      assert Exception.message(error) =~ "in time"
    end
  end
end
