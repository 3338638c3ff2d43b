defmodule LinxNative.Conn.Test do
  @moduledoc """
  A test double of `LinxNative.Conn`, for tests of code that uses a connection. It needs no socket and no privileges, and returns
  the answers that the test gives.

  Only the socket is replaced. The double numbers requests, keeps timeouts, tells answers from events, and has every function and
  option of `LinxNative.Conn`.

      defmodule MyApp.LinksTest do
        use ExUnit.Case, async: true

        alias LinxNative.{Conn, Rtnetlink}

        test "names are listed" do
          request = Rtnetlink.message(:getlink, flags: [:dump])
          lo = Rtnetlink.message(:newlink, header: [index: 1], attributes: [ifname: "lo"])
          eth0 = Rtnetlink.message(:newlink, header: [index: 2], attributes: [ifname: "eth0"])

          {:ok, conn} = Conn.Test.start_link([{request, {:ok, [lo, eth0]}}])
          assert MyApp.Links.names(conn) == ["lo", "eth0"]
          assert Conn.Test.unused(conn) == []
        end
      end

  ## Answers

  Answers are a list of `{request, answer}`, in the order in which the requests are expected, or a function that takes a request
  and returns its answer. The function runs in a process of its own. If another request comes than the expected one, or the
  function raises, the connection ends with the processes that are linked to it. So the test fails with the reason.

  An answer is one of these:

    * `:ok` - success without a reply
    * `{:ok, messages}` - these replies. They get the sequence number and port id of the request. The end of a dump and the
      acknowledgement are added
    * `{:error, name}` - an error with the name of an errno, for example `:eperm`
    * `{:error, {name, text}}` - the same with a message of the kernel
    * `:ignore` - no answer

  To interrupt a dump, give a reply the flag `:dump_intr`.

  Requests are compared by type, body and flags. The flags `:request` and `:ack` are ignored.

  ## Events

      {:ok, conn} = Conn.Test.start_link([], groups: [:link], active: true, subscriber: self())
      :ok = Conn.Test.send_event(conn, :link, [Rtnetlink.message(:newlink, attributes: [ifname: "eth1"])])
      assert_receive {:netlink, ^conn, [message], %{group: 1}}

  `overrun/1` makes the connection lose events.

  ## Limits

  Filters are checked but not run. Options of the socket are stored but have no effect, except for `:packet_info` and `:datagram`.
  Messages to other ports than the kernel's are refused. There is no descriptor and no network namespace.
  """

  alias LinxNative.Conn
  alias LinxNative.Conn.Options
  alias LinxNative.Conn.Test.Kernel
  alias LinxNative.{Errno, Error, Message}

  @typedoc "The answer to a request."
  @type answer ::
          :ok
          | {:ok, [Message.t()]}
          | {:error, Errno.t() | {Errno.t(), text :: String.t()}}
          | :ignore

  @typedoc "The answers to all requests."
  @type answers :: [{request :: Message.t(), answer}] | (Message.t() -> answer)

  @doc false
  def child_spec({answers, options}) do
    %{
      id: {__MODULE__, options[:name] || make_ref()},
      start: {__MODULE__, :start_link, [answers, options]}
    }
  end

  def child_spec(answers), do: child_spec({answers, []})

  @doc """
  Starts a connection that gets these answers, linked to the calling process.

  It can be a child of a supervisor, as `{LinxNative.Conn.Test, {answers, options}}`.

  Options: the options of `LinxNative.Conn.start_link/2`, and `:protocol`, its first argument, default `:route`. `:netns` has no
  effect.
  """
  @spec start_link(answers, keyword) :: GenServer.on_start() | {:error, Error.t()}
  def start_link(answers, options \\ []) do
    check!(answers)
    {protocol, options} = Keyword.pop(options, :protocol, :route)
    Conn.start_link(protocol, options, &%{&1 | native: Kernel, netns: answers})
  end

  defp check!(answers) when is_function(answers, 1), do: :ok

  defp check!(answers) do
    unless is_list(answers) and Enum.all?(answers, &match?({%Message{}, _answer}, &1)) do
      raise ArgumentError,
            "answers are a list of {request, answer}, or a function of a request, not #{inspect(answers)}"
    end
  end

  @doc """
  Sends an event to a connection: messages in one datagram to a multicast group, which is given by number or name.

  If the connection has not joined the group, it does not get the event, and the function returns `:not_joined`.
  """
  @spec send_event(Conn.t(), pos_integer | atom, [Message.t()]) ::
          :ok | :not_joined
  def send_event(conn, group, [%Message{} | _] = messages) do
    {:ok, protocol} = GenServer.call(conn, :protocol)
    native(conn, :send_event, [Options.group!(group, protocol), messages])
  end

  @doc """
  Makes a connection report an overrun, as if its read buffer had been full.
  """
  @spec overrun(Conn.t()) :: :ok
  def overrun(conn), do: native(conn, :lose, [])

  @doc """
  Returns the expected requests that have not come yet, with their answers. The list is empty if the answers are a function.
  """
  @spec unused(Conn.t()) :: [{Message.t(), answer}]
  def unused(conn), do: native(conn, :left, [])

  defp native(conn, function, arguments) do
    {:ok, result} = GenServer.call(conn, {:native, nil, function, arguments})
    result
  end
end
