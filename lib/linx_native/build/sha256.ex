defmodule LinxNative.Build.Sha256 do
  @moduledoc false

  @doc """
  Returns the SHA-256 of `content` in hexadecimal, as `sha256sum` writes it.
  """
  @spec sum(iodata) :: String.t()
  def sum(content) do
    # Elixir 1.15 and later take the applications off the code path that the project at hand does not name.
    if function_exported?(Mix, :ensure_application!, 1),
      do: apply(Mix, :ensure_application!, [:crypto])

    # By a variable: named outright it would have to be an application that ours depends on, in every release. Only tasks
    # of Mix get here.
    crypto = :crypto
    :sha256 |> crypto.hash(content) |> Base.encode16(case: :lower)
  end
end
