defmodule LinxNative.Loader do
  @moduledoc false

  # Loads the library of a module of native functions, and logs a remedy if that fails.
  #
  #     use LinxNative.Loader, "linx_mount"
  #
  # gives the module an `@on_load` function that loads `linx_mount.so` from this application's `priv`.
  #
  # A failed attempt is logged once, with the file, the VM's reason and a remedy. The module is then not loaded, and a call to
  # it raises `UndefinedFunctionError`. A release in embedded mode ends instead, as it does if any other module does not load.

  @doc false
  defmacro __using__(library) do
    quote do
      # Without this, Elixir loads the module as soon as it is compiled, when its library is not built yet.
      @compile {:autoload, false}
      @on_load :load_library

      # The VM binds a library to the very module that calls load_nif/2.
      defp load_library do
        unquote(library)
        |> LinxNative.Loader.path()
        |> :erlang.load_nif(0)
        |> LinxNative.Loader.report(unquote(library))
      end
    end
  end

  @doc """
  Returns the path of a library without `.so`, as `:erlang.load_nif/2` takes it.
  """
  @spec path(String.t()) :: charlist()
  def path(library), do: priv() |> Path.join(library) |> String.to_charlist()

  @doc """
  Returns the result of an `@on_load` function for the result of `:erlang.load_nif/2`, and logs an error.
  """
  @spec report(:ok | {:error, {atom(), charlist()}}, String.t()) :: :ok | :error
  def report(:ok, _library), do: :ok

  def report({:error, {kind, text}}, library) do
    file = "#{path(library)}.so"
    reason = text |> to_string() |> String.trim_trailing(".")
    remedy = remedy(kind, File.exists?(file))
    :logger.error("linx_native: cannot load #{file}: #{reason}. #{remedy}")
    # An atom only: the VM would log any other term a second time, and truncate it.
    :error
  end

  defp remedy(kind, _exists?) when kind in [:reload, :upgrade, :old_code] do
    "The library in use cannot be replaced in a running VM: restart the VM."
  end

  defp remedy(_kind, false) do
    "The file is not there: run `mix deps.compile linx_native --force` (in the project itself: `mix compile`); " <>
      "a release must have it in lib/linx_native-*/priv."
  end

  defp remedy(_kind, true) do
    "It was built for another machine, C library or version: build it for this machine with " <>
      "`mix deps.compile linx_native --force` (in the project itself: `mix compile --force`)."
  end

  defp priv do
    case :code.priv_dir(:linx_native) do
      {:error, :bad_name} -> __MODULE__ |> :code.which() |> Path.dirname() |> Path.join("../priv")
      priv -> priv
    end
  end
end
