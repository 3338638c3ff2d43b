defmodule ConsumerTest do
  use ExUnit.Case, async: true

  setup do
    script = "read -r pid _ < /proc/self/stat; echo $pid; read -r _"
    args = ~w(--mount --net --fork --kill-child -- sh -c) ++ [script]
    unshare = System.find_executable("unshare")
    port = Port.open({:spawn_executable, unshare}, [:binary, line: 80, args: args])
    assert_receive {^port, {:data, {:eol, pid}}}, 5_000
    # It ends with its standard input, which ends with the port, which ends with the test.
    {:ok, pid: String.to_integer(pid)}
  end

  test "both drop-in libraries work from another application", %{pid: pid} do
    assert Consumer.check(pid) == :ok
  end

  test "the libraries are in the priv of their own application" do
    priv = :code.priv_dir(:linx_native)

    assert Enum.sort(File.ls!(priv)) ==
             ~w(linx_mount.so linx_native.so netlink_socket.so)

    refute File.exists?("priv")
  end

  test "the library returns its name" do
    assert Linx.Mount.Native.version() == ~c"linx_mount"
  end
end
