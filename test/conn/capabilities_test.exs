defmodule LinxNative.Conn.CapabilitiesTest do
  @moduledoc """
  The capabilities of connections that `SECURITY.md` lists: these alone are enough, and each of them is needed.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Conn, Error, Rtnetlink}
  alias LinxNative.Test.Capabilities

  @moduletag :conn

  # Asks a VM with these capabilities, in a network namespace of its own. Returns `:ok` or the stage and the reason for each.
  defp answers(capabilities) do
    Vm.eval(
      Vm.start(wrap: ~w(unshare --net --) ++ Capabilities.only(capabilities)),
      quote do
        short = fn
          {:error, %Error{} = error} -> {error.stage, error.reason}
          {:ok, _value} -> :ok
          :ok -> :ok
        end

        dump = Rtnetlink.message(:getlink, flags: [:dump])

        stream = fn conn ->
          try do
            {:ok, Enum.to_list(Conn.stream(conn, dump))}
          rescue
            error in Error -> {:error, error}
          end
        end

        {:ok, conn} = Conn.start_link(:route)
        change = Rtnetlink.message(:newlink, attributes: [ifname: "lo", mtu: 1500])

        answers = [
          read: short.(Conn.request(conn, dump)),
          stream: short.(stream.(conn)),
          change: short.(Conn.request(conn, change)),
          listen_all_nsid: short.(Conn.set_option(conn, :listen_all_nsid, true)),
          netns_id: short.(LinxNative.netns_id(conn))
        ]

        :ok = Conn.close(conn)

        case Conn.start_link(:route, netns: {:path, "/proc/self/ns/net"}) do
          {:ok, conn} ->
            there = [open_there: :ok, stream_there: short.(stream.(conn))]
            :ok = Conn.close(conn)
            answers ++ there

          error ->
            answers ++ [open_there: short.(error)]
        end
      end
    )
  end

  @none [
    read: :ok,
    stream: :ok,
    change: {:request, :eperm},
    listen_all_nsid: {:listen_all_nsid, :eperm},
    netns_id: {:netns, :eperm},
    open_there: {:setns, :eperm}
  ]

  for {capabilities, allowed} <- [
        {[], []},
        {[:net_broadcast], [listen_all_nsid: :ok]},
        {[:net_admin], [change: :ok, netns_id: :ok]},
        {[:sys_admin], [open_there: :ok, stream_there: {:open, :eperm}]},
        {[:sys_admin, :net_admin],
         [change: :ok, netns_id: :ok, open_there: :ok, stream_there: :ok]}
      ] do
    test "what the capabilities #{inspect(capabilities)} allow" do
      allowed = unquote(allowed)
      assert Map.new(answers(unquote(capabilities))) == Map.new(@none ++ allowed)
    end
  end
end
