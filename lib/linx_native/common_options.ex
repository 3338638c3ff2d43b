defmodule LinxNative.CommonOptions do
  @moduledoc false

  # The checks and messages that the options of connections and of mounts share: namespaces and timeouts.

  alias LinxNative.Native

  @max_timeout 0xFFFFFFFF
  @namespaces "{:pid, pid}, {:path, path} or {:fd, fd}"

  @doc "Returns the valid namespaces other than the VM's own, for messages."
  @spec other_namespaces() :: String.t()
  def other_namespaces, do: @namespaces

  @doc "Returns the valid namespaces, for messages."
  @spec namespaces() :: String.t()
  def namespaces, do: ":host, #{@namespaces}"

  @doc "Reports whether a term names a namespace."
  @spec namespace?(term) :: boolean
  def namespace?(:host), do: true
  def namespace?({:pid, pid}), do: is_integer(pid) and pid > 0
  def namespace?({:path, path}), do: is_binary(path)
  def namespace?({:fd, fd}), do: is_integer(fd) and fd in 0..0x7FFFFFFF
  def namespace?(_other), do: false

  @doc "Returns a namespace for a native function; `file` is its name in `/proc/<pid>/ns`."
  @spec namespace(term, String.t()) :: Native.namespace()
  def namespace({:pid, pid}, file), do: {:path, "/proc/#{pid}/ns/#{file}"}
  def namespace(other, _file), do: other

  @doc "Returns the valid timeouts, for messages."
  @spec timeouts() :: String.t()
  def timeouts, do: "a number of milliseconds, 0 to #{@max_timeout}, or :infinity"

  @doc "Reports whether a term is a timeout."
  @spec timeout?(term) :: boolean
  def timeout?(timeout),
    do: timeout == :infinity or (is_integer(timeout) and timeout in 0..@max_timeout)
end
