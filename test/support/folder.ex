defmodule LinxNative.Test.Folder do
  @moduledoc """
  An empty folder that goes when the test does.
  """

  @doc """
  Makes one and returns its path.
  """
  def make! do
    path =
      Path.join(
        System.tmp_dir!(),
        "linx_native_#{System.pid()}_#{System.unique_integer([:positive])}"
      )

    File.mkdir!(path)
    # Fails if a mount was left in it.
    ExUnit.Callbacks.on_exit(fn -> File.rm_rf!(path) end)
    path
  end
end
