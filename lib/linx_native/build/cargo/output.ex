defmodule LinxNative.Build.Cargo.Output do
  @moduledoc false

  # Reads what cargo says with `--message-format=json-render-diagnostics`: lines of JSON about what it built, between
  # lines for people.
  #
  # There is no JSON library in the oldest OTP we support, and three fields of one kind of line do not ask for one.

  @typedoc "An error or a warning; `:file` (as rustc names it) and `:line` are missing if it is about no line of code."
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
  Says whether a line is for people and worth their time: that there was nothing to do is not.
  """
  @spec for_user?(String.t()) :: boolean()
  def for_user?(line), do: not (line =~ ~r/^\{"reason":/ or plain(line) =~ ~r/^ +Finished /)

  @doc """
  The shared libraries that cargo built or found up to date, by the name of their crate.
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
  The errors and warnings, in order.
  """
  @spec diagnostics([String.t()]) :: [diagnostic()]
  def diagnostics(lines) do
    lines = Enum.map(lines, &plain/1)

    for {line, next} <- Enum.zip(lines, Enum.drop(lines, 1) ++ [""]),
        [severity, message] <- [captures(line, ~S/^(error|warning)(?:\[\w+\])?: (.*)$/)],
        not summary?(message),
        do: Map.merge(%{severity: severity(severity), message: message}, place(next))
  end

  # What cargo adds when rustc has said it all.
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

  # The pattern is text, as an expression cannot be kept in a module attribute on OTP 28.
  defp captures(text, pattern) do
    pattern |> Regex.compile!() |> Regex.run(text, capture: :all_but_first)
  end

  # A file name may hold quotes and backslashes; cargo escapes nothing else that is printable.
  defp unescape(text), do: Regex.replace(~r/\\(["\\])/, text, "\\1")

  defp plain(line), do: Regex.replace(~r/\e\[[\d;]*m/, line, "")
end
