defmodule LinxNative.Test.Library do
  @moduledoc """
  What a library's file says of itself.
  """

  alias LinxNative.Test.Harness

  @doc """
  What it offers the VM: its module, the minor number of its NIF version, and its functions with their scheduling, a line
  each.
  """
  def offer(path) do
    {output, 0} = Harness.run("entry", [path])
    ["module " <> module, "nif 2." <> minor, functions] = String.split(output, "\n", parts: 3)
    {module, String.to_integer(minor), functions}
  end

  @doc """
  The names of what others can call in it.
  """
  def exported(path) do
    {output, 0} = System.cmd("nm", ["-D", "--defined-only", path])

    for line <- String.split(output, "\n", trim: true),
        [_address, "T", name] = String.split(line),
        do: name
  end

  @doc """
  What the dynamic linker is told: the program headers and the dynamic section, as readelf(1) writes them.
  """
  def headers(path) do
    {output, 0} = System.cmd("readelf", ["--wide", "--program-headers", "--dynamic", path])
    output
  end
end
