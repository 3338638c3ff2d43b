defmodule LinxNative.Test.Probe do
  @moduledoc """
  The NIFs of `native/nif_probe`: each panics in another place. To be used in a peer.
  """

  alias LinxNative.Test.Probe.Library

  # Its library may not be built yet when it is compiled.
  @compile {:autoload, false}
  @on_load :load

  def load, do: :erlang.load_nif(Path.rootname(Library.path()), 0)

  def body, do: :erlang.nif_error(:not_loaded)
  def dirty_body, do: :erlang.nif_error(:not_loaded)
  def decoding(_argument), do: :erlang.nif_error(:not_loaded)
  def encoding, do: :erlang.nif_error(:not_loaded)
  def thread, do: :erlang.nif_error(:not_loaded)
  def child, do: :erlang.nif_error(:not_loaded)
end

defmodule LinxNative.Test.Probe.Library do
  @moduledoc """
  The files of `native/nif_probe`. Ready-made ones are beside the ready-made harness.
  """

  alias LinxNative.Test.Harness

  @root Path.expand("../..", __DIR__)

  @doc """
  The library of `LinxNative.Test.Probe`.
  """
  def path, do: file("libnif_probe.so")

  @doc """
  A library of the same module, for a VM that is yet to come.
  """
  def newer, do: file("examples/libnewer.so")

  @doc """
  Builds both, unless they are ready-made.
  """
  def build! do
    unless System.get_env("LINX_TEST_HARNESS"), do: cargo!()
    Enum.each([path(), newer()], &(File.exists?(&1) || raise("there is no #{&1}")))
  end

  # By itself: cargo would build what else is built with it with the feature that lets linx_core panic.
  defp cargo! do
    args = ~w(build --quiet --release --locked --package nif_probe --lib --examples)

    with {output, status} when status != 0 <-
           System.cmd("cargo", args, cd: @root, stderr_to_stdout: true) do
      raise "cargo #{Enum.join(args, " ")}: exit status #{status}\n#{output}"
    end
  end

  defp file(name), do: Harness.path() |> Path.dirname() |> Path.join(name)
end
