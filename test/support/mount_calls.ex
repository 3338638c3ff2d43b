defmodule LinxNative.Test.MountCalls do
  @moduledoc """
  Makes calls of `LinxNative.Mount` in another VM.
  """

  alias LinxNative.Mount
  alias LinxNative.Test.Vm

  @doc """
  Returns the stages of errors that the documentation has, which is so held to be complete; with the option `:in` and the
  name `"size"`.
  """
  def documented_stages do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Mount.Error)
    [text] = for {{:type, :stage, 0}, _, _, %{"en" => text}, _} <- docs, do: text

    for [names] <- Regex.scan(~r/^  \* (`[^-]+) - /m, text, capture: :all_but_first),
        [name] <- Regex.scan(~r/`([^`]+)`/, names, capture: :all_but_first),
        do: name |> Code.eval_string(option: :in, name: "size") |> elem(0)
  end

  @doc """
  Calls each function there, which fails, so that it has loaded all the code: to load it later would take system calls.
  """
  def load!(%Vm{os_pid: os_pid} = vm) do
    inside = [in: {:pid, String.to_integer(os_pid)}]
    changes = [attributes: [:ro], propagation: :private]
    made = inside ++ [create: :directory]

    for {function, arguments} <- [
          mount: [
            "tmpfs",
            "/no/x",
            made ++ changes ++ [options: [size: "1m", mode: 755], id_map: [{0, 0, 1}]]
          ],
          bind: ["/no", "/no/x", made ++ changes ++ [from: inside[:in]]],
          set: ["/no", inside ++ changes],
          move: ["/no", "/no/x", made],
          umount: ["/no", inside],
          pivot_root: ["/no", "/no/x", made]
        ] do
      {:error, _} = Vm.call(vm, Mount, function, arguments)
    end
  end
end
