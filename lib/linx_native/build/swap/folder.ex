defmodule LinxNative.Build.Swap.Folder do
  @moduledoc false

  # The `priv` of a built Linx, and the folder `swapped_out` beside it, which is not part of a release:
  #
  #     priv/linx_mount.so               the library of linx_native or of Linx
  #     swapped_out/linx_mount.so        the original, while a library of linx_native is in its place
  #     swapped_out/swapped_in.sha256    the checksums of the libraries that were put into priv
  #     swapped_out/work.PID/            the files of a run; the next run removes those of a killed run
  #
  # The content of a library decides whose it is, not its name or its time.

  alias LinxNative.Build.Sha256
  alias LinxNative.Loader

  @libraries ~w(linx_mount netlink_socket)
  @list "swapped_in.sha256"

  @typedoc """
  The library in `priv`:

    * `:ours` - the current library of linx_native
    * `:older` - a library of an earlier build of linx_native
    * `:original` - the same as the kept original
    * `:other` - any other library: Linx has built it, before the first swap or since
  """
  @type now :: :ours | :older | :original | :other

  @type file :: %{
          library: String.t(),
          path: Path.t(),
          now: now,
          sum: String.t(),
          ours: binary,
          kept_path: Path.t(),
          kept: (sum :: String.t()) | nil
        }

  @type t :: %{path: Path.t(), out: Path.t(), files: [file]}

  @doc """
  Returns the names of the two libraries.
  """
  @spec libraries :: [String.t()]
  def libraries, do: @libraries

  @doc """
  Reads the files of a folder and returns which library is in place and which is kept.
  """
  @spec look(Path.t()) :: {:ok, t} | {:error, String.t()}
  def look(path) do
    # If Linx has a `priv` in its source tree, the one in the build folder is a link to it. Originals are kept near their files.
    out = path |> real() |> Path.dirname() |> Path.join("swapped_out")
    listed = listed(out)

    with {:ok, files} <- collect(@libraries, &look(path, out, &1, listed)) do
      {:ok, %{path: path, out: out, files: files}}
    end
  end

  defp look(folder, out, library, listed) do
    path = Path.join(folder, library <> ".so")
    kept_path = Path.join(out, library <> ".so")
    ours_path = "#{Loader.path(library)}.so"

    with {:ok, content} <- read(path, "; the folder has to be the priv of a built Linx"),
         {:ok, ours} <- read(ours_path, "; build it: mix deps.compile linx_native --force") do
      kept = kept_sum(kept_path)
      sum = Sha256.sum(content)

      {:ok,
       %{
         library: library,
         path: path,
         now: now(sum, Sha256.sum(ours), kept, listed),
         sum: sum,
         ours: ours,
         kept_path: kept_path,
         kept: kept
       }}
    end
  end

  defp now(sum, sum, _kept, _listed), do: :ours
  defp now(sum, _ours, sum, _listed), do: :original
  defp now(sum, _ours, _kept, listed), do: if(sum in listed, do: :older, else: :other)

  @doc """
  Calls a function with a temporary folder on the file system of `priv`, and removes the folder afterwards.
  """
  @spec with_work(t, (Path.t() -> result)) :: result | {:error, String.t()} when result: term
  def with_work(folder, fun) do
    work = Path.join(folder.out, "work.#{System.pid()}")

    with :ok <- explain(File.mkdir_p(folder.out), "make", folder.out),
         :ok <- remove_left_work(folder.out),
         :ok <- explain(File.mkdir(work), "make", work) do
      try do
        fun.(work)
      after
        File.rm_rf(work)
        # Fails if an original is kept, which is intended.
        File.rmdir(folder.out)
      end
    end
  end

  defp remove_left_work(out) do
    for "work." <> pid = name <- File.ls!(out),
        pid == System.pid() or not File.exists?("/proc/#{pid}"),
        do: File.rm_rf(Path.join(out, name))

    :ok
  end

  @doc """
  Adds the checksums of the libraries of linx_native to the list. The checksums of files that are in `priv` now are kept.
  """
  @spec list_ours(t, work :: Path.t()) :: :ok | {:error, String.t()}
  def list_ours(folder, work) do
    older = for %{now: :older} = file <- folder.files, do: {file.sum, file.library}
    ours = for file <- folder.files, do: {Sha256.sum(file.ours), file.library}

    lines =
      for {sum, library} <- Enum.sort_by(ours ++ older, &elem(&1, 1)),
          do: "#{sum}  #{library}.so\n"

    beside = Path.join(work, @list)

    with :ok <- explain(File.write(beside, lines), "write", beside) do
      rename(beside, Path.join(folder.out, @list))
    end
  end

  @doc """
  Gives the library in `priv` a second name, and checks that it is still the file that `look/1` read.
  """
  @spec hold(file, work :: Path.t()) :: :ok | {:error, String.t() | :changed_meanwhile}
  def hold(file, work) do
    with :ok <- explain(File.ln(file.path, held(file, work)), "link", file.path),
         {:ok, content} <- read(held(file, work), "") do
      if Sha256.sum(content) == file.sum, do: :ok, else: {:error, :changed_meanwhile}
    end
  end

  @doc """
  Keeps the held file as the original, and replaces an older original.
  """
  @spec keep(file, work :: Path.t()) :: :ok | {:error, String.t()}
  def keep(file, work) do
    beside = Path.join(work, file.library <> ".kept")

    with :ok <- explain(File.ln(held(file, work), beside), "link", file.path) do
      rename(beside, file.kept_path)
    end
  end

  @doc """
  Returns the folder in which a run prepares the libraries of linx_native.
  """
  @spec prepared(work :: Path.t()) :: Path.t()
  def prepared(work), do: Path.join(work, "linx/priv")

  @doc """
  Puts the library of linx_native into `priv`.
  """
  @spec put_ours(file, work :: Path.t()) :: :ok | {:error, String.t()}
  def put_ours(file, work),
    do: work |> prepared() |> Path.join(file.library <> ".so") |> rename(file.path)

  @doc """
  Puts the held file back into `priv`.
  """
  @spec put_held(file, work :: Path.t()) :: :ok | {:error, String.t()}
  def put_held(file, work), do: work |> then(&held(file, &1)) |> rename(file.path)

  @doc """
  Moves the kept original back into `priv`.
  """
  @spec put_kept(file) :: :ok | {:error, String.t()}
  def put_kept(file), do: rename(file.kept_path, file.path)

  @doc """
  Undoes `put_kept/1`.
  """
  @spec take_back(file, work :: Path.t()) :: :ok | {:error, String.t()}
  def take_back(file, work) do
    with :ok <- explain(File.ln(file.path, file.kept_path), "link", file.path),
         do: put_held(file, work)
  end

  @doc """
  Removes the originals and the list from `swapped_out`, but not the folder of a run.
  """
  @spec forget(t) :: :ok
  def forget(folder) do
    for file <- folder.files, do: File.rm(file.kept_path)
    File.rm(Path.join(folder.out, @list))
    File.rmdir(folder.out)
    :ok
  end

  @doc false
  def explain(:ok, _verb, _path), do: :ok

  def explain({:error, reason}, verb, path),
    do: {:error, "cannot #{verb} #{path}: #{:file.format_error(reason)}"}

  defp rename(from, to), do: explain(File.rename(from, to), "replace", to)

  defp held(file, work), do: Path.join(work, file.library <> ".held")

  defp real(path) do
    case File.read_link(path) do
      {:ok, target} -> Path.expand(target, Path.dirname(Path.expand(path)))
      {:error, _} -> Path.expand(path)
    end
  end

  defp listed(out) do
    case File.read(Path.join(out, @list)) do
      {:ok, text} -> for line <- String.split(text, "\n", trim: true), do: hd(String.split(line))
      {:error, _} -> []
    end
  end

  defp kept_sum(path) do
    case File.read(path) do
      {:ok, content} -> Sha256.sum(content)
      {:error, _} -> nil
    end
  end

  defp read(path, remedy) do
    case File.read(path) do
      {:ok, content} -> {:ok, content}
      {:error, :enoent} -> {:error, "there is no #{path}#{remedy}"}
      error -> explain(error, "read", path)
    end
  end

  defp collect(list, fun) do
    list
    |> Enum.reduce_while([], fn item, results ->
      case fun.(item) do
        {:ok, result} -> {:cont, [result | results]}
        error -> {:halt, error}
      end
    end)
    |> case do
      results when is_list(results) -> {:ok, Enum.reverse(results)}
      error -> error
    end
  end
end
