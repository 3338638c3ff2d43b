defmodule LinxNative.Mount.Options do
  @moduledoc false

  # Checks arguments and options, and converts them to the terms of `LinxNative.Native`.

  alias LinxNative.Mount.Attributes
  alias LinxNative.{CommonOptions, Names, Native}

  @timeout 5_000
  @max_id 0xFFFFFFFE
  @layers ~w(lowerdir lowerdir+ datadir+ upperdir workdir)

  @common [in: :host, follow: false, timeout: @timeout]
  @create [create: nil]
  @finish [from: :host, attributes: [], id_map: nil]
  @defaults Map.new(
              [
                mount:
                  @create ++
                    @finish ++ [propagation: nil, source: nil, options: [], pid_namespace: nil],
                bind: @create ++ @finish ++ [propagation: :private, recursive: false],
                set: [recursive: false, attributes: [], propagation: nil],
                move: @create,
                umount: [detach: false, force: false],
                pivot_root: @create
              ],
              fn {function, defaults} -> {function, Map.new(@common ++ defaults)} end
            )

  @doc """
  Checks the options of a function and returns them with the defaults.
  """
  @spec parse!(atom, term) :: map
  def parse!(function, options) do
    defaults = Map.fetch!(@defaults, function)

    unless Keyword.keyword?(options) do
      raise ArgumentError, "options are a keyword list, not #{inspect(options)}"
    end

    Enum.reduce(options, defaults, fn {name, value}, options ->
      if not is_map_key(options, name) do
        raise ArgumentError, Names.unknown("no option of #{function}", name, Map.keys(defaults))
      end

      check(name, value) || refuse!(name, value)
      %{options | name => value}
    end)
  end

  @doc """
  Checks an absolute path.
  """
  @spec path!(term) :: binary
  def path!("/" <> _ = path) do
    if String.contains?(path, <<0>>), do: refuse_path!(path), else: path
  end

  def path!(other), do: refuse_path!(other)

  @doc """
  Returns the target of a mount.
  """
  @spec target!(term, map) :: Native.target()
  def target!(path, options) do
    {CommonOptions.namespace(options.in, "mnt"), path!(path), options.follow, options.create}
  end

  @doc """
  Returns the changes of a mount: attributes and propagation.
  """
  @spec changes!(map) :: Native.changes()
  def changes!(options) do
    {set, clear} = Attributes.parse!(options.attributes)
    {set, clear, Attributes.propagation!(options.propagation)}
  end

  @doc """
  Returns the changes that are made to a mount before it is attached.
  """
  @spec finish!(map) :: {Native.changes(), Native.id_map()}
  def finish!(options), do: {changes!(options), id_map!(options.id_map)}

  @doc """
  Returns a file system with its options. The directories of an overlay are returned as its layers.
  """
  @spec file_system!(term, map) :: Native.file_system()
  def file_system!(type, options) do
    type = text!("a type of file system", type)
    source = if options.source, do: [{"source", text!("a source", options.source)}], else: []
    given = for {key, value} <- options.options, do: {key!(key), value}

    {layers, others} =
      if type == "overlay", do: Enum.split_with(given, &layer?/1), else: {[], given}

    {type, source ++ Enum.flat_map(others, &option!/1),
     Enum.flat_map(layers, &layers!(&1, options.follow))}
  end

  defp layer?({key, _value}), do: key in @layers

  # The first layers are on top.
  defp layers!({"lowerdir", paths}, follow) do
    if is_list(paths) and List.improper?(paths), do: refuse_path!(paths)
    for path <- List.wrap(paths), do: {"lowerdir+", path!(path), follow}
  end

  defp layers!({key, path}, follow), do: [{key, path!(path), follow}]

  defp key!(key) when is_atom(key) and key not in [nil, true, false], do: Atom.to_string(key)
  defp key!(key), do: text!("the name of an option of a file system", key)

  defp option!({key, true}), do: [{key, true}]
  defp option!({_key, false}), do: []
  defp option!({key, value}) when is_integer(value), do: [{key, Integer.to_string(value)}]

  defp option!({key, value}) when is_atom(value) and value != nil,
    do: [{key, Atom.to_string(value)}]

  defp option!({key, value}), do: [{key, text!("the value of the option #{key}", value)}]

  defp id_map!(nil), do: nil

  defp id_map!({kind, _value} = of) when kind in [:pid, :path, :fd],
    do: {:of, CommonOptions.namespace(of, "user")}

  defp id_map!([{_, _, _} | _] = lines), do: {:lines, lines!(lines), lines!(lines)}

  defp id_map!(maps) do
    with true <- Keyword.keyword?(maps),
         [_, _] <- maps,
         [uids: uids, gids: gids] <- Enum.sort(maps, :desc) do
      {:lines, lines!(uids), lines!(gids)}
    else
      _ -> refuse!(:id_map, maps)
    end
  end

  defp lines!([_ | _] = lines) do
    if List.improper?(lines), do: refuse!(:id_map, lines)

    Enum.map_join(lines, fn
      {inner, outer, count}
      when is_integer(inner) and inner in 0..@max_id and is_integer(outer) and
             outer in 0..@max_id and is_integer(count) and count in 1..@max_id ->
        "#{inner} #{outer} #{count}\n"

      other ->
        refuse!(:id_map, other)
    end)
  end

  defp lines!(other), do: refuse!(:id_map, other)

  defp check(name, namespace) when name in [:in, :from], do: namespace?(namespace)
  defp check(:pid_namespace, namespace), do: namespace == nil or namespace?(namespace)
  # The functions that parse these check them.
  defp check(name, _value) when name in [:attributes, :propagation, :source], do: true
  defp check(:id_map, {_kind, _value} = namespace), do: namespace?(namespace)
  defp check(:id_map, map), do: map == nil or (is_list(map) and not List.improper?(map))
  defp check(:create, kind), do: kind in [nil, :file, :directory]
  defp check(:timeout, timeout), do: CommonOptions.timeout?(timeout)

  defp check(:options, options) do
    is_list(options) and not List.improper?(options) and Enum.all?(options, &match?({_, _}, &1))
  end

  defp check(_boolean, value), do: is_boolean(value)

  defp namespace?({:path, path} = namespace),
    do: CommonOptions.namespace?(namespace) and not String.contains?(path, <<0>>)

  defp namespace?(namespace), do: CommonOptions.namespace?(namespace)

  defp text!(what, text) do
    if is_binary(text) and text != "" and not String.contains?(text, <<0>>) do
      text
    else
      raise ArgumentError, "#{what} is a string without NUL bytes, not #{inspect(text)}"
    end
  end

  @spec refuse_path!(term) :: no_return
  defp refuse_path!(path) do
    raise ArgumentError,
          "a path is a string that begins with a slash, without NUL bytes, not #{inspect(path)}"
  end

  @spec refuse!(atom, term) :: no_return
  defp refuse!(name, value) do
    raise ArgumentError, "the option #{inspect(name)} is #{possible(name)}, not #{inspect(value)}"
  end

  defp possible(name) when name in [:in, :from, :pid_namespace], do: CommonOptions.namespaces()

  defp possible(:id_map) do
    "[uids: maps, gids: maps], a list of maps {inside, outside, count} for both, " <>
      "or a user namespace: #{CommonOptions.other_namespaces()}"
  end

  defp possible(:create), do: ":file, :directory or nil"

  defp possible(:timeout), do: CommonOptions.timeouts()
  defp possible(:options), do: "a list of keys and values, for example [size: \"1m\"]"
  defp possible(_on_or_off), do: "true or false"
end
