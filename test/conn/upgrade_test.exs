defmodule LinxNative.Conn.UpgradeTest do
  @moduledoc """
  A code upgrade to a library whose sockets have another memory layout, while sockets are open.
  """

  use LinxNative.Test.Case

  alias LinxNative.Conn
  alias LinxNative.Native
  alias LinxNative.Test.{Links, ProbeLibrary, StubModule, SyscallStepper}

  @moduletag :conn

  setup_all do
    ProbeLibrary.build!()
  end

  setup do
    vm = Vm.start()
    # Loads what a connection needs.
    stop!(vm, keeper!(vm))
    stop!(vm, owner!(vm))
    %{vm: vm, before: Vm.call(vm, Machine, :snapshot, [])}
  end

  # A process there that owns a socket, which the VM watches or not.
  defp owner!(vm, watch? \\ false) do
    opener =
      quote do
        caller = self()

        owner =
          spawn(fn ->
            {:ok, socket} = Native.open(:host, 0, 65_536)
            {:ok, fd} = Native.descriptor(socket)
            if var!(watch?), do: :ok = Native.select(socket, make_ref())
            send(caller, {self(), socket, fd, File.read_link!("/proc/self/fd/#{fd}")})
            receive do: (:stop -> :ok)
          end)

        receive do: ({^owner, socket, fd, link} -> {owner, socket, fd, link})
      end

    {owner, socket, fd, link} = Vm.eval(vm, opener, watch?: watch?)
    %{pid: owner, socket: socket, fd: fd, link: link}
  end

  defp stop!(vm, owner) do
    send!(vm, owner, :stop)
    assert Await.until(fn -> not open?(vm, owner) end), "a socket stays open"
  end

  defp send!(vm, %{pid: pid}, message), do: Vm.call(vm, :erlang, :send, [pid, message])

  defp open?(vm, %{fd: fd, link: link}),
    do: File.read_link("/proc/#{vm.os_pid}/fd/#{fd}") == {:ok, link}

  defp upgrade!(vm, file) do
    functions = Native.module_info(:exports) -- [module_info: 0, module_info: 1, __info__: 1]
    assert StubModule.load(vm, Native, functions, file) == :ok
  end

  defp downgrade!(vm) do
    {Native, binary, file} = :code.get_object_code(Native)
    {:module, Native} = Vm.call(vm, :code, :load_binary, [Native, file, binary])
  end

  defp give_up_old_code!(vm), do: assert(Vm.call(vm, :code, :soft_purge, [Native]))

  # Every function that takes a socket, with valid arguments.
  defp refused?(vm, %{socket: socket}) do
    calls =
      [
        exchange: [[], 1],
        select: [Vm.call(vm, :erlang, :make_ref, [])],
        join: [1],
        leave: [1],
        attach_filter: [<<6::native-16, 0, 0, 0::32>>],
        set_flag: [:ext_ack, true],
        flag: [:ext_ack],
        set_buffer: [:read_buffer, 10_000],
        buffer: [:read_buffer]
      ] ++
        for function <-
              ~w(close only_kernel groups port_id drops descriptor detach_filter netns)a,
            do: {function, []}

    Enum.all?(calls, fn {function, arguments} ->
      attempt(vm, function, [socket | arguments]) == :badarg
    end)
  end

  defp attempt(vm, function, arguments) do
    attempt =
      quote do
        try do
          apply(Native, var!(function), var!(arguments))
        rescue
          ArgumentError -> :badarg
        end
      end

    Vm.eval(vm, attempt, function: function, arguments: arguments)
  end

  test "sockets of the older instance are refused, and closed when their owners end", context do
    %{vm: vm, before: before} = context
    old = for watch? <- [true, false, true, false], do: owner!(vm, watch?)
    upgrade!(vm, ProbeLibrary.other_layout())
    new = for watch? <- [true, false], do: owner!(vm, watch?)

    for owner <- old, do: assert(refused?(vm, owner))
    stop!(vm, hd(old))
    give_up_old_code!(vm)
    for owner <- tl(old), do: assert(refused?(vm, owner) and open?(vm, owner))
    for owner <- tl(old), do: stop!(vm, owner)

    for owner <- new do
      assert {:ok, owner.fd} == Vm.call(vm, Native, :descriptor, [owner.socket])
      stop!(vm, owner)
    end

    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  test "each instance has the sockets of its own layout, however often the instances alternate",
       context do
    %{vm: vm, before: before} = context

    owners =
      for turn <- 1..20 do
        if rem(turn, 2) == 0, do: downgrade!(vm), else: upgrade!(vm, ProbeLibrary.other_layout())
        owner = owner!(vm, rem(turn, 3) == 0)

        if rem(turn, 5) == 0,
          do: give_up_old_code!(vm),
          else: Vm.call(vm, :code, :purge, [Native])

        assert {:ok, owner.fd} == Vm.call(vm, Native, :descriptor, [owner.socket])
        owner
      end

    assert Enum.all?(owners, &open?(vm, &1))
    for owner <- owners, do: stop!(vm, owner)
    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  test "a connection ends at its next use, and another one can be opened", context do
    %{vm: vm, before: before} = context
    keeper = keeper!(vm)
    assert {:ok, [_ | _]} = request(vm, keeper)
    upgrade!(vm, ProbeLibrary.other_layout())

    assert {:error, %{reason: :closed}} = request(vm, keeper)
    assert Await.until(fn -> not open?(vm, keeper) end)
    other = keeper!(vm)
    assert {:ok, [_ | _]} = request(vm, other)
    stop!(vm, other)
    send!(vm, keeper, :stop)
    assert Vm.call(vm, Machine, :changes, [before]) == []
  end

  # A process there that has a connection, and makes requests with it.
  defp keeper!(vm) do
    starter =
      quote do
        caller = self()

        loop = fn loop, conn ->
          receive do
            :stop ->
              :ok

            {:request, from} ->
              answer =
                try do
                  Conn.request(conn, var!(dump))
                catch
                  kind, reason -> {kind, reason}
                end

              send(from, {:answer, answer})
              loop.(loop, conn)
          end
        end

        keeper =
          spawn(fn ->
            Process.flag(:trap_exit, true)
            {:ok, conn} = Conn.start_link(:route)
            {:ok, fd} = Conn.descriptor(conn)
            send(caller, {self(), fd, File.read_link!("/proc/self/fd/#{fd}")})
            loop.(loop, conn)
          end)

        receive do: ({^keeper, fd, link} -> {keeper, fd, link})
      end

    {keeper, fd, link} = Vm.eval(vm, starter, dump: Links.dump())
    %{pid: keeper, fd: fd, link: link}
  end

  defp request(vm, %{pid: keeper}) do
    request =
      quote do
        send(var!(keeper), {:request, self()})
        receive do: ({:answer, answer} -> answer)
      end

    Vm.eval(vm, request, keeper: keeper)
  end

  test "a purge during a call that opens a socket leaves neither a socket nor corrupt memory" do
    hold = SyscallStepper.start()
    vm = hold.vm
    stop!(vm, owner!(vm))
    before = Vm.call(vm, Machine, :snapshot, [])
    open = {Native, :open, [{:path, "/proc/self/ns/net"}, 0, 65_536]}

    for _ <- 1..20 do
      %{held: "socket"} =
        held =
        Enum.find(
          Stream.iterate(SyscallStepper.begin(hold, open), &SyscallStepper.continue/1),
          &(&1.held == "socket")
        )

      true = Vm.call(vm, :code, :delete, [Native])
      assert Vm.call(vm, :code, :purge, [Native])
      assert %{answer: :killed} = SyscallStepper.finish(held)
      downgrade!(vm)
      stop!(vm, owner!(vm))
    end

    assert Vm.call(vm, Machine, :changes, [before]) == []
  end
end
