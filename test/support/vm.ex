defmodule LinxNative.Test.Vm do
  @moduledoc """
  Another BEAM, with the same code and the same implementation, for calls that must not run in the VM of the tests.

  It ends when the test ends.
  """

  alias LinxNative.Test.{Await, Folder, Implementation, Machine}

  @enforce_keys [:peer, :os_pid]
  defstruct @enforce_keys

  @doc """
  Starts a VM.

    * `wrap`: the words of a command to start it under, for example `["prlimit", "--nofile=64", "--"]`;
    * `env`: a map of environment variables;
    * `load`: `false` leaves the libraries to the test;
    * `user`: `:nobody` gives up all privileges, after `wrap`;
    * `as_user`: the words of a command to start it under as that user.
  """
  def start(options \\ []) do
    {code_path, reference} = code(options[:user])

    {:ok, peer, _} =
      :peer.start(%{
        # It needs no distribution, epmd or home, so it works wherever a program can run.
        connection: :standard_io,
        exec: exec(command(options)),
        args: [~c"-boot", ~c"no_dot_erlang"],
        env: env(Map.merge(environment(), Keyword.get(options, :env, %{}))),
        wait_boot: Await.patience()
      })

    vm = %__MODULE__{peer: peer, os_pid: peer |> :peer.call(:os, :getpid, []) |> to_string()}
    ExUnit.Callbacks.on_exit(fn -> stop(vm) end)
    :ok = call(vm, :code, :add_pathsz, [code_path])
    {:ok, _} = call(vm, :application, :ensure_all_started, [:elixir])
    if Keyword.get(options, :load, true), do: call(vm, Implementation, :load!, [reference])
    settle(vm)
    vm
  end

  @doc """
  Preloads libraries of this VM, for example the runtime of a sanitizer, into other VMs too, but not into other programs, some of which
  do not work with them.
  """
  def keep_preload do
    with preload when preload != nil <- System.get_env("LD_PRELOAD") do
      System.delete_env("LD_PRELOAD")
      :persistent_term.put({__MODULE__, :preload}, %{"LD_PRELOAD" => preload})
    end
  end

  @doc """
  Calls a function in the VM. An exception there is raised here.
  """
  def call(%__MODULE__{peer: peer}, module, function, args) do
    :peer.call(peer, module, function, args, :infinity)
  end

  @doc """
  Evaluates quoted code in the VM, for code of a test file that is not a named function.

      eval(vm, quote(do: var!(n) + 1), n: 1)
  """
  def eval(vm, quoted, binding \\ []) do
    {value, _} = call(vm, Code, :eval_quoted, [quoted, binding])
    value
  end

  @doc """
  Ends the VM, and waits until it has ended.
  """
  def stop(%__MODULE__{peer: peer, os_pid: os_pid}) do
    # The VM may end by itself meanwhile.
    try do
      :peer.stop(peer)
    catch
      :exit, _reason -> :ok
    end

    gone? = fn -> not File.exists?("/proc/#{os_pid}") end
    Await.until(gone?) || raise "the VM #{os_pid} does not end"
    :ok
  end

  # So that nothing of the VM's own comes or goes during the test: it still ends the program that
  # it looked its host's name up with, and it loads a module on first use, which takes descriptors.
  defp settle(vm) do
    alone? = fn -> map_size(call(vm, Machine, :processes, [])) <= 1 end
    Await.until(alone?) || raise "the VM #{vm.os_pid} does not come to rest"
    eval(vm, warm_up())
    call(vm, Machine, :snapshot, [])
  end

  # The socket may be refused there.
  defp warm_up do
    quote do
      with {:ok, socket} <- :socket.open(:inet, :dgram), do: :socket.close(socket)
      for n <- [1], is_integer(n), do: (fn -> <<n>> end).()
    end
  end

  defp command(options) do
    Keyword.get(options, :wrap, []) ++
      become(options[:user]) ++ Keyword.get(options, :as_user, [])
  end

  defp become(nil), do: []

  # Where that user may be, too.
  defp become(:nobody) do
    ["sh", "-c", "cd / && exec \"$@\"", "sh"] ++
      ~w(setpriv --reuid=65534 --regid=65534 --clear-groups --)
  end

  # Where the code is, and the reference. The user that a VM becomes may not be able to read that: then copies.
  defp code(nil), do: {:code.get_path(), Implementation.folder(:c)}

  defp code(:nobody) do
    folder = Folder.make!()
    build = Mix.Project.app_path()
    application = Path.join(folder, Path.basename(build))
    reference = Path.join(folder, "reference")
    parts = for part <- ~w(ebin priv), do: Path.join(build, part)
    File.mkdir!(application)
    {_, 0} = System.cmd("cp", ["-rL"] ++ parts ++ [application])
    {_, 0} = System.cmd("cp", ["-rL", Implementation.folder(:c), reference])
    {_, 0} = System.cmd("chmod", ["-R", "a+rX", folder])

    others = for path <- :code.get_path(), not String.starts_with?("#{path}", build), do: path
    {others ++ [to_charlist(Path.join(application, "ebin"))], reference}
  end

  defp exec([]), do: erl()

  defp exec([command | args]) do
    executable = System.find_executable(command) || raise "there is no #{command}"
    {to_charlist(executable), Enum.map(args, &to_charlist/1) ++ [erl()]}
  end

  defp erl, do: to_charlist(Path.join([:code.root_dir(), "bin", "erl"]))

  defp environment do
    Map.put(:persistent_term.get({__MODULE__, :preload}, %{}), "HOME", "/")
  end

  defp env(variables) do
    for {name, value} <- variables, do: {to_charlist(name), to_charlist(value)}
  end
end
