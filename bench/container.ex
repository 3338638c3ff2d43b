defmodule LinxNative.Bench.Container do
  @moduledoc """
  A container-like process with namespaces of its own, and a folder to mount onto, for the calls of the benchmark.
  """

  alias LinxNative.Bench.Program

  @enforce_keys [:net, :mount, :pid, :folder, :holder]
  defstruct @enforce_keys

  @doc """
  Starts the process and makes the folder.
  """
  def make!(harness) do
    {holder, pid} = hold!(harness, ~w(--net --mount --pid))
    folder = Path.join(System.tmp_dir!(), "linx_native_bench_#{System.pid()}")
    File.mkdir_p!(folder)
    [net, mount, pid] = for kind <- ~w(net mnt pid), do: "/proc/#{pid}/ns/#{kind}"
    %__MODULE__{net: net, mount: mount, pid: pid, folder: folder, holder: holder}
  end

  @doc """
  Ends the process and removes the folder.
  """
  def remove(%__MODULE__{holder: holder, folder: folder}) do
    Program.stop(holder)
    File.rmdir!(folder)
  end

  @doc """
  Returns the path of its root, as seen from the VM.
  """
  def root(%__MODULE__{mount: mount}), do: mount |> Path.dirname() |> Path.join("../root")

  @doc """
  Returns paths of `count` network namespaces without processes, and the files that keep them alive, for `release/1`.
  """
  def network_namespaces!(harness, count) do
    Enum.map_reduce(1..count, [], fn _, kept ->
      {holder, pid} = hold!(harness, ~w(--net))
      path = "/proc/#{pid}/ns/net"
      {:ok, file} = :file.open(path, [:read, :raw])
      descriptor = descriptor_of!(File.read_link!(path))
      Program.stop(holder)
      {"/proc/self/fd/#{descriptor}", [file | kept]}
    end)
  end

  @doc """
  Releases such namespaces.
  """
  def release(kept), do: Enum.each(kept, &:file.close/1)

  defp hold!(harness, namespaces) do
    holder = Program.start!(harness, ["container" | namespaces])
    "ready " <> pid = Program.line!(holder)
    {holder, pid}
  end

  defp descriptor_of!(link) do
    "/proc/self/fd"
    |> File.ls!()
    |> Enum.find(&(File.read_link("/proc/self/fd/#{&1}") == {:ok, link}))
  end
end
