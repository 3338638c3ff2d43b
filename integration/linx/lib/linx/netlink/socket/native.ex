defmodule Linx.Netlink.Socket.Native do
  @moduledoc false
  @compile {:autoload, false}
  @on_load :load

  @doc false
  def load, do: :erlang.load_nif(:filename.join(:code.priv_dir(:linx), ~c"netlink_socket"), 0)

  def open_in_netns(_path, _protocol), do: :erlang.nif_error(:nif_not_loaded)
  def close_fd(_fd), do: :erlang.nif_error(:nif_not_loaded)
  def bind_netlink(_fd, _groups), do: :erlang.nif_error(:nif_not_loaded)
end
