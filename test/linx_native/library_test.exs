defmodule LinxNative.LibraryTest do
  @moduledoc """
  The functions of the library of `LinxNative.Native`, and how it is linked.
  """

  use ExUnit.Case, async: true

  alias LinxNative.Loader
  alias LinxNative.Test.Library

  @moduletag :rust

  @path "#{Loader.path("linx_native")}.so"

  @functions """
  attach_filter/2 dirty_io
  bind/6 dirty_io
  buffer/2 normal
  close/1 normal
  descriptor/1 normal
  detach_filter/1 dirty_io
  drops/1 normal
  exchange/3 dirty_io
  flag/2 normal
  groups/1 dirty_io
  join/2 dirty_io
  leave/2 dirty_io
  mount/6 dirty_io
  move/3 dirty_io
  netns/1 normal
  netns_of_descriptor/1 normal
  netns_of_file/1 dirty_io
  netns_of_socket/1 normal
  only_kernel/1 dirty_io
  open/3 dirty_io
  pivot_root/3 dirty_io
  port_id/1 normal
  select/2 normal
  set/5 dirty_io
  set_buffer/3 dirty_io
  set_flag/3 dirty_io
  umount/4 dirty_io
  """

  test "has its functions, with their scheduling, and a NIF version that older VMs load" do
    assert {"Elixir.LinxNative.Native", minor, @functions} = Library.offer(@path)
    assert minor <= 16
  end

  test "exports one symbol" do
    assert Library.exported(@path) == ["nif_init"]
  end

  test "stays mapped, binds its symbols at load time, and has no memory that is both writable and executable" do
    headers = Library.headers(@path)
    assert headers =~ "NODELETE"
    assert headers =~ "BIND_NOW"
    assert headers =~ "GNU_RELRO"
    assert headers =~ ~r/GNU_STACK .* RW +0/
    refute headers =~ ~r/LOAD .* RWE /
  end
end
