defmodule LinxNative.Mount do
  @moduledoc """
  Mounts by descriptor, across namespaces, with a timeout.
  """

  alias LinxNative.Mount.{Error, Options}
  alias LinxNative.Native

  @detach 2
  @force 1

  def mount(type, target, options \\ []) do
    options = Options.parse!(:mount, options)
    file_system = Options.file_system!(type, options)

    if options.pid_namespace && type != "proc" do
      raise ArgumentError, "the option :pid_namespace is for the type proc, not #{inspect(type)}"
    end

    Native.mount(
      file_system,
      Options.namespace(options.from, "mnt"),
      options.pid_namespace && Options.namespace(options.pid_namespace, "pid"),
      Options.finish!(options),
      Options.target!(target, options),
      options.timeout
    )
    |> result()
  end

  def bind(source, target, options \\ []) do
    options = Options.parse!(:bind, options)

    Native.bind(
      Options.namespace(options.from, "mnt"),
      {Options.path!(:source, source), options.follow},
      options.recursive,
      Options.finish!(options),
      Options.target!(target, options),
      options.timeout
    )
    |> result()
  end

  def set(target, options) do
    options = Options.parse!(:set, options)
    changes = Options.changes!(options)

    if changes == {0, 0, 0} do
      raise ArgumentError, "set/2 takes the option :attributes or :propagation"
    end

    in_namespace = Options.namespace(options.in, "mnt")
    path = {Options.path!(:target, target), options.follow}
    result(Native.set(in_namespace, path, options.recursive, changes, options.timeout))
  end

  def move(source, target, options \\ []) do
    options = Options.parse!(:move, options)
    source = {Options.path!(:source, source), options.follow}
    result(Native.move(source, Options.target!(target, options), options.timeout))
  end

  def umount(target, options \\ []) do
    options = Options.parse!(:umount, options)
    flags = if(options.detach, do: @detach, else: 0) + if(options.force, do: @force, else: 0)
    in_namespace = Options.namespace(options.in, "mnt")
    path = {Options.path!(:target, target), options.follow}
    result(Native.umount(in_namespace, path, flags, options.timeout))
  end

  def pivot_root(new_root, put_old, options \\ []) do
    options = Options.parse!(:pivot_root, options)
    new_root = {Options.path!(:new_root, new_root), options.follow}
    result(Native.pivot_root(new_root, Options.target!(put_old, options), options.timeout))
  end

  defp result(:ok), do: :ok
  defp result({:error, reason}), do: {:error, Error.from_native(reason)}
end
