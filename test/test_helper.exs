alias LinxNative.Test.{Departures, Harness, Implementation, Machine, Requirements, Vm}

Requirements.check!()
Vm.keep_preload()
Harness.build!()
Implementation.install!()

# What the VM and the tools start or mount on first use, and then keep.
{:ok, socket} = :socket.open(:inet, :dgram)
:ok = :socket.close(socket)
{_, 0} = System.cmd("sh", ["-c", "ip netns add linx_warm_up && ip netns delete linx_warm_up"])
Machine.snapshot()

[release] = Regex.run(~r/\S+/, File.read!("/proc/sys/kernel/osrelease"))

without = for tag <- Implementation.left_out(), do: " without the tests tagged :#{tag}"

IO.puts(
  "Implementation #{Implementation.current()}#{without}, Linux #{release}, " <>
    "OTP #{System.otp_release()}, Elixir #{System.version()}"
)

ExUnit.after_suite(&Departures.assert_all_seen!/1)
ExUnit.start(capture_log: true, exclude: Requirements.left_out() ++ Implementation.left_out())
