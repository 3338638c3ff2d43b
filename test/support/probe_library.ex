defmodule LinxNative.Test.ProbeLibrary do
  @moduledoc """
  The libraries of `test/native/nif_probe`, and a variant of `native/linx_native`. Prebuilt ones are beside the prebuilt harness.
  """

  alias LinxNative.Test.{Harness, StubModule}

  @functions [body: 0, dirty_body: 0, decoding: 1, encoding: 0, thread: 0, child: 0, pending: 0]

  @doc """
  Loads `LinxNative.Test.Probe`, a module of functions that panic, in another VM.
  """
  def load(vm), do: StubModule.load(vm, LinxNative.Test.Probe, @functions, path())

  @doc """
  Returns the path of that module's library.
  """
  def path, do: file("libnif_probe.so")

  @doc """
  Returns the path of a library of that module that needs a newer VM than any that exists.
  """
  def newer, do: file("examples/libnewer.so")

  @doc """
  Returns the path of a library of `LinxNative.Native` whose sockets have another memory layout.
  """
  def other_layout, do: file("liblinx_native.so")

  @doc """
  Builds all of them, unless they are prebuilt.
  """
  def build! do
    unless System.get_env("LINX_TEST_HARNESS") do
      Harness.cargo!("test/native", ~w(--package nif_probe --lib --examples))
      Harness.cargo!(".", ~w(--package linx_native --features other_layout))
    end

    libraries = [path(), newer(), other_layout()]
    Enum.each(libraries, &(File.exists?(&1) || raise("there is no #{&1}")))
  end

  defp file(name), do: Harness.path() |> Path.dirname() |> Path.join(name)
end
