defmodule LinxNative.Conn.MistakesTest do
  @moduledoc """
  The error for an unknown name or an invalid value lists the valid ones.
  """

  use LinxNative.Test.Case

  alias LinxNative.{Attributes, Conn, Genetlink, Rtnetlink}

  @moduletag :conn

  @options ~w(:accept :active :broadcast_error :cap_ack :datagram :event_buffer :ext_ack :filter :groups) ++
             ~w(:hibernate_after :listen_all_nsid :name :netns :no_enobufs :packet_info :read_buffer) ++
             ~w(:strict_check :subscriber :timeout :trace :write_buffer)

  setup do
    {:ok, route} = Conn.start_link(:route)
    {:ok, generic} = Conn.start_link(:generic)
    %{route: route, generic: generic}
  end

  defp refused(function), do: Exception.message(assert_raise(ArgumentError, function))

  defp assert_tells(text, words) do
    for word <- words, do: assert(text =~ word)
  end

  describe "a misspelt" do
    test "option" do
      text = refused(fn -> Conn.start_link(:route, nets: :host) end)
      assert_tells(text, [":nets", "did you mean :netns?" | @options])
      request = Rtnetlink.message(:getlink)
      text = refused(fn -> Conn.request(:unused, request, timeut: 5) end)
      assert_tells(text, [":timeut", "did you mean :timeout?", ":ack", ":retry", ":to"])
    end

    test "protocol" do
      text = refused(fn -> Conn.start_link(:rout) end)
      assert_tells(text, ~w(:rout :generic :netfilter :route :sock_diag :xfrm integer))
    end

    test "option of a socket", %{route: route} do
      text = refused(fn -> Conn.set_option(route, :pakcet_info, true) end)
      assert_tells(text, ~w(:pakcet_info :packet_info :ext_ack :strict_check :read_buffer))
    end

    test "group of rtnetlink", %{route: route} do
      for function <- [
            fn -> Conn.start_link(:route, groups: [:links]) end,
            fn -> Conn.join_group(route, :links) end
          ] do
        assert_tells(refused(function), [":links", "did you mean :link?", ":ipv4_route", ":neigh"])
      end
    end

    test "message, flag, field and attribute of rtnetlink" do
      text = refused(fn -> Rtnetlink.message(:getlinks) end)
      assert_tells(text, [":getlinks", "did you mean :getlink?", ":newroute"])
      text = refused(fn -> Rtnetlink.message(:getlink, flags: [:dmp]) end)
      assert_tells(text, [":dmp", "did you mean :dump?", ":excl"])
      text = refused(fn -> Rtnetlink.message(:getlink, header: [idx: 3]) end)
      assert_tells(text, ~w(:idx :change :family :flags :index :type))
      text = refused(fn -> Rtnetlink.message(:newlink, attributes: [ifnam: "x"]) end)
      assert_tells(text, [":ifnam", "did you mean :ifname?", ":mtu"])
      nested = [linkinfo: [knd: "bridge"]]
      text = refused(fn -> Rtnetlink.message(:newlink, attributes: nested) end)
      assert_tells(text, [":linkinfo", ":knd", "did you mean :kind?", ":data"])
    end

    test "kind in a schema, also if its attribute does not occur" do
      for function <- [
            fn -> Attributes.decode(<<>>, %{1 => {:mtu, :u23}}) end,
            fn -> Attributes.encode([], %{1 => {:mtu, :u23}}) end
          ] do
        assert_tells(refused(function), ["{:mtu, :u23}", ":u16", ":string", "{:nested, schema}"])
      end
    end

    test "family of generic netlink, and group of one", %{generic: generic} do
      {:error, error} = Genetlink.family(generic, "nlctrll")
      assert_tells(Exception.message(error), ["nlctrll", ~s(did you mean "nlctrl"?), "module"])
      {:ok, family} = Genetlink.family(generic, "nlctrl")
      {:error, error} = Genetlink.join_group(generic, family, "notifi")
      assert_tells(Exception.message(error), ["notifi", ~s(did you mean "notify"?)])
    end
  end

  describe "an impossible value of" do
    test "an option of a connection" do
      text = refused(fn -> Conn.start_link(:route, netns: 4711) end)
      assert_tells(text, [":netns", ":host, {:pid, pid}, {:path, path} or {:fd, fd}", "4711"])
      text = refused(fn -> Conn.start_link(:route, active: :onc) end)
      assert_tells(text, [":active", "true, false, :once or a number, 1 to 32767", ":onc"])
    end

    test "an option of a request" do
      request = Rtnetlink.message(:getlink)
      text = refused(fn -> Conn.request(:unused, request, 5000) end)
      assert_tells(text, ["keyword list", "[timeout: 5000]"])
      text = refused(fn -> Conn.request(:unused, request, timeout: -1) end)
      assert_tells(text, [":timeout", "milliseconds, 0 to 4294967295, or :infinity", "-1"])
    end

    test "an option of a socket", %{route: route} do
      text = refused(fn -> Conn.set_option(route, :packet_info, 1) end)
      assert_tells(text, [":packet_info", "true or false"])
    end

    test "an attribute" do
      text = refused(fn -> Attributes.encode([{3, 1500}]) end)
      assert_tells(text, ["attribute 3", "{:u32, 1500}"])
      text = refused(fn -> Rtnetlink.message(:newlink, attributes: [mtu: "x"]) end)
      assert_tells(text, [":mtu", ~s("x"), "0..4294967295"])
    end
  end

  test "a message of one protocol on a connection to another names both", %{route: route} do
    {:error, error} = Genetlink.family(route, "nlctrl")
    assert_tells(Exception.message(error), [":generic", ":route"])
  end
end
