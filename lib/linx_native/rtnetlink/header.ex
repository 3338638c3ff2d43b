defmodule LinxNative.Rtnetlink.Header do
  @moduledoc false

  # The fixed header of a message, a C structure before the attributes.

  alias LinxNative.Attributes.Kind
  alias LinxNative.Names

  @typedoc "The fields in order, with the padding between them in bytes."
  @type t :: [{atom, Kind.t()} | {:padding, pos_integer}]

  @doc "Returns a header of these fields, which are names with a `t:LinxNative.Attributes.kind/0`."
  @spec compile(keyword) :: t
  def compile(fields) do
    for {name, kind} <- fields do
      if name == :padding do
        {:padding, kind}
      else
        {:ok, kind} = Kind.compile(kind)
        {name, kind}
      end
    end
  end

  @doc "Returns the names of the fields."
  @spec fields(t) :: [atom]
  def fields(header), do: for({name, _kind} <- header, name != :padding, do: name)

  @doc "Returns the fields of a header with their values, and the rest of the bytes."
  @spec read(t, binary) :: {:ok, %{atom => term}, binary} | :error
  def read(header, bytes), do: read(header, bytes, %{})

  defp read([], rest, values), do: {:ok, values, rest}

  defp read([{:padding, size} | fields], bytes, values) do
    with {_, rest} <- split(bytes, size), do: read(fields, rest, values)
  end

  defp read([{name, kind} | fields], bytes, values) do
    with {field, rest} <- split(bytes, Kind.size(kind)),
         {:ok, value} <- Kind.read(kind, field) do
      read(fields, rest, Map.put(values, name, value))
    else
      _ -> :error
    end
  end

  # Not a binary pattern: for a size variable Elixir 1.18 wants a pin operator, which older versions do not support there.
  defp split(bytes, size) when byte_size(bytes) < size, do: :error
  defp split(bytes, size), do: :erlang.split_binary(bytes, size)

  @doc "Returns the bytes of a header with these values; the other fields are 0. A wrong value raises `ArgumentError`."
  @spec write!(t, Enumerable.t(), String.t()) :: binary
  def write!(header, values, what) do
    known = Map.new(fields(header), &{&1, &1})

    values =
      Map.new(values, fn {name, value} ->
        {Names.fetch!(known, name, "no field of #{what}"), value}
      end)

    for field <- header, into: <<>>, do: bytes!(field, values, what)
  end

  defp bytes!({:padding, size}, _values, _what), do: <<0::size(size)-unit(8)>>

  defp bytes!({name, kind}, values, what) do
    case Kind.write(kind, Map.get(values, name, 0)) do
      {:ok, bytes} -> bytes
      {:error, wrong} -> raise ArgumentError, "the field #{inspect(name)} of #{what} #{wrong}"
    end
  end
end
