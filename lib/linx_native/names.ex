defmodule LinxNative.Names do
  @moduledoc false

  # The Jaro distance from which two names count as similar: `ifnmae` and `ifname` have 0.94, `mtu` and `mark` 0.53.
  @similar 0.77

  # No name is longer, in bytes. The time for the distance grows with the square of the length.
  @longest 255

  @doc """
  Returns the value of a name in `table`. Raises `ArgumentError`, which lists the known names, if `table` does not have the name.
  `what` is the subject of the message, for example `"no multicast group"`.
  """
  @spec fetch!(%{optional(term) => value}, term, String.t()) :: value when value: term
  def fetch!(table, name, what) do
    case table do
      %{^name => value} -> value
      _ -> raise ArgumentError, unknown(what, name, Map.keys(table))
    end
  end

  @doc """
  Returns a message that a name is unknown, with the most similar name and the list of all names.
  """
  @spec unknown(String.t(), term, [term]) :: String.t()
  def unknown(what, name, names), do: "#{what} is named #{inspect(name)}#{choice(name, names)}"

  @doc """
  Returns the end of such a message: the most similar name and the list of all names.
  """
  @spec choice(term, [term]) :: String.t()
  def choice(name, names), do: "#{meant(name, names)} There are: #{list(names)}"

  @doc """
  Returns a list of names as text, in alphabetical order.
  """
  @spec list([term]) :: String.t()
  def list([]), do: "none"
  def list(names), do: names |> Enum.sort() |> Enum.map_join(", ", &inspect/1)

  @spec meant(term, [term]) :: String.t()
  defp meant(name, names) do
    with true <- is_atom(name) or (is_binary(name) and byte_size(name) <= @longest),
         true <- is_atom(name) or String.valid?(name),
         [_ | _] = names <- Enum.filter(names, &similar?(&1, name)) do
      ", did you mean #{names |> Enum.max_by(&distance(&1, name)) |> inspect()}?"
    else
      _ -> "."
    end
  end

  defp similar?(one, other), do: distance(one, other) >= @similar

  defp distance(one, other) do
    String.jaro_distance(String.downcase("#{one}"), String.downcase("#{other}"))
  end
end
