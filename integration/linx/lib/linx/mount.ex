defmodule Linx.Mount do
  @moduledoc """
  Mounts in mount namespaces.

  Options of `mount/3`: `:type`, `:data`, `:bind`, `:create`, `:ns` and `:pid_ns` (files of namespaces). `umount/2` takes `:ns`.
  """

  alias Linx.Mount.Native

  @ms_bind 4096

  defmodule Error do
    @moduledoc """
    `:errno` is the name of the errno. An errno without a name is `:unknown`, and its number is in `:code`.
    """
    defexception [:stage, :errno, :code]

    @impl true
    def message(error), do: "#{error.stage} failed: #{error.errno}"
  end

  def mount(source, target, options \\ []) do
    source
    |> Native.mount(
      target,
      Keyword.get(options, :type, ""),
      if(options[:bind], do: @ms_bind, else: 0),
      Keyword.get(options, :data, ""),
      Keyword.get(options, :ns, ""),
      Keyword.get(options, :pid_ns, ""),
      if(options[:create], do: 1, else: 0)
    )
    |> result()
  end

  def umount(target, options \\ []) do
    target |> Native.umount(0, Keyword.get(options, :ns, "")) |> result()
  end

  defp result(:ok), do: :ok

  defp result({:error, {stage, errno}}) when is_atom(errno),
    do: {:error, %Error{stage: stage, errno: errno}}

  defp result({:error, {stage, code}}),
    do: {:error, %Error{stage: stage, errno: :unknown, code: code}}
end
