defmodule LinxNative.Conn.InheritedTest do
  @moduledoc """
  Every descriptor is close-on-exec from its creation, so a program that the VM starts does not inherit it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.ConnScenario

  @moduletag :conn

  @fd 9

  setup do
    container = Container.start([:net])
    path = Container.ns_path(container, :net)
    # The VM has a descriptor of the namespace from its start.
    vm = Vm.start(wrap: ["sh", "-c", "exec #{@fd}<#{path}; exec \"$@\"", "sh"])
    %{namespaces: [:host, pid: container.pid, path: path, fd: @fd], vm: vm}
  end

  test "of a connection, however its namespace is given", context do
    for netns <- context.namespaces do
      {calls, inheritable} = traced(context.vm, :life, [netns])
      assert Enum.any?(calls, &(&1 =~ "AF_NETLINK"))
      if match?({:fd, _}, netns), do: assert(Enum.any?(calls, &(&1 =~ "F_DUPFD")))
      assert {netns, inheritable} == {netns, []}
    end
  end

  test "of the identity of a namespace", context do
    for netns <- context.namespaces do
      {_, inheritable} = traced(context.vm, :identity, [netns])
      assert {netns, inheritable} == {netns, []}
    end
  end

  defp traced(vm, function, args) do
    # The first call loads the code that it needs.
    :ok = Vm.call(vm, ConnScenario, function, args)
    {:ok, calls, inheritable} = Strace.descriptors(vm, {ConnScenario, function, args})
    {calls, inheritable}
  end
end
