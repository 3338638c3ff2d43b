defmodule LinxNative.Test.Link do
  @moduledoc """
  Messages of rtnetlink about links: `RTM_NEWLINK` and the like, see `rtnetlink(7)`.
  """

  alias LinxNative.{Attributes, Message}

  @new 16
  @delete 17
  @get 18

  # IFLA_* of linux/if_link.h
  @name 3
  @info 18
  @kind 1

  @doc """
  The request for one link, by its index.
  """
  def get(index), do: %Message{type: @get, body: header(index)}

  @doc """
  The request for all links.
  """
  def list, do: %Message{type: @get, flags: Message.flags([:dump]), body: header(0)}

  @doc """
  The request for a new bridge, which needs nothing else to exist; `attributes` come after its name and kind.
  """
  def create(name, attributes \\ []) do
    known = [{@name, {:string, name}}, {@info, {:nested, [{@kind, {:string, "bridge"}}]}}]

    %Message{
      type: @new,
      flags: Message.flags([:create, :excl]),
      body: [header(0), Attributes.encode(known ++ attributes)]
    }
  end

  @doc """
  The request to delete a link, by its name.
  """
  def delete(name) do
    %Message{type: @delete, body: [header(0), Attributes.encode([{@name, {:string, name}}])]}
  end

  @doc """
  What a message of the kernel says of a link: `{:new | :deleted, name}`.
  """
  def event(%Message{type: @new} = message), do: {:new, name(message)}
  def event(%Message{type: @delete} = message), do: {:deleted, name(message)}

  @doc """
  The name of the link of a message.
  """
  def name(%Message{body: <<_header::binary-16, attributes::binary>>}) do
    {:ok, attributes} = Attributes.decode(attributes, %{@name => :string})
    Attributes.get(attributes, @name)
  end

  # struct ifinfomsg: family, type, index, flags, change
  defp header(index), do: <<0, 0, 0::16, index::native-signed-32, 0::64>>
end
