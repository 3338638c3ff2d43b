defmodule LinxNative.Attributes.Schema do
  @moduledoc false

  # A checked schema: the attributes by type, and the types by name.

  alias LinxNative.Attributes.Kind
  alias LinxNative.Names

  defstruct types: %{}, names: %{}

  @typedoc "A checked kind."
  @type kind :: Kind.t() | {:nested, t} | {:list, kind}

  @type t :: %__MODULE__{
          types: %{optional(0..0x3FFF) => {key :: atom | 0..0x3FFF, kind}},
          names: %{optional(atom) => 0..0x3FFF}
        }

  @max_type 0x3FFF

  @doc """
  Checks a whole `t:LinxNative.Attributes.schema/0`. A wrong schema raises `ArgumentError`.
  """
  @spec compile(term) :: t
  def compile(schema), do: compile(schema, [])

  # `path` has the keys of the enclosing attributes, the innermost first.
  defp compile(%__MODULE__{} = schema, _path), do: schema

  defp compile(schema, path) when is_map(schema) and not is_struct(schema) do
    Enum.reduce(schema, %__MODULE__{}, fn {key, value}, compiled ->
      {type, kind} = entry(key, value, path)

      with %{^type => {other, _kind}} <- compiled.types do
        refuse!(path, "attribute #{type} is in the schema twice: #{Names.list([key, other])}")
      end

      names = if is_atom(key), do: Map.put(compiled.names, key, type), else: compiled.names
      %{compiled | types: Map.put(compiled.types, type, {key, kind}), names: names}
    end)
  end

  defp compile(other, path) do
    refuse!(path, "a schema is a map of types or names, not #{inspect(other)}")
  end

  defp entry(name, {type, kind}, path) when is_atom(name) and type in 0..@max_type do
    {type, kind(kind, [name | path])}
  end

  defp entry(type, kind, path) when type in 0..@max_type, do: {type, kind(kind, [type | path])}

  defp entry(key, value, path) do
    refuse!(
      path,
      "a schema has types in 0..#{@max_type} with a kind, for example 3 => :string, and names with type and kind, " <>
        "for example ifname: {3, :string}; not #{inspect(key)} => #{inspect(value)}"
    )
  end

  defp kind({:nested, schema}, path), do: {:nested, compile(schema, path)}
  defp kind({:list, kind}, path), do: {:list, kind(kind, path)}

  defp kind(kind, path) do
    case Kind.compile(kind) do
      {:ok, kind} -> kind
      {:error, what} -> refuse!(path, what)
      :error -> refuse!(path, no_kind(kind))
    end
  end

  defp no_kind(kind) do
    "#{inspect(kind)} is no kind#{Names.choice(kind, Kind.names())}, and " <>
      "{:nested, schema}, {:list, kind}, {:enum, number, names}, {:bits, number, names}"
  end

  @spec refuse!([term], String.t()) :: no_return
  defp refuse!([], what), do: raise(ArgumentError, what)
  defp refuse!(path, what), do: raise(ArgumentError, "#{label(path)}: #{what}")

  @doc """
  Returns the name of an attribute for messages: its key and the keys of the enclosing attributes, the innermost first.
  """
  @spec label([term]) :: String.t()
  def label(path), do: "attribute " <> Enum.map_join(path, " of ", &inspect/1)
end
