defmodule LinxNative.Build.Prebuilt do
  @moduledoc false

  # A folder of prebuilt libraries: an archive for each library and target, and `SHA256SUMS`.
  #
  # The archives have the names that rustler_precompiled uses, for example
  # `liblinx_mount-v0.1.0-nif-2.15-x86_64-unknown-linux-gnu.so.tar.gz`. `sha256sum --check` can read the list. If the archives come
  # from an untrusted place, the list has to come from a trusted one.

  alias LinxNative.Build.Sha256

  @sums "SHA256SUMS"

  # The default of rustler. Every OTP from 22 on loads it.
  @nif_version "2.15"

  @doc """
  Writes archives of libraries, given by name and content, to `folder`, and adds them to its list.

  Returns the paths of the archives. Archives of other targets and versions stay.
  """
  @spec write!(Path.t(), %{String.t() => binary}, String.t(), String.t()) :: [Path.t()]
  def write!(folder, libraries, version, target) do
    File.mkdir_p!(folder)

    archives =
      for {library, content} <- libraries, into: %{} do
        name = name(library, version, target)
        {name, archive(Path.rootname(name, ".tar.gz"), content)}
      end

    for {name, archive} <- archives, do: File.write!(Path.join(folder, name), archive)

    sums =
      Map.merge(read_sums(folder), Map.new(archives, fn {name, a} -> {name, Sha256.sum(a)} end))

    lines = for {name, sum} <- Enum.sort(sums), do: "#{sum}  #{name}\n"
    File.write!(Path.join(folder, @sums), lines)
    archives |> Map.keys() |> Enum.sort() |> Enum.map(&Path.join(folder, &1))
  end

  @doc """
  Reads libraries for a version and a target from `folder`, and returns their contents by name.

  Every archive has to match the list.
  """
  @spec read(Path.t(), [String.t()], String.t(), String.t()) ::
          {:ok, %{String.t() => binary}} | {:error, String.t()}
  def read(folder, libraries, version, target) do
    with :ok <- check_folder(folder) do
      sums = read_sums(folder)

      Enum.reduce_while(libraries, {:ok, %{}}, fn library, {:ok, found} ->
        case read_one(folder, name(library, version, target), sums) do
          {:ok, content} -> {:cont, {:ok, Map.put(found, library, content)}}
          error -> {:halt, error}
        end
      end)
    end
  end

  # The path has to be absolute, because the compiler runs in the folder of the dependency.
  defp check_folder(folder) do
    cond do
      Path.type(folder) != :absolute -> {:error, "#{folder} is not an absolute path"}
      not File.regular?(Path.join(folder, @sums)) -> {:error, "there is no #{folder}/#{@sums}"}
      true -> :ok
    end
  end

  defp read_one(folder, name, sums) do
    with {:ok, expected} <- listed(name, sums, folder),
         {:ok, archive} <- read_file(Path.join(folder, name)),
         :ok <- compare(Sha256.sum(archive), expected, Path.join(folder, name)) do
      unpack(archive, name)
    end
  end

  defp listed(name, sums, folder) do
    case sums do
      %{^name => sum} -> {:ok, sum}
      _ -> {:error, "#{folder}/#{@sums} does not list #{name}, but #{others(sums)}"}
    end
  end

  defp others(sums) when sums == %{}, do: "nothing"
  defp others(sums), do: sums |> Map.keys() |> Enum.sort() |> Enum.join(", ")

  defp read_file(path) do
    with {:error, reason} <- File.read(path) do
      {:error, "cannot read #{path}: #{:file.format_error(reason)}"}
    end
  end

  defp compare(sum, sum, _path), do: :ok

  defp compare(sum, expected, path) do
    {:error, "#{path} does not match the list: its SHA-256 is #{sum}, not #{expected}"}
  end

  defp unpack(archive, name) do
    member = name |> Path.rootname(".tar.gz") |> to_charlist()

    case :erl_tar.extract({:binary, archive}, [:memory, :compressed]) do
      {:ok, [{^member, content}]} -> {:ok, content}
      _ -> {:error, "#{name} is not an archive of #{member}"}
    end
  end

  defp name(library, version, target) do
    "lib#{library}-v#{version}-nif-#{@nif_version}-#{target}.so.tar.gz"
  end

  # Reproducible: the archive depends only on the content, not on the user or the time.
  defp archive(member, content) do
    path = temporary(member)
    {:ok, tar} = :erl_tar.open(path, [:write])
    nobody = [mtime: 0, atime: 0, ctime: 0, uid: 0, gid: 0]
    :ok = :erl_tar.add(tar, content, to_charlist(member), nobody)
    :ok = :erl_tar.close(tar)
    path |> File.read!() |> :zlib.gzip()
  after
    File.rm(temporary(member))
  end

  defp temporary(member), do: Path.join(System.tmp_dir!(), "#{member}.#{System.pid()}.tar")

  defp read_sums(folder) do
    case File.read(Path.join(folder, @sums)) do
      {:ok, text} ->
        for line <- String.split(text, "\n", trim: true),
            [sum, name] <- [String.split(line, "  ", parts: 2)],
            into: %{},
            do: {name, sum}

      {:error, :enoent} ->
        %{}
    end
  end
end
