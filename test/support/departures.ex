defmodule LinxNative.Test.Departures do
  @moduledoc """
  The list of all differences that a caller can tell between the two implementations, with their
  reasons.

  A test about a departure gets its expected value from `expect/2`. The run fails if that value is the
  same for both implementations. A run of all tests also fails if no test looked at a listed
  departure.
  """

  alias LinxNative.Test.Implementation

  @listed [
    %{
      id: :D1,
      what: "A NUL byte in a string is refused; the C code cuts the string there.",
      reason: "A name passes a check, and another one is opened."
    },
    %{
      id: :D2,
      what:
        "With create_target no part of the path may be a link or leave the root, and a bind goes " <>
          "onto the file that was checked; the C code follows links, and looks the name up again.",
      reason: "A container that swaps a name in between decides where the mount lands."
    },
    %{
      id: :D3,
      what:
        "Options of a page or more are E2BIG; the C code leaves it to the kernel to cut them.",
      reason: "The last options are lost without an error, for example a read-only or a quota."
    },
    %{
      id: :D4,
      what:
        "Both namespace files are opened in the VM's mount namespace, which needs three descriptors " <>
          "at a time; the C code looks the second one up in the container.",
      reason: "The container decides what is found there, or has no /proc at all."
    },
    %{
      id: :D5,
      what:
        "A FIFO or a terminal in the place of a namespace file is EINVAL; the C code waits for a writer of the FIFO, and takes the " <>
          "terminal as that of the VM.",
      reason: "It blocks a dirty scheduler forever, or ends the VM when the terminal hangs up."
    },
    %{
      id: :D6,
      what: "A procfs of a PID namespace is mounted without a process; the C code forks.",
      reason: "A fork copies the page tables of the VM and stops its schedulers meanwhile."
    },
    %{
      id: :D7,
      what: "There is no pipe; the pipe of the C code is not close-on-exec.",
      reason: "A program that the VM starts meanwhile inherits its ends."
    },
    %{
      id: :D8,
      what: "A module can be loaded again; the VM refuses that for the C code.",
      reason: "Code upgrades and reloads in development."
    },
    %{
      id: :D9,
      what:
        "A call that hangs in a container's file system takes turns with the VM's other file I/O, its caller can be killed, " <>
          "and then it begins no mount; the C code holds a dirty I/O scheduler, and mounts.",
      reason: "Ten such calls stop all file I/O of the VM until the container ends them."
    },
    %{
      id: :D10,
      what:
        "A mount as seen from a PID namespace makes a process there only if the file system takes the PID namespace of its caller " <>
          "(procfs before Linux 6.17, FUSE, autofs), and it dies with the VM; the C code makes one for every mount.",
      reason:
        "It shows the VM's command line and network tables, and the container can kill and stop it."
    }
  ]

  @doc """
  Returns the list.
  """
  def listed, do: @listed

  @doc """
  Returns the value for the tested implementation: `expect(:D1, rust: {:error, {:open, 22}}, c: {:ok, 7})`.
  """
  def expect(id, rust: rust, c: c) do
    unless Enum.any?(@listed, &(&1.id == id)), do: raise("#{id} is not a listed departure")
    if rust === c, do: raise("#{id} is no departure: both give #{inspect(rust)}")
    :persistent_term.put({__MODULE__, id}, :seen)
    %{rust: rust, c: c}[Implementation.current()]
  end

  @doc """
  Returns the departures that no test has looked at.
  """
  def unseen do
    for %{id: id} <- @listed, :persistent_term.get({__MODULE__, id}, nil) != :seen, do: id
  end

  @doc """
  Makes a run of all tests fail if no test looked at some departure. For `ExUnit.after_suite/1`.
  """
  def assert_all_seen!(result) do
    if unseen() != [] and complete?(result) do
      IO.puts(:stderr, "No test looked at these departures: #{inspect(unseen())}")
      # As `mix test` does, because nothing else can change the result after the suite.
      System.at_exit(fn _ -> exit({:shutdown, 3}) end)
    end

    :ok
  end

  defp complete?(%{failures: failures, excluded: excluded, skipped: skipped}) do
    failures + excluded + skipped == 0 and MapSet.subset?(all_files(), loaded_files())
  end

  defp all_files do
    root = Path.expand("..", __DIR__)
    root |> Path.join("**/*_test.exs") |> Path.wildcard() |> MapSet.new()
  end

  defp loaded_files do
    for {module, _} <- :code.all_loaded(),
        function_exported?(module, :__ex_unit__, 0),
        into: MapSet.new(),
        do: to_string(module.module_info(:compile)[:source])
  end
end
