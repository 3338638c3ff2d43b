defmodule LinxNative.Build.Cargo.Output do
  @moduledoc false

  # Parses the output of cargo with `--message-format=json-render-diagnostics`: lines of JSON about what it built, between lines
  # for people.
  #
  # The oldest supported OTP has no JSON library, and three fields of one kind of line do not need one.

  @typedoc "An error or a warning. It has no `:file` (as rustc names it) and no `:line` if it is not about a line of code."
  @type diagnostic :: %{
          required(:severity) => :error | :warning,
          required(:message) => String.t(),
          optional(:file) => String.t(),
          optional(:line) => pos_integer()
        }

  # The content of a JSON string. A quote inside one is always behind a backslash, so that no text in a string, such as
  # the name of a folder, can look like the beginning of a field.
  @string ~S{(?:[^"\\]|\\.)*+}

  @doc """
  Reports whether to print a line: it has to be for people, and not only say that there was nothing to do.
  """
  @spec for_user?(String.t()) :: boolean()
  def for_user?(line), do: not (line =~ ~r/^\{"reason":/ or plain(line) =~ ~r/^ +Finished /)

  @doc """
  Returns the shared libraries that cargo built or found up to date, by the name of their crate.
  """
  @spec libraries([String.t()]) :: %{String.t() => Path.t()}
  def libraries(lines) do
    for ~s({"reason":"compiler-artifact",) <> _rest = line <- lines,
        [target] <- [captures(line, ~s/"target":{((?:[^{}"]|"#{@string}")*+)}/)],
        target =~ ~s("cdylib"),
        [name] <- [captures(target, ~s/"name":"(#{@string})"/)],
        [filenames] <- [captures(line, ~s/"filenames":\\[((?:"#{@string}",?)*+)\\]/)],
        file <- strings(filenames),
        String.ends_with?(file, ".so"),
        into: %{},
        do: {unescape(name), file}
  end

  @doc """
  Returns the errors and warnings, in order.
  """
  @spec diagnostics([String.t()]) :: [diagnostic()]
  def diagnostics(lines) do
    lines = Enum.map(lines, &plain/1)

    for {line, next} <- Enum.zip(lines, Enum.drop(lines, 1) ++ [""]),
        [severity, message] <- [captures(line, ~S/^(error|warning)(?:\[\w+\])?: (.*)$/)],
        not summary?(message),
        do: Map.merge(%{severity: severity(severity), message: message}, place(next))
  end

  # Cargo adds these summaries after the diagnostics of rustc.
  defp summary?(message) do
    message =~ ~r/^(could not compile|build failed, waiting|`[^`]+` \(.+\) generated \d+ warning)/
  end

  defp place(line) do
    case captures(line, ~S/^ *--> (.+):(\d+):\d+$/) do
      [file, line] -> %{file: file, line: String.to_integer(line)}
      nil -> %{}
    end
  end

  defp severity("error"), do: :error
  defp severity("warning"), do: :warning

  defp strings(list) do
    ~s/"(#{@string})"/
    |> Regex.compile!()
    |> Regex.scan(list)
    |> Enum.map(fn [_, text] -> unescape(text) end)
  end

  # The pattern is text, because OTP 28 cannot keep a compiled expression in a module attribute.
  defp captures(text, pattern) do
    pattern |> Regex.compile!() |> Regex.run(text, capture: :all_but_first)
  end

  # A file name may hold quotes and backslashes; cargo escapes nothing else that is printable.
  defp unescape(text), do: Regex.replace(~r/\\(["\\])/, text, "\\1")

  defp plain(line), do: Regex.replace(~r/\e\[[\d;]*m/, line, "")
end
