defmodule Linx.Mount.Native do
  @moduledoc false
  @compile {:autoload, false}
  @on_load :load

  @doc false
  def load, do: :erlang.load_nif(:filename.join(:code.priv_dir(:linx), ~c"linx_mount"), 0)

  def version, do: :erlang.nif_error(:nif_not_loaded)

  def mount(_source, _target, _fstype, _flags, _data, _ns_path, _pidns_path, _create_target),
    do: :erlang.nif_error(:nif_not_loaded)

  def umount(_target, _flags, _ns_path), do: :erlang.nif_error(:nif_not_loaded)
  def pivot_root(_new_root, _put_old, _ns_path), do: :erlang.nif_error(:nif_not_loaded)
end
