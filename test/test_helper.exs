alias LinxNative.Test.{
  Await,
  Departures,
  Harness,
  Implementation,
  Machine,
  Requirements,
  Surroundings,
  Vm
}

# Ends a run that hangs. No machine is so slow that a test takes this long.
ExUnit.configure(timeout: :timer.hours(3), assert_receive_timeout: Await.patience())

Requirements.check!()
Surroundings.make_temporary_folder!()
Vm.keep_preload()
Harness.build!()
Implementation.install!()

# Things that the VM and the tools start or mount on first use and then keep.
{:ok, socket} = :socket.open(:inet, :dgram)
:ok = :socket.close(socket)
{_, 0} = System.cmd("sh", ["-c", "ip netns add linx_warm_up && ip netns delete linx_warm_up"])
# What prints the failure of a test runs beside the next one.
:ok = :code.ensure_modules_loaded(Application.spec(:ex_unit, :modules))
# The kernel may have to load a module for these, which makes a file in /dev. The mounts fail.
for type <- ~w(autofs fuse) do
  options = ["-i", "-t", type, "linx_warm_up", "/proc/self/cwd"]
  {_, status} = System.cmd("mount", options, stderr_to_stdout: true)
  true = status != 0
end

Machine.snapshot()
surroundings = Surroundings.snapshot()

[release] = Regex.run(~r/\S+/, File.read!("/proc/sys/kernel/osrelease"))

without = for tag <- Implementation.left_out(), do: " without the tests tagged :#{tag}"

IO.puts(
  "Implementation #{Implementation.current()}#{without}, Linux #{release}, " <>
    "OTP #{System.otp_release()}, Elixir #{System.version()}"
)

ExUnit.after_suite(fn _ -> Surroundings.finish!(surroundings) end)
ExUnit.after_suite(&Departures.assert_all_seen!/1)
ExUnit.start(capture_log: true, exclude: Requirements.left_out() ++ Implementation.left_out())
