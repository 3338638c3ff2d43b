defmodule LinxNative.Test.Case do
  @moduledoc """
  A test that leaves the machine as it found it, or fails.

      use LinxNative.Test.Case

  Such tests run one after the other. Two runs at a time on one machine take each other's mounts for their own, unless
  each has a mount namespace: `unshare --mount mix test`.
  """

  use ExUnit.CaseTemplate

  alias LinxNative.Test.{Machine, Surroundings}

  using do
    quote do
      alias Linx.Mount.Native, as: Mount
      alias Linx.Netlink.Socket.Native, as: NetlinkSocket

      alias LinxNative.Test.{
        Await,
        Container,
        Departures,
        Descriptors,
        Folder,
        Harness,
        PinnedNamespaces,
        Implementation,
        Machine,
        MountInfo,
        Netlink,
        Program,
        Strace,
        Surroundings,
        TaskLimit,
        Vm
      }

      import LinxNative.Test.Await, only: [patience: 0]
      import LinxNative.Test.Departures, only: [expect: 2]
    end
  end

  # Callbacks run in reverse order: these, the first, after all clean-ups of the test.
  setup do
    machine = Machine.snapshot()
    files = Surroundings.snapshot()

    on_exit(fn -> Machine.refute_any!(Machine.changes(machine) ++ Surroundings.changes(files)) end)
  end
end
