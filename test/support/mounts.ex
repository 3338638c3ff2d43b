defmodule LinxNative.Test.Mounts do
  @moduledoc """
  Calls `mount(2)` in a process of a container, as the reference for comparisons.
  """

  alias LinxNative.Test.{Container, Harness, Program}

  @errnos %{
    eacces: 13,
    ebusy: 16,
    einval: 22,
    eloop: 40,
    enametoolong: 36,
    enodev: 19,
    enoent: 2,
    enotblk: 15,
    enotdir: 20,
    eperm: 1
  }

  @doc """
  Starts the process that mounts. It ends with the test.
  """
  def start!(container) do
    [command | args] = Container.nsenter(container) ++ [Harness.path(), "mounts"]
    program = Program.start!(command, args)
    "ready" = Program.line!(program)
    program
  end

  @doc """
  Mounts. Empty `source`, `type` and `data` are NULL. Returns what `Linx.Mount.Native.mount/8` returns for that.
  """
  def mount(program, source, target, type, flags, data) do
    words = [word(source), Base.encode16(target), word(type), "#{flags}", word(data)]

    case Program.tell!(program, Enum.join(words, " ")) do
      "0" -> :ok
      errno -> {:error, {:mount, name(String.to_integer(errno))}}
    end
  end

  defp word(""), do: "-"
  defp word(text), do: Base.encode16(text)

  defp name(errno) do
    Enum.find_value(@errnos, errno, fn {name, number} -> if number == errno, do: name end)
  end
end
