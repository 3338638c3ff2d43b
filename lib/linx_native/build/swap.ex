defmodule LinxNative.Build.Swap do
  @moduledoc false

  # Puts this project's two libraries in place of the C ones of a built Linx, and back again.
  #
  # The folder is the `priv` of that Linx, as `_build/prod/lib/linx/priv`. The originals stay in it, as
  # `netlink_socket.so.orig` and `linx_mount.so.orig`. Every file gets to its place by a rename: a VM that has a library
  # mapped keeps what it has, and one that starts meanwhile finds a whole file. When a step fails, those before it are
  # undone.

  alias LinxNative.Loader

  @libraries %{
    "netlink_socket" => Linx.Netlink.Socket.Native,
    "linx_mount" => Linx.Mount.Native
  }

  @typedoc "`:unchanged`: it was so already. An error is one line for a person."
  @type result :: {:ok, :changed | :unchanged} | {:error, String.t()}

  @doc """
  Puts our libraries into `folder` and keeps the originals beside them.

  Before it changes anything it sees to it that both files are there, that it knows what they are, and that ours load in
  this OTP. An original that is kept already is never written to.
  """
  @spec swap(Path.t()) :: result
  def swap(folder) do
    with {:ok, files} <- look_at(folder),
         :ok <- refuse(Enum.find(files, &(&1.now == :unknown)), &unknown/1),
         :ok <- loadable() do
      files |> Enum.filter(&(&1.now == :original)) |> Enum.flat_map(&swap_steps/1) |> take([])
    end
  end

  @doc """
  Puts the originals in `folder` back to their places.
  """
  @spec restore(Path.t()) :: result
  def restore(folder) do
    with {:ok, files} <- look_at(folder),
         :ok <- refuse(Enum.find(files, &(&1.now == :ours and not &1.kept?)), &not_kept/1) do
      kept = Enum.filter(files, & &1.kept?)
      take(Enum.flat_map(kept, &restore_steps/1) ++ Enum.map(kept, &clean_step/1), [])
    end
  end

  defp look_at(folder) do
    files = Enum.map(Map.keys(@libraries), &look_at(folder, &1))

    case Enum.find(files, &(&1.now == :missing)) do
      nil -> {:ok, files}
      file -> {:error, "there is no #{file.path}; the folder has to be the priv of a built Linx"}
    end
  end

  defp look_at(folder, library) do
    path = Path.join(folder, library <> ".so")
    ours = "#{Loader.path(library)}.so"
    kept = path <> ".orig"
    now = which(File.read(path), File.read(ours), File.read(kept))
    %{path: path, ours: ours, kept: kept, kept?: File.regular?(kept), now: now}
  end

  defp which({:error, _}, _ours, _kept), do: :missing
  defp which(ours, ours, _kept), do: :ours
  defp which(_original, _ours, {:error, :enoent}), do: :original
  # A swap that was killed may have got no further than to keep it.
  defp which(original, _ours, original), do: :original
  defp which(_other, _ours, _kept), do: :unknown

  defp refuse(nil, _reason), do: :ok
  defp refuse(file, reason), do: {:error, reason.(file)}

  defp unknown(file) do
    "#{file.path} is neither ours nor the original kept beside it; if it is an older one of ours, use --restore " <>
      "first, and if Linx was built anew, delete #{file.kept}"
  end

  defp not_kept(file), do: "#{file.path} is ours, but there is no #{file.kept} to restore"

  # Another VM tries: a library for a later OTP ends the VM that loads it.
  defp loadable do
    erl = Path.join([:code.root_dir(), "bin", "erl"])
    ebins = for app <- [:linx_native, :elixir], do: Path.join(:code.lib_dir(app), "ebin")
    modules = Enum.map_join(Map.values(@libraries), ", ", &"'#{&1}'")

    # init:stop/1 takes its time, in which the logger gets to say why.
    program =
      "case [M || M <- [#{modules}], code:ensure_loaded(M) =/= {module, M}] of " <>
        "[] -> halt(0); _ -> init:stop(1) end."

    args = ["-noinput", "-boot", "no_dot_erlang", "-pa"] ++ ebins ++ ["-eval", program]

    case System.cmd(erl, args, stderr_to_stdout: true, env: [{"ERL_CRASH_DUMP_SECONDS", "0"}]) do
      {_, 0} -> :ok
      {said, _} -> {:error, "our libraries do not load in this OTP: " <> reason(said)}
    end
  end

  # LinxNative.Loader says it in one line, among lines of the logger.
  defp reason(said) do
    lines = String.split(said, "\n", trim: true)
    Enum.find(lines, "the VM ends", &(&1 =~ "cannot load"))
  end

  # A step is what to do, and what undoes it once it was done.
  defp take([], []), do: {:ok, :unchanged}
  defp take([], _undo), do: {:ok, :changed}

  defp take([{step, undo} | steps], done) do
    case step.() do
      :ok ->
        take(steps, [undo | done])

      {:error, reason} ->
        Enum.each(done, & &1.())
        {:error, reason}
    end
  end

  defp swap_steps(%{path: path, kept: kept} = file) do
    new = beside(path)

    [
      {fn -> copy(file.ours, new) end, fn -> File.rm(new) end},
      if(file.kept?, do: nothing(), else: {fn -> link(path, kept) end, fn -> File.rm(kept) end}),
      {fn -> rename(new, path) end, fn -> with :ok <- link(kept, new), do: rename(new, path) end}
    ]
  end

  defp restore_steps(%{path: path, kept: kept}) do
    ours = beside(path)

    [
      {fn -> link(path, ours) end, fn -> File.rm(ours) end},
      {fn -> rename(kept, path) end,
       fn -> with :ok <- link(path, kept), do: rename(ours, path) end}
    ]
  end

  # To rename a file to another name of itself leaves both names.
  defp clean_step(%{path: path, kept: kept}) do
    {fn -> Enum.each([beside(path), kept], &File.rm/1) end, fn -> :ok end}
  end

  defp nothing, do: {fn -> :ok end, fn -> :ok end}

  defp beside(path), do: "#{path}.#{System.pid()}.tmp"

  defp copy(from, to) do
    with {:error, reason} <- File.cp(from, to) do
      File.rm(to)
      {:error, "cannot write #{to}: #{:file.format_error(reason)}"}
    end
  end

  # A second name for the same file, so that there is none without a library meanwhile.
  defp link(from, to) do
    with {:error, reason} <- File.ln(from, to) do
      {:error, "cannot keep #{from} as #{to}: #{:file.format_error(reason)}"}
    end
  end

  defp rename(from, to) do
    with {:error, reason} <- File.rename(from, to) do
      {:error, "cannot replace #{to}: #{:file.format_error(reason)}"}
    end
  end
end
