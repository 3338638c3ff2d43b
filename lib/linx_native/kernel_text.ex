defmodule LinxNative.KernelText do
  @moduledoc false

  @doc """
  Returns a message of the kernel with control characters, and bytes that are not UTF-8, escaped. It may contain names that a
  container chose.
  """
  @spec printable(binary) :: String.t()
  def printable(text) do
    for character <- String.codepoints(text), into: "" do
      if String.valid?(character) and character =~ ~r/\P{C}/u,
        do: character,
        else: for(<<byte <- character>>, into: "", do: "\\x" <> Base.encode16(<<byte>>))
    end
  end
end
