defmodule LinxNative.Genetlink.Family do
  @moduledoc """
  A family of generic netlink, as `LinxNative.Genetlink.family/2` returns it.

  The kernel numbers families when they are registered. So the id of a family stays the same until its module is removed, and may
  differ after a reboot.
  """

  @enforce_keys [:name, :id, :version, :header_size, :max_attribute, :commands, :groups]
  defstruct @enforce_keys

  @typedoc """
  A family.

    * `name` - for example `"ethtool"`
    * `id` - the type of its messages
    * `version` - the version of its interface
    * `header_size` - the size in bytes of the family's own header before the attributes; mostly 0
    * `max_attribute` - the highest type of an attribute, or 0 if that depends on the command
    * `commands` - the commands of the family by number, each with some of these: `:admin` (`CAP_NET_ADMIN` is needed in the initial
      user namespace), `:namespace_admin` (`CAP_NET_ADMIN` is needed in the user namespace of the network namespace), `:do`,
      `:dump` and `:policy`
    * `groups` - the numbers of its multicast groups, by name
  """
  @type t :: %__MODULE__{
          name: String.t(),
          id: 16..1023,
          version: 0..255,
          header_size: non_neg_integer,
          max_attribute: non_neg_integer,
          commands: %{optional(0..255) => [:admin | :namespace_admin | :do | :dump | :policy]},
          groups: %{optional(String.t()) => pos_integer}
        }
end
