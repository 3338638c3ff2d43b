defmodule LinxNative.Conn.InheritedTest do
  @moduledoc """
  No descriptor is without close-on-exec at any time, or a program that the VM starts meanwhile would have it.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.Lives

  @moduletag :conn

  @fd 9

  # All that makes descriptors.
  @makers ~w(accept accept4 creat dup dup2 dup3 epoll_create epoll_create1 eventfd eventfd2 fcntl fsmount fsopen
             inotify_init inotify_init1 memfd_create open open_tree openat openat2 pidfd_getfd pidfd_open pipe pipe2
             signalfd signalfd4 socket socketpair timerfd_create)

  setup do
    container = Container.start([:net])
    path = Container.ns_path(container, :net)
    # It has a descriptor of the namespace from its start.
    vm = Vm.start(wrap: ["sh", "-c", "exec #{@fd}<#{path}; exec \"$@\"", "sh"])
    %{namespaces: [:host, pid: container.pid, path: path, fd: @fd], vm: vm}
  end

  test "of a connection, whatever its namespace is given by", context do
    for netns <- context.namespaces do
      calls = traced(context.vm, :life, [netns])
      assert Enum.any?(calls, &(&1 =~ "AF_NETLINK"))
      if match?({:fd, _}, netns), do: assert(Enum.any?(calls, &(&1 =~ "F_DUPFD")))
      assert {netns, inheritable(calls)} == {netns, []}
    end
  end

  test "of the identity of a namespace", context do
    for netns <- context.namespaces do
      assert {netns, inheritable(traced(context.vm, :identity, [netns]))} == {netns, []}
    end
  end

  defp traced(vm, function, args) do
    # The first time loads what it takes.
    :ok = Vm.call(vm, Lives, function, args)
    {:ok, calls} = Strace.calls(vm, @makers, {Lives, function, args})
    calls
  end

  # Of fcntl(2) only what duplicates.
  defp inheritable(calls) do
    Enum.reject(calls, &(&1 =~ "CLOEXEC" or (&1 =~ ~r/^fcntl/ and not (&1 =~ "F_DUPFD"))))
  end
end
