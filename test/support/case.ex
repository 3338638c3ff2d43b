defmodule LinxNative.Test.Case do
  @moduledoc """
  A test that leaves the machine as it found it, or fails.

      use LinxNative.Test.Case

  Such tests run one after the other. Two runs at a time on one machine take each other's mounts for their own, unless
  each has a mount namespace: `unshare --mount mix test`.
  """

  use ExUnit.CaseTemplate

  alias LinxNative.Test.Machine

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
        HeldOpen,
        Implementation,
        Machine,
        MountInfo,
        Netlink,
        Program,
        Strace,
        TaskLimit,
        Vm
      }

      import LinxNative.Test.Departures, only: [expect: 2]
    end
  end

  # Callbacks run in reverse order: this one, the first, after all clean-ups of the test.
  setup do
    before = Machine.snapshot()
    on_exit(fn -> Machine.assert_unchanged!(before) end)
  end
end
