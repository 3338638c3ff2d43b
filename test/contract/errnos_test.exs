defmodule LinxNative.ErrnosTest do
  @moduledoc """
  Every errno that a system call can return, and its form in the result.
  """

  use LinxNative.Test.Case

  alias LinxNative.Test.SyscallStepper

  @atoms %{
    1 => :eperm,
    2 => :enoent,
    3 => :esrch,
    6 => :enxio,
    9 => :ebadf,
    11 => :eagain,
    12 => :enomem,
    13 => :eacces,
    14 => :efault,
    15 => :enotblk,
    16 => :ebusy,
    19 => :enodev,
    20 => :enotdir,
    22 => :einval,
    24 => :emfile,
    30 => :erofs,
    36 => :enametoolong,
    40 => :eloop,
    95 => :eopnotsupp
  }

  # All that Linux has for programs, and the one of its own that it lets out.
  @errnos Enum.to_list(1..133) ++ [524]

  test "of the mount library are atoms for the nineteen of the contract, and numbers for all others" do
    hold = SyscallStepper.start()

    for {name, mfa, stage} <- [
          {"mount", {Mount, :mount, ["", "/", "tmpfs", 0, "", "", "", 0]}, :mount},
          {"umount2", {Mount, :umount, ["/", 0, ""]}, :umount}
        ],
        errno <- @errnos do
      expected = {:error, {stage, Map.get(@atoms, errno, errno)}}
      assert {name, errno, failing(hold, mfa, name, errno)} == {name, errno, expected}
    end
  end

  test "of the netlink library are numbers" do
    hold = SyscallStepper.start()
    call = {NetlinkSocket, :open_in_netns, ["/proc/self/ns/net", 0]}

    for errno <- @errnos do
      assert failing(hold, call, "openat", errno) == {:error, {:open, errno}}
    end
  end

  defp failing(hold, mfa, name, errno) do
    held = hold |> SyscallStepper.begin(mfa) |> SyscallStepper.continue_to(name)
    (held |> SyscallStepper.fail(errno) |> SyscallStepper.finish()).answer
  end
end
