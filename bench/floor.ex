defmodule LinxNative.Bench.Floor do
  @moduledoc """
  The program of `bench/native/floor`: the same system calls without a BEAM.
  """

  alias LinxNative.Bench.Program

  @doc """
  Returns the times of `calls` opens in nanoseconds, on the given kind of thread.
  """
  def open(floor, thread, calls, net) do
    Program.tell(floor, "open #{thread} #{calls} #{net}")
    numbers(floor)
  end

  @doc """
  Returns the times of `calls` mounts and of the unmounts.
  """
  def mount(floor, thread, calls, ns, folder) do
    Program.tell(floor, "mount #{thread} #{calls} #{ns} #{folder}")
    [numbers(floor), numbers(floor)]
  end

  @doc """
  Returns the times of `calls` mounts by descriptor: of a tmpfs, and of a bind.
  """
  def detached(floor, calls, ns, folder) do
    Program.tell(floor, "detached clone #{calls} #{ns} #{folder}")
    [numbers(floor), numbers(floor)]
  end

  defp numbers(floor) do
    floor |> Program.line!() |> String.split() |> Enum.map(&String.to_integer/1)
  end
end
