defmodule LinxNative.LoaderTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias LinxNative.Loader

  test "the path is in the application's priv, without .so" do
    assert Loader.path("linx_mount") ==
             :filename.join(:code.priv_dir(:linx_native), ~c"linx_mount")
  end

  test "logs nothing if a library loads" do
    assert capture_log(fn -> assert Loader.report(:ok, "linx_mount") == :ok end) == ""
  end

  test "logs a remedy for a missing file" do
    log = failure({:load_failed, ~c"Failed to load NIF library: 'no such file'"}, "linx_absent")

    assert log =~
             "cannot load #{Loader.path("linx_absent")}.so: Failed to load NIF library: 'no such file'. "

    assert log =~ "The file is not there: run `mix deps.compile linx_native --force`"
  end

  test "logs a remedy for a file for another machine" do
    log =
      failure(
        {:load_failed, ~c"Failed to load NIF library: 'version `GLIBC_2.99' not found'"},
        "linx_mount"
      )

    assert log =~ "build it for this machine"
  end

  test "logs a remedy for a library that cannot replace the loaded one" do
    for kind <- [:reload, :upgrade, :old_code] do
      assert failure({kind, ~c"Upgrade not supported by this NIF library."}, "linx_mount") =~
               "Upgrade not supported by this NIF library. The library in use cannot be replaced"
    end
  end

  defp failure(reason, library) do
    capture_log(fn -> assert Loader.report({:error, reason}, library) == :error end)
  end
end
