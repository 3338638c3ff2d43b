defmodule LinxNative.Test.Case do
  @moduledoc """
  A test case that fails if a test does not leave the machine as it was before.

      use LinxNative.Test.Case

  These tests run one after the other. Two runs at the same time on one machine mistake each other's mounts for their own, unless each
  has a mount namespace: `script/isolated mix test`.
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

  # Callbacks run in reverse order, so this first one runs after all clean-ups of the test.
  setup do
    machine = Machine.snapshot()
    files = Surroundings.snapshot()

    changes = fn -> Machine.changes(machine) ++ Surroundings.changes(files) end
    on_exit(fn -> Machine.refute_any!(changes.()) end)
  end
end
