defmodule LinxNative.Test.Implementation do
  @moduledoc """
  The implementation that the suite tests: `LINX_NATIVE_IMPL` is `rust` (the default) or `c`.

  The C files are loaded in stub modules of the same names, which have exactly the functions of the
  contract, as existing callers use them.
  """

  @root Path.expand("../..", __DIR__)

  @libraries %{
    Linx.Netlink.Socket.Native =>
      {"netlink_socket", [open_in_netns: 2, close_fd: 1, bind_netlink: 2]},
    Linx.Mount.Native => {"linx_mount", [version: 0, mount: 8, umount: 3, pivot_root: 3]}
  }

  @doc """
  Returns `:rust` or `:c`.
  """
  def current do
    case System.get_env("LINX_NATIVE_IMPL", "rust") do
      "rust" -> :rust
      "c" -> :c
      other -> raise "LINX_NATIVE_IMPL is #{other}; it can be rust or c"
    end
  end

  @doc """
  Returns the tags of tests for code that the chosen implementation does not have.
  """
  def left_out, do: if(current() == :c, do: [:conn, :mount, :rust], else: [])

  @doc """
  Returns the modules that have a library.
  """
  def modules, do: Map.keys(@libraries)

  @doc """
  Returns the functions of a module in the contract.
  """
  def functions(module), do: @libraries |> Map.fetch!(module) |> elem(1)

  @doc """
  Returns the path of a module's library.
  """
  def library_path(module, implementation \\ current()) do
    {name, _} = Map.fetch!(@libraries, module)
    Path.join(folder(implementation), name <> ".so")
  end

  @doc """
  Returns the folder with the libraries of an implementation.
  """
  def folder(:rust), do: to_string(:code.priv_dir(:linx_native))
  def folder(:c), do: Path.join(@root, "c_src_legacy")

  @doc """
  Builds the missing libraries and loads the modules of the chosen implementation.
  """
  def install! do
    if current() == :c, do: build_reference!()
    load!()
  end

  @doc """
  Builds the C reference, for tests that compare with it.
  """
  def build_reference! do
    case System.cmd("make", ["-s", "-C", folder(:c)], stderr_to_stdout: true) do
      {_, 0} -> :ok
      {output, status} -> raise "make -C #{folder(:c)}: exit status #{status}\n#{output}"
    end
  end

  @doc """
  Loads the modules of the chosen implementation. The libraries have to be built, the reference in the given folder.
  """
  def load!(reference \\ folder(:c)) do
    Enum.each(modules(), &load(&1, current(), reference))
  end

  @doc """
  Returns the binary of a module that has the functions of the contract and loads the library at `path`,
  which is given without `.so`.
  """
  def bare_module(module, path) do
    stubs = functions(module)

    forms =
      [
        {:attribute, 1, :module, module},
        {:attribute, 1, :export, stubs},
        {:attribute, 1, :on_load, {:load, 0}},
        function(:load, 0, call(:load_nif, [{:string, 1, to_charlist(path)}, {:integer, 1, 0}]))
      ] ++
        for {name, arity} <- stubs do
          function(name, arity, call(:nif_error, [{:atom, 1, :not_loaded}]))
        end

    {:ok, ^module, binary} = :compile.forms(forms)
    binary
  end

  defp load(module, :rust, _reference) do
    {:module, ^module} = Code.ensure_loaded(module)
  end

  defp load(module, :c, reference) do
    path = Path.join(reference, Path.basename(library_path(module, :c)))
    :code.purge(module)
    :code.delete(module)
    :code.purge(module)
    binary = bare_module(module, Path.rootname(path))
    {:module, ^module} = :code.load_binary(module, to_charlist(path), binary)
  end

  defp function(name, arity, body) do
    {:function, 1, name, arity, [{:clause, 1, List.duplicate({:var, 1, :_}, arity), [], [body]}]}
  end

  defp call(function, args) do
    {:call, 1, {:remote, 1, {:atom, 1, :erlang}, {:atom, 1, function}}, args}
  end
end
