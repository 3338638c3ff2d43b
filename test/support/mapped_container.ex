defmodule LinxNative.Test.MappedContainer do
  @moduledoc """
  A process in a user and a mount namespace of its own. Its ids from 0 on are the ids from 100000 on outside.

  It ends when the test ends.
  """

  alias LinxNative.Test.{Container, Program}

  @first 100_000
  @count 65_536

  @doc """
  Starts the process. All its mounts are private, or have another propagation.
  """
  def start(propagation \\ "private") do
    options = ["--user", "--mount", "--propagation=#{propagation}"]
    args = options ++ ["--", "sh", "-c", "echo $$; read end"]
    program = Program.start!("unshare", args)
    pid = program |> Program.line!() |> String.to_integer()
    for file <- ~w(uid_map gid_map), do: File.write!("/proc/#{pid}/#{file}", map())
    %Container{pid: pid, namespaces: [:user, :mount], program: program}
  end

  @doc """
  Returns the outer id of its root.
  """
  def first, do: @first

  @doc """
  Runs a shell command inside, as its root.
  """
  def sh!(%Container{pid: pid}, command) do
    args = ["--target", "#{pid}", "--user", "--mount", "--setuid", "0", "--setgid", "0"]

    {output, 0} =
      System.cmd("nsenter", args ++ ["--", "sh", "-c", command], stderr_to_stdout: true)

    String.trim(output)
  end

  defp map, do: "0 #{@first} #{@count}"
end
