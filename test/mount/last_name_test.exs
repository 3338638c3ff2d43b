defmodule LinxNative.Mount.LastNameTest do
  @moduledoc """
  A container changes the last name of a target between two system calls of a call, each time at the critical moment, not by chance.
  """

  use LinxNative.Test.Case

  alias LinxNative.Mount
  alias LinxNative.Mount.Error
  alias LinxNative.Test.{MountCalls, SyscallStepper}

  @moduletag :mount
  @moduletag :machine_root

  setup do
    folder = Folder.make!()
    container = Container.start([:mount])
    :ok = Mount.mount("tmpfs", folder, in: {:pid, container.pid})
    seen = "/proc/#{container.pid}/root#{folder}"
    hold = SyscallStepper.start()
    MountCalls.load!(hold.vm)
    %{hold: hold, container: container, target: folder <> "/target", seen: seen}
  end

  # Held where the target would be made, because the first look-up has found nothing.
  defp at_creation(%{hold: hold, container: container, target: target}, options \\ []) do
    options = [in: {:pid, container.pid}, create: :file, timeout: :infinity] ++ options

    hold
    |> SyscallStepper.begin({Mount, :bind, ["/dev/null", target, options]})
    |> SyscallStepper.continue_to("mknodat")
  end

  defp mount(%{container: container, target: target}), do: Container.mount_at(container, target)

  describe "if another process makes the target first as" do
    for {what, command} <- [{"a file", "touch"}, {"a FIFO", "mkfifo"}] do
      test "#{what}, that is used", %{seen: seen} = context do
        held = at_creation(context)
        {_, 0} = System.cmd(unquote(command), [seen <> "/target"])
        assert %{answer: :ok} = SyscallStepper.finish(held)
        assert %{root: "/null"} = mount(context)
      end
    end

    test "a directory, no file is mounted onto it, and it stays", %{seen: seen} = context do
      held = at_creation(context)
      File.mkdir!(seen <> "/target")
      %{answer: answer} = SyscallStepper.finish(held)
      assert {:error, %Error{stage: :attach, reason: :enotdir}} = answer
      assert File.dir?(seen <> "/target")
      refute mount(context)
    end

    test "a link, it is not followed, not even with follow: true", %{seen: seen} = context do
      File.write!(seen <> "/other", "")

      for options <- [[], [follow: true]] do
        held = at_creation(context, options)
        File.ln_s!("other", seen <> "/target")
        %{answer: answer} = SyscallStepper.finish(held)
        assert {:error, %Error{stage: :create, reason: :eloop}} = answer
        assert Enum.sort(File.ls!(seen)) == ~w(other target)
        assert File.regular?(seen <> "/other")
        File.rm!(seen <> "/target")
      end
    end
  end

  describe "a target that appears before each creation, and disappears before each look-up," do
    test "is found after forty times", context do
      held = context |> at_creation() |> come_and_go(context, 40)
      assert %{answer: :ok} = SyscallStepper.finish(held)
      assert %{root: "/null"} = mount(context)
    end

    test "is given up in the end", context do
      held = context |> at_creation() |> come_and_go(context, 1_000)
      %{answer: answer} = SyscallStepper.finish(held)
      assert {:error, %Error{stage: :create, reason: :enoent}} = answer
      refute mount(context)
    end

    defp come_and_go(held, %{seen: seen}, 1) do
      File.write!(seen <> "/target", "")
      held
    end

    defp come_and_go(held, %{seen: seen} = context, rounds) do
      File.write!(seen <> "/target", "")
      held = SyscallStepper.continue_to(SyscallStepper.continue(held), "openat2")
      File.rm!(seen <> "/target")

      with %{held: _} = held <- SyscallStepper.continue(held) do
        held |> SyscallStepper.continue_to("mknodat") |> come_and_go(context, rounds - 1)
      end
    end
  end

  describe "a look-up during which directories are renamed" do
    test "is repeated", context do
      assert %{answer: :ok} = context |> renamed(40) |> SyscallStepper.finish()
      assert mount(context)
    end

    test "is given up in the end", context do
      %{answer: answer} = context |> renamed(1_000) |> SyscallStepper.finish()
      assert {:error, %Error{stage: :source, reason: :eagain}} = answer
      refute mount(context)
    end

    # The kernel then fails it so, see openat2(2).
    defp renamed(%{hold: hold, container: container, target: target}, times) do
      options = [in: {:pid, container.pid}, create: :file, timeout: :infinity]
      held = SyscallStepper.begin(hold, {Mount, :bind, ["/dev/null", target, options]})
      first = SyscallStepper.continue_to(held, "openat2")

      Enum.reduce_while(1..times, first, fn _, held ->
        if held[:held] == "openat2",
          do: {:cont, SyscallStepper.fail(held, "EAGAIN")},
          else: {:halt, held}
      end)
    end
  end

  test "a file that takes the name of the one that was made stays if the mount fails", context do
    %{seen: seen} = context
    held = context |> at_creation() |> SyscallStepper.continue_to("move_mount")
    File.rename!(seen <> "/target", seen <> "/moved")
    File.write!(seen <> "/target", "theirs")
    %{answer: answer} = held |> SyscallStepper.fail("EPERM") |> SyscallStepper.finish()
    assert {:error, %Error{stage: :attach, reason: :eperm}} = answer
    assert File.read!(seen <> "/target") == "theirs"
    refute mount(context)
  end
end
