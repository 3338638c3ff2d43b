defmodule LinxNative.Bench.Legacy do
  @moduledoc """
  Loads the C libraries into the same VM as the Rust ones.

  A NIF library binds to the one module that it names. So this makes a copy of each with another name of the same length: `Legacy`
  instead of `Native`. Nothing else in the file differs.
  """

  @copies %{
    "netlink_socket" =>
      {"Elixir.Linx.Netlink.Socket.Native", "Elixir.Linx.Netlink.Socket.Legacy"},
    "linx_mount" => {"Elixir.Linx.Mount.Native", "Elixir.Linx.Mount.Legacy"}
  }

  @doc """
  Copies the libraries of the folder `from` to the folder `to`, which the modules load them from.
  """
  def copy!(from, to) do
    for {library, {name, other}} <- @copies do
      content = File.read!(Path.join(from, library <> ".so"))
      # Once in the file, else this would change more than the name.
      [_] = :binary.matches(content, name)
      File.write!(Path.join(to, library <> ".so"), :binary.replace(content, name, other))
    end

    Application.put_env(:linx_native, :bench_legacy, to)
  end

  @doc false
  defmacro __using__(library) do
    quote do
      @compile {:autoload, false}
      @on_load :load_library

      defp load_library do
        :linx_native
        |> Application.fetch_env!(:bench_legacy)
        |> Path.join(unquote(library))
        |> to_charlist()
        |> :erlang.load_nif(0)
      end

      defp not_loaded(_arguments), do: :erlang.nif_error(:nif_not_loaded)
    end
  end
end

defmodule Linx.Netlink.Socket.Legacy do
  @moduledoc "The C library of `Linx.Netlink.Socket.Native`."
  use LinxNative.Bench.Legacy, "netlink_socket"

  def open_in_netns(path, protocol), do: not_loaded([path, protocol])
  def close_fd(fd), do: not_loaded([fd])
  def bind_netlink(fd, groups), do: not_loaded([fd, groups])
end

defmodule Linx.Mount.Legacy do
  @moduledoc "The C library of `Linx.Mount.Native`."
  use LinxNative.Bench.Legacy, "linx_mount"

  def version, do: not_loaded([])
  def mount(a, b, c, d, e, f, g, h), do: not_loaded([a, b, c, d, e, f, g, h])
  def umount(target, flags, ns_path), do: not_loaded([target, flags, ns_path])
  def pivot_root(new_root, put_old, ns_path), do: not_loaded([new_root, put_old, ns_path])
end
