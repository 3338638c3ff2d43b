defmodule LinxNative.Test.Capabilities do
  @moduledoc """
  Commands that root runs with some of its capabilities, for `Vm.start(wrap: ...)`.
  """

  @doc """
  Returns the words to put before a command to leave it only these capabilities, and the one to read the code of a VM, which may be
  in the folder of another user.

      only([:sys_admin, :sys_chroot])
  """
  def only(capabilities),
    do: setpriv(["-all" | for(name <- [:dac_read_search | capabilities], do: "+#{name}")])

  @doc """
  Returns the words to put before a command to take one capability from it.
  """
  def without(capability), do: setpriv(["-#{capability}"])

  # A program that root starts gets the inheritable ones and those of the bounding set.
  defp setpriv(changes) do
    changes = Enum.join(changes, ",")
    ["setpriv", "--bounding-set=#{changes}", "--inh-caps=#{changes}", "--"]
  end
end
