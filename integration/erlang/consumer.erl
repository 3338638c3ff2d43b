%% Calls both drop-in libraries and a connection from Erlang, on the namespaces of a process.
-module(consumer).
-export([check/1]).

-define(SOCKET, 'Elixir.Linx.Netlink.Socket.Native').
-define(MOUNT, 'Elixir.Linx.Mount.Native').

-spec check([string()]) -> ok.
check([Pid]) ->
    %% A path of open_in_netns/2 may be a string; those of the mounts are binaries.
    {ok, Fd} = ?SOCKET:open_in_netns("/proc/" ++ Pid ++ "/ns/net", 0),
    ok = ?SOCKET:bind_netlink(Fd, 1),
    ok = ?SOCKET:close_fd(Fd),
    {error, {open, 2}} = ?SOCKET:open_in_netns("/proc/" ++ Pid ++ "/ns/none", 0),

    "linx_mount" = ?MOUNT:version(),
    Mnt = list_to_binary(["/proc/", Pid, "/ns/mnt"]),
    ok = ?MOUNT:mount(<<"consumer">>, <<"/mnt">>, <<"tmpfs">>, 0, <<"size=1m">>, Mnt, <<>>, 0),
    ok = ?MOUNT:umount(<<"/mnt">>, 0, Mnt),
    {error, {umount, einval}} = ?MOUNT:umount(<<"/mnt">>, 0, Mnt),
    {ok, Conn} = 'Elixir.LinxNative.Conn':start_link(route, [{netns, {pid, list_to_integer(Pid)}}]),
    {ok, Id} = 'Elixir.LinxNative':netns_id(Conn),
    {ok, Id} = 'Elixir.LinxNative':netns_id({pid, list_to_integer(Pid)}),
    ok = 'Elixir.LinxNative.Conn':close(Conn),
    io:format("erlang: a socket in the network of ~s, a mount made there and gone~n", [Pid]).
