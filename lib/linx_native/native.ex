defmodule LinxNative.Native do
  @moduledoc false

  # The native functions of what is not of the drop-in, on dirty I/O schedulers. Arguments are checked before they get
  # here: another form is `badarg`.

  use LinxNative.Loader, "linx_native"

  @type namespace :: :host | {:path, binary} | {:fd, integer}
  @type path :: {binary, follow :: boolean}
  @type target :: {namespace, binary, follow :: boolean, create :: nil | :file | :directory}
  @type changes ::
          {set :: non_neg_integer, clear :: non_neg_integer, propagation :: non_neg_integer}
  @type id_map :: nil | {:of, namespace} | {:lines, uids :: binary, gids :: binary}
  @type file_system ::
          {type :: binary, [{key :: binary, true | binary}],
           layers :: [{key :: binary, binary, follow :: boolean}]}

  @typedoc "Milliseconds."
  @type deadline :: 0..0xFFFFFFFF | :infinity

  @type failed ::
          {:error,
           :timeout | {stage, errno :: pos_integer, path :: binary | nil, words :: [binary]}}
  @type stage :: atom | {:open | :enter, option :: atom} | {:option, key :: binary}

  @spec mount(file_system, namespace, namespace | nil, {changes, id_map}, target, deadline) ::
          :ok | failed
  def mount(_file_system, _from, _pid_namespace, _finish, _target, _timeout),
    do: :erlang.nif_error(:nif_not_loaded)

  @spec bind(namespace, path, recursive :: boolean, {changes, id_map}, target, deadline) ::
          :ok | failed
  def bind(_from, _source, _recursive, _finish, _target, _timeout),
    do: :erlang.nif_error(:nif_not_loaded)

  @spec set(namespace, path, recursive :: boolean, changes, deadline) :: :ok | failed
  def set(_in, _target, _recursive, _changes, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec move(path, target, deadline) :: :ok | failed
  def move(_source, _target, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec umount(namespace, path, flags :: integer, deadline) :: :ok | failed
  def umount(_in, _target, _flags, _timeout), do: :erlang.nif_error(:nif_not_loaded)

  @spec pivot_root(path, target, deadline) :: :ok | failed
  def pivot_root(_new_root, _put_old, _timeout), do: :erlang.nif_error(:nif_not_loaded)
end
