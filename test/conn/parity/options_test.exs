defmodule LinxNative.Conn.Parity.OptionsTest do
  @moduledoc """
  Tests rows of the table "Compared with mdlayher/netlink", under the rows' names: the options and filters of a socket.
  """

  use LinxNative.Test.Case

  import LinxNative.Conn.Filter
  import LinxNative.Test.Conns

  alias LinxNative.{Conn, Error, Message, Native}
  alias LinxNative.Conn.Filter
  alias LinxNative.Test.Links

  @moduletag :conn

  @keep 0xFFFF_FFFF
  @error 2
  @new_link 16
  @delete_link 17
  @new_nsid 88
  @patience Await.patience()

  describe "`Config.Strict`" do
    test "a dump with an unknown attribute is refused with the kernel's own message" do
      # struct ifinfomsg with a type, by which nothing is selected
      request = %{Links.dump() | body: <<0, 0, 1::native-16, 0::96>>}
      assert {:ok, [_loopback]} = Conn.request(route!(), request)

      strict = route!(ext_ack: true, strict_check: true)
      assert {:error, %Error{reason: :einval, text: text}} = Conn.request(strict, request)
      assert text =~ "Invalid values"
      assert names(strict) == ["lo"]
    end
  end

  describe "`SetBPF`, `RemoveBPF`" do
    # Keeps messages of the kernel's own types (answers) and of one other type.
    defp only(type) do
      [
        load(:u16, 4),
        jump_equal(native16(@error), 2, 0),
        jump_equal(native16(type), 1, 0),
        return(0),
        return(@keep)
      ]
    end

    test "a filter drops datagrams until it is removed" do
      conn = route!(groups: [1])
      assert Conn.attach_filter(conn, only(@delete_link)) == :ok
      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:deleted, "one"}

      assert Conn.detach_filter(conn) == :ok
      do!(conn, Links.create("two"))
      assert event!(conn) == {:new, "two"}
      assert {:error, %Error{reason: :enoent}} = Conn.detach_filter(conn)
    end

    test "a new filter replaces the old one" do
      conn = route!(groups: [1], filter: only(@delete_link))
      do!(conn, Links.create("one"))
      assert Conn.attach_filter(conn, only(@new_link)) == :ok
      do!(conn, Links.delete("one"))
      do!(conn, Links.create("two"))
      assert event!(conn) == {:new, "two"}
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
    end

    test "a filter applies to answers too" do
      conn = route!(filter: [return(0)])
      assert {:error, %Error{reason: :timeout}} = Conn.request(conn, Links.get(1), timeout: 0)
      assert Conn.detach_filter(conn) == :ok
      assert {:ok, [_loopback]} = Conn.request(conn, Links.get(1))
    end

    test "a wrong filter is refused with index and reason, and the old one stays" do
      conn = route!(groups: [1], filter: only(@delete_link))

      for {program, reason} <- [
            {[], :empty},
            {[load_length()], {0, :no_return}},
            {[load(:u16, 4), jump_equal(1, 1, 1), return(0)], {1, :bad_jump}},
            {List.duplicate(return(0), 4097), :too_long}
          ] do
        assert Conn.attach_filter(conn, program) ==
                 {:error, %Error{reason: :filter, detail: reason}}
      end

      do!(conn, Links.create("one"))
      do!(conn, Links.delete("one"))
      assert event!(conn) == {:deleted, "one"}
    end

    test "exactly the programs that the kernel refuses are refused" do
      :rand.seed(:exsss, {2026, 11, 23})
      {:ok, socket} = Native.open(:host, 0, 65_536)
      results = for _ <- 1..5_000, do: agree!(socket, random_program())
      :ok = Native.close(socket)

      # Otherwise the programs would show no difference.
      counts = Enum.frequencies(results)
      assert counts[:ok] > 300 and counts[:refused] > 300
    end

    defp agree!(socket, program) do
      bytes = for {code, jt, jf, k} <- program, into: <<>>, do: instruction(code, jt, jf, k)

      case Filter.assemble(program) do
        {:ok, ^bytes} ->
          assert {program, Native.attach_filter(socket, bytes)} == {program, :ok}
          :ok

        {:error, _reason} ->
          assert {program, Native.attach_filter(socket, bytes)} == {program, {:error, 22}}
          :refused
      end
    end

    defp instruction(code, jt, jf, k), do: <<code::native-16, jt, jf, k::native-32>>

    # Mostly of known instructions, with what is in range or just beyond.
    defp random_program do
      for(_ <- 1..:rand.uniform(5), do: random_instruction()) ++ [{6, 0, 0, @keep}]
    end

    defp random_instruction do
      codes = [0x28, 0x20, 0x30, 0x15, 0x25, 0x45, 0x05, 0x02, 0x03, 0x60, 0x61, 0x34, 0x64, 0x06]
      code = if :rand.uniform(10) == 1, do: :rand.uniform(256) - 1, else: Enum.random(codes)
      k = Enum.random([0, 0, 1, 2, 15, 16, 31, 32, 0xFFFF_EFFF, 0xFFFF_F000, 0xFFFF_F040])
      {code, Enum.random(0..3), Enum.random(0..3), k}
    end
  end

  describe "`SetOption`" do
    @flags [packet_info: true, ext_ack: true, cap_ack: true, strict_check: false] ++
             [listen_all_nsid: false, no_enobufs: false, broadcast_error: false]

    test "each option can be set and read" do
      conn = route!()

      for {flag, default} <- @flags do
        assert {flag, flag(conn, flag)} == {flag, flag_answer(flag, default)}

        for on <- [not default, default] do
          assert Conn.set_option(conn, flag, on) == :ok
          assert {flag, flag(conn, flag)} == {flag, flag_answer(flag, on)}
        end
      end
    end

    test "each option can be set at the start, and changes no other" do
      for {flag, default} <- @flags do
        conn = route!([{flag, not default}])
        expected = Keyword.put(@flags, flag, not default)
        for {other, on} <- expected, do: assert(flag(conn, other) == flag_answer(other, on))
      end
    end

    test ":ext_ack adds the kernel's own message" do
      conn = route!(ext_ack: false)
      request = Links.create("marker", "bridge", [{4, <<1500::native-16>>}])
      assert {:error, %Error{text: nil, offset: nil}} = Conn.request(conn, request)
      assert Conn.set_option(conn, :ext_ack, true) == :ok
      assert {:error, %Error{text: "" <> _, offset: 60}} = Conn.request(conn, request)
    end

    test ":cap_ack leaves the request out of an error" do
      conn = route!(ext_ack: false)
      message = %{Links.get(99) | flags: 1}

      {:ok, _} = Conn.send(conn, message)
      {:ok, [capped], _origin} = Conn.recv(conn, @patience)
      assert {byte_size(capped.body), Message.flag?(capped, :capped)} == {20, true}

      assert Conn.set_option(conn, :cap_ack, false) == :ok
      {:ok, _} = Conn.send(conn, message)
      {:ok, [whole], _origin} = Conn.recv(conn, @patience)
      assert {byte_size(whole.body), Message.flag?(whole, :capped)} == {36, false}
    end

    test ":packet_info adds the group of an event" do
      conn = route!(groups: [1], packet_info: false)
      do!(conn, Links.create("one"))
      assert {:ok, _messages, %{group: nil}} = Conn.recv(conn, @patience)
      assert Conn.set_option(conn, :packet_info, true) == :ok
      do!(conn, Links.create("two"))
      assert {:ok, _messages, %{group: 1}} = Conn.recv(conn, @patience)
    end

    test ":listen_all_nsid brings the events of other namespaces, with their ids" do
      other = Container.start([:net])
      conn = route!(groups: [1])
      there = open!(:route, netns: {:pid, other.pid})

      # NETNSA_NSID and NETNSA_PID: the other namespace is number 7 here.
      number = <<8::native-16, 1::native-16, 7::native-32>>
      whose = <<8::native-16, 2::native-16, other.pid::native-32>>
      do!(conn, %Message{type: @new_nsid, body: [<<0::32>>, number, whose]})

      do!(there, Links.create("untold"))
      assert {:error, %Error{reason: :timeout}} = Conn.recv(conn, 0)
      assert Conn.set_option(conn, :listen_all_nsid, true) == :ok
      do!(there, Links.create("theirs"))
      do!(conn, Links.create("ours"))
      assert {:ok, [theirs], %{nsid: 7, group: 1}} = Conn.recv(conn, @patience)
      assert {:ok, [ours], %{nsid: nil, group: 1}} = Conn.recv(conn, @patience)
      assert {Links.read(theirs).name, Links.read(ours).name} == {"theirs", "ours"}
    end

    @tag :machine_root
    test "options that need privileges are :eperm without them" do
      vm = Vm.start(user: :nobody)

      answers =
        Vm.eval(
          vm,
          quote do
            {:ok, conn} = LinxNative.Conn.start_link(:route)
            flag = LinxNative.Conn.set_option(conn, :listen_all_nsid, true)
            netns = {LinxNative.Conn.netns(conn), LinxNative.Conn.info!(conn).netns}
            start = LinxNative.Conn.start_link(:route, listen_all_nsid: true)
            :ok = LinxNative.Conn.close(conn)
            {flag, netns, start}
          end
        )

      eperm = &{:error, Error.from_errno(&1, 1)}
      all = eperm.(:listen_all_nsid)
      assert answers == {all, {eperm.(:netns), nil}, all}
    end
  end

  describe "`SetReadBuffer`, `SetWriteBuffer`" do
    test "the kernel doubles the size" do
      conn = route!(read_buffer: 50_000, write_buffer: 60_000)
      assert Conn.get_option(conn, :read_buffer) == {:ok, 100_000}
      assert Conn.get_option(conn, :write_buffer) == {:ok, 120_000}
      assert %{read_buffer: 100_000, write_buffer: 120_000} = Conn.info!(conn)
    end

    test "a size beyond the system's limit is set if that is allowed" do
      conn = route!()

      for {buffer, limit} <- [read_buffer: "rmem_max", write_buffer: "wmem_max"] do
        bytes = system_limit(limit) + 4096
        assert Conn.set_option(conn, buffer, bytes) == :ok
        assert Conn.get_option(conn, buffer) == {:ok, 2 * most(bytes, limit)}
      end
    end

    @tag :machine_root
    test "a size is limited if that is not allowed" do
      limit = system_limit("rmem_max")

      size =
        Vm.eval(
          Vm.start(user: :nobody),
          quote do
            {:ok, conn} = LinxNative.Conn.start_link(:route, read_buffer: var!(bytes))
            size = LinxNative.Conn.get_option(conn, :read_buffer)
            :ok = LinxNative.Conn.close(conn)
            size
          end,
          bytes: limit + 4096
        )

      assert size == {:ok, 2 * limit}
    end
  end
end
