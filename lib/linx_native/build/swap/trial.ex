defmodule LinxNative.Build.Swap.Trial do
  @moduledoc false

  # Checks that the libraries of linx_native load in the modules of a built Linx, in this OTP.
  #
  # The check runs in another VM, because a library for a later OTP ends the VM that loads it. That VM loads Linx's own modules
  # with the new files. The files that were checked are the ones that are put into place.

  alias LinxNative.Build.{Swap.Folder, Target}

  @modules ~w(Elixir.Linx.Mount.Native Elixir.Linx.Netlink.Socket.Native)

  @doc """
  Writes the libraries to the folder of a run and loads them from there.

  Libraries for another machine cannot be loaded here. Their ELF headers are compared with those of the files that they replace.
  """
  @spec run(Folder.t(), work :: Path.t()) :: :ok | {:error, String.t()}
  def run(folder, work) do
    with :ok <- write(folder, work) do
      if Target.chosen() in [nil, Target.host()],
        do: load(folder, work),
        else: compare(folder.files)
    end
  end

  defp write(folder, work) do
    priv = Folder.prepared(work)

    with :ok <- Folder.explain(File.mkdir_p(priv), "make", priv) do
      Enum.reduce_while(folder.files, :ok, fn file, :ok ->
        path = Path.join(priv, file.library <> ".so")

        case write_one(path, file) do
          :ok -> {:cont, :ok}
          {:error, reason} -> {:halt, Folder.explain({:error, reason}, "write", path)}
        end
      end)
    end
  end

  # Copies the mode of the file that it replaces.
  defp write_one(path, file) do
    with :ok <- File.write(path, file.ours, [:sync]),
         {:ok, %{mode: mode}} <- File.stat(file.path),
         do: File.chmod(path, mode)
  end

  defp load(folder, work) do
    # Linx's modules ask the code server for the folder of the application, which it finds by the folder's name.
    app = Path.dirname(Folder.prepared(work))
    ebin = folder.path |> Path.expand() |> Path.dirname() |> Path.join("ebin")

    with :ok <- Folder.explain(File.ln_s(ebin, Path.join(app, "ebin")), "link", ebin) do
      erl = Path.join([:code.root_dir(), "bin", "erl"])
      args = ["-noinput", "-boot", "no_dot_erlang", "-pa", Path.join(app, "ebin")]
      env = [{"ERL_LIBS", elixir_libs()}, {"ERL_CRASH_DUMP_SECONDS", "0"}]

      case System.cmd(erl, args ++ ["-eval", program()], stderr_to_stdout: true, env: env) do
        {_, 0} ->
          :ok

        {said, _} ->
          {:error, "the libraries of linx_native do not load in #{ebin}: #{reason(said)}"}
      end
    end
  end

  # A library counts as loaded only if it is mapped. What a failed on_load returned comes in a log event, at any time, because the code
  # server starts a process for it.
  defp program do
    """
    Self = self(),
    Report = fun(\#{msg := {report, \#{args := [M, Returned | _]}}}, _) -> Self ! {M, Returned}, stop;
                (_, _) -> ignore end,
    ok = logger:add_primary_filter(on_load, {Report, none}),
    Load = fun(M) -> {M, code:ensure_loaded(M)} end,
    Loaded = [Load(M) || M <- [#{Enum.map_join(@modules, ", ", &"'#{&1}'")}]],
    {ok, Maps} = file:read_file("/proc/self/maps"),
    Priv = unicode:characters_to_binary(code:priv_dir(linx)),
    Mapped = [L || L <- [#{Enum.map_join(Folder.libraries(), ", ", &~s("#{&1}.so"))}],
              binary:match(Maps, <<Priv/binary, $/, (list_to_binary(L))/binary>>) =/= nomatch],
    case {[F || {M, R} = F <- Loaded, R =/= {module, M}], length(Mapped)} of
      {[], #{length(Folder.libraries())}} -> halt(0);
      {[], _} -> io:format("~nNot loaded from ~ts~n", [Priv]), halt(1);
      {Failed, _} ->
        [receive {M, Returned} -> io:format("~n~0tp", [Returned]) after 10000 -> none end
         || {M, {error, on_load_failure}} <- Failed],
        io:format("~nNot loaded: ~0tp~n", [Failed]),
        halt(1)
    end.
    """
  end

  defp reason(said) do
    lines = String.split(said, "\n", trim: true)

    # In this order: what on_load returned, with the error of load_nif/2, the other output of program/0, and the last words of the VM.
    Enum.find_value(["{error,{", "Not loaded", ""], fn text ->
      with line when line != nil <- Enum.find(lines, &String.contains?(&1, text)),
           do: String.trim(line)
    end)
  end

  defp elixir_libs, do: :elixir |> :code.lib_dir() |> to_string() |> Path.dirname()

  defp compare(files) do
    case Enum.find(files, &(machine(&1.ours) != machine(File.read!(&1.path)))) do
      nil ->
        :ok

      file ->
        {:error,
         "#{file.path} is for another machine than the library of linx_native, which is for #{Target.current()}"}
    end
  end

  # Returns the class, the byte order and the machine from the header of an ELF file.
  defp machine(<<0x7F, "ELF", kind::binary-2, _::binary-12, machine::binary-2, _::binary>>),
    do: {kind, machine}

  defp machine(_other), do: nil
end
