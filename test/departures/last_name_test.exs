defmodule LinxNative.LastNameTest do
  @moduledoc """
  A container changes the names of a target between two system calls of a call, each time at the critical moment, not by chance.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.SyscallStepper

  @bind 4096
  @remount 32
  @rdonly 1

  setup do
    folder = Folder.make!()
    for name <- ~w(inside outside), do: File.mkdir!("#{folder}/#{name}")
    container = Container.start([:mount, :pid])
    [ns, pidns] = for kind <- [:mnt, :pid], do: Container.ns_path(container, kind)
    %{hold: SyscallStepper.start(), folder: folder, container: container, ns: ns, pidns: pidns}
  end

  describe "if another process makes the target first as" do
    test "a file, that is used", context do
      assert appearing(context, &File.write!(&1, "")) == {:ok, :at_once, ["inside/target"]}
      assert File.ls!(context.folder <> "/outside") == []
    end

    test "a FIFO, that is used without waiting for a reader", context do
      make = &({_, 0} = System.cmd("mkfifo", [&1]))
      assert appearing(context, make) == {:ok, :at_once, ["inside/target"]}
    end

    test "a directory, no file is mounted onto it", context do
      assert appearing(context, &File.mkdir!/1) == {{:error, {:mount, :enotdir}}, :at_once, []}
    end

    test "a link, nothing is made or mounted behind it (D2)", context do
      assert appearing(context, &File.ln_s!("../outside/made", &1)) ==
               expect(:D2,
                 rust: {{:error, {:create, :eloop}}, :at_once, []},
                 c: {:ok, :at_once, ["outside/made"]}
               )

      assert File.ls!(context.folder <> "/outside") == expect(:D2, rust: [], c: ["made"])
    end

    # The answer, whether the call waited for a reader of a FIFO, and what was mounted.
    defp appearing(%{hold: hold, folder: folder} = context, make) do
      target = folder <> "/inside/target"
      held = hold |> SyscallStepper.begin(bind(context)) |> at_creation()
      make.(target)
      waited = :atomics.new(1, [])

      reader =
        Task.async(fn ->
          Await.until(fn -> waits_for_reader?(hold.vm) end)
          :atomics.put(waited, 1, 1)
          System.cmd("sh", ["-c", ": <#{target}"])
        end)

      %{answer: answer} = SyscallStepper.finish(held)
      Task.shutdown(reader, :brutal_kill)
      how = if :atomics.get(waited, 1) == 1, do: :waited, else: :at_once
      {answer, how, mounted(context)}
    end

    defp waits_for_reader?(%{os_pid: pid}) do
      waits? = &(File.read("/proc/#{pid}/task/#{&1}/wchan") == {:ok, "wait_for_partner"})
      Enum.any?(File.ls!("/proc/#{pid}/task"), waits?)
    end
  end

  describe "a target that appears before each creation, and disappears before each look-up," do
    test "is found after forty times (D2)", %{hold: hold} = context do
      held = hold |> SyscallStepper.begin(bind(context)) |> at_creation()
      target = context.folder <> "/inside/target"
      assert %{answer: :ok} = held |> come_and_go(target, rounds(40)) |> SyscallStepper.finish()
      assert mounted(context) == ["inside/target"]
    end

    test "is given up in the end (D2)", %{hold: hold} = context do
      held = hold |> SyscallStepper.begin(bind(context)) |> at_creation()
      target = context.folder <> "/inside/target"
      %{answer: answer} = held |> come_and_go(target, rounds(1_000)) |> SyscallStepper.finish()
      assert answer == expect(:D2, rust: {:error, {:create, :eagain}}, c: :ok)
    end

    # The C code opens it once, made or not.
    defp rounds(count), do: %{rust: count, c: 1}[Implementation.current()]

    defp come_and_go(held, target, 1) do
      File.write!(target, "")
      SyscallStepper.continue(held)
    end

    defp come_and_go(held, target, rounds) do
      File.write!(target, "")

      with %{held: _} = held <- SyscallStepper.continue(held) do
        File.rm!(target)
        held |> SyscallStepper.continue() |> come_and_go(target, rounds - 1)
      end
    end
  end

  describe "if the directory becomes a link after the look-up, the mount goes where the target was found (D2):" do
    test "a bind", context do
      for name <- ~w(inside outside), do: File.write!("#{context.folder}/#{name}/target", "")
      assert swapped(context, bind(context)) == expect(:D2, rust: "moved", c: "outside")
    end

    test "a bind onto a file that was made", context do
      File.write!(context.folder <> "/outside/target", "")
      assert swapped(context, bind(context)) == expect(:D2, rust: "moved", c: "outside")
    end

    test "a procfs of a PID namespace", context do
      assert swapped(context, procfs(context, "")) == expect(:D2, rust: "moved", c: "outside")
    end

    # Linux mounts a source of this length by mount(2) only. Before 6.17 it mounts each procfs of a PID namespace so.
    test "a procfs of a PID namespace, mounted by a child", context do
      call = procfs(context, String.duplicate("s", 256))
      assert swapped(context, call) == expect(:D2, rust: "moved", c: "outside")
    end

    defp procfs(%{folder: folder, ns: ns, pidns: pidns}, source) do
      for name <- ~w(inside outside), do: File.mkdir!("#{folder}/#{name}/target")
      {Mount, :mount, [source, folder <> "/inside/target", "proc", 0, "", ns, pidns, 1]}
    end

    defp swapped(%{hold: hold, folder: folder} = context, call) do
      held = hold |> SyscallStepper.begin(call) |> past_resolution()
      File.rename!(folder <> "/inside", folder <> "/moved")
      File.ln_s!("outside", folder <> "/inside")
      assert %{answer: :ok} = SyscallStepper.finish(held)
      assert [path] = mounted(context)
      assert "/target" = String.replace(path, ~r"^\w+", "")
      Path.dirname(path)
    end
  end

  describe "with create_target MS_REMOUNT stays a remount" do
    test "whatever the source is", %{folder: folder, ns: ns} = context do
      target = folder <> "/inside/target"
      {module, function, args} = bind(context)
      assert :ok = apply(module, function, args)

      for source <- ["", "/dev/zero"] do
        flags = @bind + @remount + @rdonly
        assert :ok = Mount.mount(source, target, "", flags, "", ns, "", 1)
        assert mounted(context) == ["inside/target"]

        assert %{root: "/null", options: ["ro" | _]} =
                 Container.mount_at(context.container, target)
      end
    end
  end

  defp bind(%{folder: folder, ns: ns}) do
    {Mount, :mount, ["/dev/null", folder <> "/inside/target", "", @bind, "", ns, "", 1]}
  end

  # Held where the target would be made: the first look, if there is one of its own, has found nothing.
  defp at_creation(held) do
    case Implementation.current() do
      :rust -> held |> SyscallStepper.continue_to("openat2") |> next("openat2")
      # After the namespace's file.
      :c -> held |> SyscallStepper.continue_to("openat") |> next("openat")
    end
  end

  # Held at what comes first when the target is known, or made.
  defp past_resolution(held) do
    case Implementation.current() do
      :rust ->
        held |> SyscallStepper.continue_to("openat2") |> past("openat2")

      :c ->
        held
        |> SyscallStepper.continue_to("openat")
        |> next("openat")
        |> SyscallStepper.continue()
    end
  end

  defp past(%{held: name} = held, name), do: held |> SyscallStepper.continue() |> past(name)
  defp past(held, _name), do: held

  # To the next one of a name.
  defp next(held, name), do: held |> SyscallStepper.continue() |> SyscallStepper.continue_to(name)

  # The mounts that the container has in the folder, by their paths in it.
  defp mounted(%{container: container, folder: folder}) do
    for %{mount_point: path} <- Container.mountinfo(container),
        String.starts_with?(path, folder),
        do: Path.relative_to(path, folder)
  end
end
