defmodule LinxNative.Test.Library do
  @moduledoc """
  Reads properties of a library's file.
  """

  alias LinxNative.Test.Harness

  @doc """
  Returns the entry of a library: its module, the minor number of its NIF version, and its functions with their scheduling, one line
  each.
  """
  def offer(path) do
    {output, 0} = Harness.run("entry", [path])
    ["module " <> module, "nif 2." <> minor, functions] = String.split(output, "\n", parts: 3)
    {module, String.to_integer(minor), functions}
  end

  @doc """
  Returns the names of its exported symbols.
  """
  def exported(path) do
    {output, 0} = System.cmd("nm", ["-D", "--defined-only", path])

    for line <- String.split(output, "\n", trim: true),
        [_address, "T", name] = String.split(line),
        do: name
  end

  @doc """
  Returns the program headers and the dynamic section, as readelf(1) prints them.
  """
  def headers(path) do
    {output, 0} = System.cmd("readelf", ["--wide", "--program-headers", "--dynamic", path])
    output
  end
end
