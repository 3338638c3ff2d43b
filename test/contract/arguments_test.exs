defmodule LinxNative.ArgumentsTest do
  @moduledoc """
  Every argument of every function: terms of every other type, both ends of its range, and the values just beyond.
  """

  use LinxNative.Test.Case

  @int_min -2_147_483_648
  @int_max 2_147_483_647
  @uint_max 4_294_967_295
  @u64_max 18_446_744_073_709_551_615

  # One that every kind of argument refuses, but for those a kind names itself.
  defp terms do
    %{
      atom: :atom,
      boolean: true,
      nil: nil,
      float: 1.0,
      integer: 1,
      big: @u64_max + 1,
      negative_big: -@u64_max,
      binary: "x",
      bitstring: <<1::3>>,
      empty_list: [],
      charlist: ~c"x",
      list_of_atoms: [:x],
      improper_list: [?x | :x],
      list_with_big_integer: [256],
      list_with_bitstring: [<<1::3>>],
      tuple: {"x"},
      empty_tuple: {},
      map: %{},
      function: &is_atom/1,
      pid: self(),
      reference: make_ref(),
      port: hd(Port.list())
    }
  end

  defp wrong(:iolist), do: Map.drop(terms(), [:binary, :empty_list, :charlist])
  defp wrong(:binary), do: Map.drop(terms(), [:binary])
  defp wrong(:int), do: integers([@int_min - 1, @int_max + 1, @uint_max])
  defp wrong(:uint), do: integers([-1, @uint_max + 1])
  defp wrong(:u64), do: integers([-1, @u64_max + 1, @int_min])

  defp integers(beyond) do
    Map.merge(Map.drop(terms(), [:integer]), Map.new(beyond, &{&1, &1}))
  end

  # Functions, the kinds of their arguments, and arguments with which they fail without doing anything.
  @functions [
    {Linx.Netlink.Socket.Native, :open_in_netns, [iolist: "/nonexistent", int: 0]},
    {Linx.Netlink.Socket.Native, :close_fd, [int: -1]},
    {Linx.Netlink.Socket.Native, :bind_netlink, [int: -1, uint: 0]},
    {Linx.Mount.Native, :mount,
     [
       binary: "",
       binary: "/nonexistent",
       binary: "",
       u64: 0,
       binary: "",
       binary: "/nonexistent",
       binary: "",
       int: 0
     ]},
    {Linx.Mount.Native, :umount, [binary: "/nonexistent", int: 0, binary: "/nonexistent"]},
    {Linx.Mount.Native, :pivot_root,
     [binary: "/nonexistent", binary: "/nonexistent", binary: "/nonexistent"]}
  ]

  for {module, function, arguments} <- @functions,
      {{kind, _}, place} <- Enum.with_index(arguments) do
    test "#{inspect(module)}.#{function}/#{length(arguments)}: argument #{place + 1} takes #{kind} only" do
      values = Keyword.values(unquote(arguments))

      for {name, term} <- wrong(unquote(kind)) do
        arguments = List.replace_at(values, unquote(place), term)

        assert {name, :badarg} == {name, error(unquote(module), unquote(function), arguments)}
      end
    end
  end

  for {module, function, arguments} <- @functions do
    test "#{inspect(module)}.#{function}/#{length(arguments)}: wrong everywhere is badarg too" do
      for {_, term} <- Map.take(terms(), [:atom, :float, :map, :bitstring]) do
        arguments = List.duplicate(term, unquote(length(arguments)))
        assert error(unquote(module), unquote(function), arguments) == :badarg
      end
    end
  end

  defp error(module, function, arguments) do
    apply(module, function, arguments)
  catch
    :error, reason -> reason
  end

  test "a path may be any iolist" do
    for path <- [
          "/proc/self/ns/net",
          ~c"/proc/self/ns/net",
          ["/proc", [?/ | "self"], [[], "/ns/", ~c"net"]],
          ["/proc/self/ns" | "/net"]
        ] do
      assert {:ok, fd} = NetlinkSocket.open_in_netns(path, 0)
      assert :ok = NetlinkSocket.close_fd(fd)
    end
  end

  test "the ends of a C int are taken for protocol" do
    for protocol <- [@int_min, -1, 255, @int_max] do
      assert {:error, {:socket, errno}} =
               NetlinkSocket.open_in_netns("/proc/self/ns/net", protocol)

      # EPROTONOSUPPORT, EINVAL: as socket(2) answers them.
      assert errno in [93, 22]
    end
  end

  test "the ends of a C int are taken for a descriptor" do
    for fd <- [@int_min, -1, @int_max] do
      assert :ok = NetlinkSocket.close_fd(fd)
      assert {:error, 9} = NetlinkSocket.bind_netlink(fd, 0)
    end
  end

  test "the ends of an unsigned int are taken for groups" do
    assert {:error, 9} = NetlinkSocket.bind_netlink(-1, 0)
    assert {:error, 9} = NetlinkSocket.bind_netlink(-1, @uint_max)
  end

  test "the ends of 64 bits are taken for mount flags" do
    for flags <- [0, @u64_max] do
      assert {:error, {:mount, :enoent}} =
               Mount.mount("", "/nonexistent", "tmpfs", flags, "", "", "", 0)
    end
  end

  test "the ends of a C int are taken for umount flags and create_target" do
    assert {:error, {:umount, :einval}} = Mount.umount("/nonexistent", @int_min, "")
    assert {:error, {:umount, :einval}} = Mount.umount("/nonexistent", @int_max, "")

    for create_target <- [@int_min, -1, 1, @int_max] do
      assert {:error, {:create, :enoent}} =
               Mount.mount("", "/nonexistent/x", "tmpfs", 0, "", "", "", create_target)
    end
  end

  test "an empty target stays an empty string" do
    assert {:error, {:mount, :enoent}} = Mount.mount("", "", "tmpfs", 0, "", "", "", 0)
    assert {:error, {:create, :enoent}} = Mount.mount("", "", "tmpfs", 0, "", "", "", 1)
    assert {:error, {:umount, :enoent}} = Mount.umount("", 0, "")
    assert {:error, {:chdir, :enoent}} = Mount.pivot_root("", "", "")
  end

  test "an empty path is ENOENT" do
    assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns("", 0)
    assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns([], 0)
    assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns([[], ""], 0)
  end

  test "a path of 4096 bytes or more is ENAMETOOLONG, one less is looked up" do
    # With one-letter names, so that no single name is too long.
    path = fn size -> binary_part(String.duplicate("/x", 2_100), 0, size) end

    assert {:error, {:open, 2}} = NetlinkSocket.open_in_netns(path.(4095), 0)
    assert {:error, {:open, 36}} = NetlinkSocket.open_in_netns(path.(4096), 0)
    assert {:error, {:open, 36}} = NetlinkSocket.open_in_netns(path.(4200), 0)

    assert {:error, {:umount, :enoent}} = Mount.umount(path.(4095), 0, "")
    assert {:error, {:umount, :enametoolong}} = Mount.umount(path.(4096), 0, "")
    assert {:error, {:open_ns, :enametoolong}} = Mount.umount("/", 0, path.(4096))
    assert {:error, {:chdir, :enametoolong}} = Mount.pivot_root(path.(4200), "/", "")

    assert {:error, {:mount, :enametoolong}} =
             Mount.mount("", path.(4096), "tmpfs", 0, "", "", "", 0)
  end

  test "the length is checked before a NUL byte" do
    assert {:error, {:open, 36}} = NetlinkSocket.open_in_netns(String.duplicate("\0", 4096), 0)
  end

  test "a source or type that is too long is EINVAL, as mount(2) says" do
    long = String.duplicate("x", 5_000)
    assert {:error, {:mount, :einval}} = Mount.mount(long, "/", "tmpfs", 0, "", "", "", 0)
    assert {:error, {:mount, :einval}} = Mount.mount("x", "/", long, 0, "", "", "", 0)
  end

  test "strings of many megabytes are refused like long ones" do
    huge = String.duplicate("x", 64 * 1024 * 1024)
    assert {:error, {:open, 36}} = NetlinkSocket.open_in_netns(huge, 0)
    assert {:error, {:umount, :enametoolong}} = Mount.umount(huge, 0, "")
    assert {:error, {:mount, :einval}} = Mount.mount(huge, "/", "tmpfs", 0, "", "", "", 0)
  end

  describe "a NUL byte" do
    test "in the path of a network namespace (D1)" do
      result = NetlinkSocket.open_in_netns("/proc/self/ns/net\0/other", 0)

      case expect(:D1, rust: :refused, c: :cut) do
        :refused ->
          assert result == {:error, {:open, 22}}

        :cut ->
          assert {:ok, fd} = result
          assert :ok = NetlinkSocket.close_fd(fd)
      end
    end

    test "at the start or the end of that path, or in an iolist (D1)" do
      at_the_start = expect(:D1, rust: {:error, {:open, 22}}, c: {:error, {:open, 2}})
      assert NetlinkSocket.open_in_netns("\0/proc/self/ns/net", 0) == at_the_start
      assert NetlinkSocket.open_in_netns([0], 0) == at_the_start
      assert NetlinkSocket.open_in_netns([0 | "x"], 0) == at_the_start
      assert NetlinkSocket.open_in_netns("/nonexistent\0", 0) == at_the_start
    end

    test "in any string of the mount library (D1)" do
      for {function, arguments, place, cut} <- [
            {:mount, ["", "/nonexistent", "", 0, "", "", "", 0], 0, {:mount, :enoent}},
            {:mount, ["", "/nonexistent", "", 0, "", "", "", 0], 1, {:mount, :enoent}},
            {:mount, ["", "/nonexistent", "", 0, "", "", "", 0], 2, {:mount, :enoent}},
            {:mount, ["", "/nonexistent", "", 0, "", "", "", 0], 4, {:mount, :enoent}},
            {:mount, ["", "/nonexistent", "", 0, "", "/nonexistent", "", 0], 5,
             {:open_ns, :enoent}},
            {:mount, ["", "/nonexistent", "", 0, "", "", "", 0], 6, {:mount, :enoent}},
            {:umount, ["/nonexistent", 0, ""], 0, {:umount, :enoent}},
            {:umount, ["/nonexistent", 0, "/nonexistent"], 2, {:open_ns, :enoent}},
            {:pivot_root, ["/nonexistent", "", ""], 0, {:chdir, :enoent}},
            {:pivot_root, ["/nonexistent", "", ""], 1, {:chdir, :enoent}},
            {:pivot_root, ["/nonexistent", "", "/nonexistent"], 2, {:open_ns, :enoent}}
          ] do
        arguments = List.update_at(arguments, place, &(&1 <> "\0x"))

        result =
          try do
            apply(Mount, function, arguments)
          catch
            :error, reason -> reason
          end

        assert {function, place, result} ==
                 {function, place, expect(:D1, rust: :badarg, c: {:error, cut})}
      end
    end
  end
end
