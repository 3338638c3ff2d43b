defmodule LinxNative.Test.PinnedNamespaces do
  @moduledoc """
  Namespaces without a process, which a descriptor of the VM keeps alive.
  """

  alias LinxNative.Test.Machine

  @doc """
  Returns paths that refer to the namespaces of `paths` until the test ends, also after their processes have ended.
  """
  def paths(paths), do: Enum.map(paths, &hold/1)

  defp hold(path) do
    test = self()
    holder = spawn(fn -> open(path, test) end)

    receive do
      {^holder, :open} -> ExUnit.Callbacks.on_exit(fn -> close(holder) end)
    end

    identity = File.read_link!(path)
    {fd, _} = Enum.find(Machine.descriptors(), fn {_, {link, _}} -> link == identity end)
    "/proc/self/fd/#{fd}"
  end

  # In a process of its own, because the callbacks of `on_exit` do not run in the test process.
  defp open(path, test) do
    {:ok, file} = :file.open(path, [:read, :raw])
    send(test, {self(), :open})

    receive do
      :close -> :file.close(file)
    end
  end

  defp close(holder) do
    monitor = Process.monitor(holder)
    send(holder, :close)

    receive do
      {:DOWN, ^monitor, :process, _, _} -> :ok
    end
  end
end
