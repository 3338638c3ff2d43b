defmodule LinxNative.LoaderTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias LinxNative.Loader

  test "the path is in the application's priv, without .so" do
    assert Loader.path("linx_mount") ==
             :filename.join(:code.priv_dir(:linx_native), ~c"linx_mount")
  end

  test "a library that loads is not worth a word" do
    assert capture_log(fn -> assert Loader.report(:ok, "linx_mount") == :ok end) == ""
  end

  test "a file that is not there" do
    log = failure({:load_failed, ~c"Failed to load NIF library: 'no such file'"}, "linx_absent")

    assert log =~
             "cannot load #{Loader.path("linx_absent")}.so: Failed to load NIF library: 'no such file'. "

    assert log =~ "The file is not there: run `mix deps.compile linx_native --force`"
  end

  test "a file for another machine" do
    log =
      failure(
        {:load_failed, ~c"Failed to load NIF library: 'version `GLIBC_2.99' not found'"},
        "linx_mount"
      )

    assert log =~ "build it for this machine"
  end

  test "a library that cannot take over from the one in use" do
    assert failure({:upgrade, ~c"Upgrade not supported by this NIF library."}, "linx_mount") =~
             "Upgrade not supported by this NIF library. The library in use cannot be replaced"
  end

  defp failure(reason, library) do
    capture_log(fn -> assert Loader.report({:error, reason}, library) == :error end)
  end
end
