defmodule LinxNative.Test.LinxFolder do
  @moduledoc """
  The build folder of a Linx: its two modules, which load their libraries from its `priv`, and the libraries that a test puts there.
  """

  @functions %{
    "linx_mount" => {Linx.Mount.Native, "version/0, mount/8, umount/3, pivot_root/3"},
    "netlink_socket" =>
      {Linx.Netlink.Socket.Native, "open_in_netns/2, close_fd/1, bind_netlink/2"}
  }

  @doc """
  Makes it in an empty folder and returns its `priv`.

  A module exports the functions of its library, or those that `functions` has for its name.
  """
  def make!(folder, functions \\ %{}) do
    app = Path.join(folder, "linx")
    [ebin, priv] = for name <- ~w(ebin priv), do: Path.join(app, name)
    Enum.each([ebin, priv], &File.mkdir_p!/1)

    for {library, {module, exported}} <- @functions do
      source = Path.join(folder, "#{module}.erl")
      File.write!(source, source(module, library, Map.get(functions, library, exported)))
      # Compiled only: in this VM the modules are ours.
      {:ok, ^module} = :compile.file(to_charlist(source), outdir: to_charlist(ebin))
      File.rm!(source)
    end

    priv
  end

  defp source(module, library, exported) do
    """
    -module('#{module}').
    -on_load(load/0).
    -export([#{exported}]).
    -nifs([#{exported}]).
    load() -> erlang:load_nif(filename:join(code:priv_dir(linx), "#{library}"), 0).
    #{Regex.replace(~r"(\w+)/(\d+),?", exported, &stub/3)}
    """
  end

  defp stub(_, name, arity) do
    arguments = List.duplicate("_", String.to_integer(arity))
    "#{name}(#{Enum.join(arguments, ", ")}) -> erlang:nif_error(not_loaded).\n"
  end
end
