defmodule LinxNative.Conn.ErrorTest do
  @moduledoc """
  The messages of `LinxNative.Error`, and the functions that raise it.
  """

  use LinxNative.Test.Case

  import LinxNative.Test.Conns

  alias LinxNative.{Attributes, Conn, Error, Message}
  alias LinxNative.Test.Links

  @moduletag :conn

  @details %{
    malformed: :truncated,
    protocol: {:generic, :route},
    unknown_family: {"wiregard", ["wireguard"]},
    unknown_group: {"nlctrl", "notfy", ["notify"]}
  }
  @nobody 0xFFFF_FFFF
  @no_link 0x7FFF_FFFF

  defp documented_reasons do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Error)
    [text] = for {{:type, :reason, 0}, _, _, %{"en" => text}, _} <- docs, do: text
    [_, names] = Regex.run(~r/\A(.*)\* another atom/s, text)

    for [names] <- Regex.scan(~r/^  \* (`:[^-]+) - /m, names, capture: :all_but_first),
        [name] <- Regex.scan(~r/`:(\w+)`/, names, capture: :all_but_first),
        do: String.to_existing_atom(name)
  end

  describe "a message" do
    test "explains every documented reason" do
      reasons = documented_reasons()
      assert :timeout in reasons and :port_id in reasons

      for reason <- reasons do
        detail = Map.get(@details, reason, 99)
        message = Exception.message(%Error{reason: reason, detail: detail, offset: 8})
        assert {reason, String.length(message) > 20} == {reason, true}
      end
    end

    test "has the text, name and number of an errno, and the kernel's own message" do
      error = %{Error.from_errno(:request, 17) | text: "no more", offset: 36, missing: 5}
      message = Exception.message(error)

      for part <-
            ["refused the request", "file already exists", ":eexist", "17", "no more"] ++
              ["byte 36", "attribute 5 is missing"],
          do: assert(message =~ part)
    end

    test "names the stage and the number for every errno" do
      for errno <- [1, 41, 95, 133, 524, 4095] do
        message = Exception.message(Error.from_errno(:send, errno))
        assert message =~ "cannot send" and message =~ "#{errno}"
      end
    end

    test "has a hint that depends on the stage and the errno" do
      for {stage, errno, hint} <- [
            {:open, 2, "the process has ended"},
            {:open, 13, "CAP_SYS_PTRACE"},
            {:setns, 22, "does not belong to a network namespace"},
            {:setns, 1, "CAP_SYS_ADMIN"},
            {{:group, 9}, 22, "no such group"},
            {:listen_all_nsid, 1, "CAP_NET_BROADCAST"}
          ],
          do: assert(Exception.message(Error.from_errno(stage, errno)) =~ hint)
    end
  end

  test "the example in the documentation runs" do
    {:docs_v1, _, _, _, %{"en" => text}, _, _} = Code.fetch_docs(Error)
    [text, _fields] = String.split(text, "The other fields tell more")
    code = text |> String.split("\n") |> Enum.filter(&String.starts_with?(&1, "    "))
    code = "alias LinxNative.Conn\n" <> Enum.join(code, "\n")
    conn = route!()
    example = &elem(Code.eval_string(code, conn: conn, request: &1), 0)
    assert [%Message{}] = example.(Links.get(1))
    assert example.(Links.get(@no_link)) == []
    assert %Error{reason: :eexist} = catch_error(example.(Links.create("lo")))
  end

  describe "a function with ! raises the error that its other form returns:" do
    test "functions of a connection" do
      conn = route!(accept: :any)
      assert [%Message{}] = Conn.request!(conn, Links.get(1))
      assert %Message{sequence: 7} = Conn.send!(conn, %Message{type: 1, sequence: 7})
      assert [%Message{}, %Message{}] = Conn.send_many!(conn, [%Message{}, %Message{}])
      assert %{pending: 0} = Conn.info!(conn)
      {:ok, sent} = Conn.send(conn, %{Links.get(1) | flags: Message.flags([:request])})
      assert {[%Message{type: 16} = link], %{port_id: 0}} = Conn.recv!(conn)
      assert link.sequence == sent.sequence

      assert %Error{reason: :enodev, stage: :request} =
               catch_error(Conn.request!(conn, Links.get(@no_link)))

      for send <- [&Conn.send!/3, &Conn.send_many!(&1, [&2], &3)] do
        assert %Error{reason: :econnrefused, stage: :send} =
                 catch_error(send.(conn, %Message{}, to: @nobody))
      end

      assert %Error{reason: :timeout} = catch_error(Conn.recv!(conn, 0))
      :ok = Conn.close(conn)
      assert %Error{reason: :closed} = catch_error(Conn.info!(conn))
    end

    test "functions that decode" do
      message = %Message{type: 20, body: Attributes.encode([{1, {:u32, 5}}])}
      assert [^message] = Message.decode!(Message.encode(message))
      assert [{1, 5}] = Attributes.decode!(message.body, %{1 => :u32})

      assert %Error{reason: :malformed, detail: :short_header, offset: 24} =
               catch_error(Message.decode!(Message.encode(message) <> <<1, 2>>))

      assert %Error{reason: :malformed, detail: {:bad_value, 1}, offset: 0} =
               catch_error(Attributes.decode!(message.body, %{1 => :u8}))
    end
  end
end
