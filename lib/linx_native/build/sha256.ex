defmodule LinxNative.Build.Sha256 do
  @moduledoc false

  @doc """
  Returns the SHA-256 of `content` in hexadecimal, as `sha256sum` writes it.
  """
  @spec sum(iodata) :: String.t()
  def sum(content) do
    # Elixir 1.15 and later remove applications from the code path that the current project does not name.
    if function_exported?(Mix, :ensure_application!, 1),
      do: apply(Mix, :ensure_application!, [:crypto])

    # By a variable, because a literal name would need :crypto as a dependency of the application in every release. Only Mix
    # tasks call this function.
    crypto = :crypto
    :sha256 |> crypto.hash(content) |> Base.encode16(case: :lower)
  end
end
