#![allow(
    clippy::disallowed_methods,
    reason = "the threads of a test are its own"
)]
#![allow(clippy::arithmetic_side_effects)]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};

use super::*;

const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWNSID: u16 = 88;
const RTNLGRP_LINK: u32 = 1;

/// Makes a network namespace without a process.
fn make_netns() -> File {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("namespaces take root: run the tests with sudo");
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    made.join().unwrap()
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn open_in(netns: &File) -> Connection {
    Connection::open(Netns::Fd(netns.as_raw_fd()), libc::NETLINK_ROUTE).unwrap()
}

/// Returns two sockets that send to each other.
fn pair() -> (Connection, Connection) {
    let open = || Connection::open(Netns::Host, libc::NETLINK_USERSOCK).unwrap();
    (open(), open())
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Returns a `struct ifinfomsg` of the loopback interface, with flags and a mask of the flags to change.
fn loopback(flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(1_u32.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

/// Turns the loopback interface on or off, which is an event for the group of links.
fn set_loopback(connection: &Connection, up: bool) {
    let up_flag = u32::try_from(libc::IFF_UP).unwrap();
    let body = loopback(if up { up_flag } else { 0 }, up_flag);
    connection.send(0, &message(RTM_NEWLINK, 0, &body)).unwrap();
}

fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

/// Receives a queued datagram, and returns it with its bytes.
fn receive(connection: &Connection) -> (Datagram, Vec<u8>) {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let datagram = connection
        .receive(&mut buffer, usize::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(buffer.len(), datagram.length);
    (datagram, buffer)
}

fn is_empty(connection: &Connection) -> bool {
    connection.receive(&mut Vec::new(), 16).unwrap().is_none()
}

fn raw<T>(result: Result<T, Errno>) -> Result<T, i32> {
    result.map_err(Errno::raw)
}

#[test]
fn a_connection_is_in_the_requested_namespace_and_keeps_it_alive() {
    let file = make_netns();
    let there = identity(&file.metadata().unwrap());
    let own = identity(&fs::metadata("/proc/thread-self/ns/net").unwrap());
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());

    let open = |netns| Connection::open(netns, libc::NETLINK_ROUTE).unwrap();
    let here = open(Netns::Host);
    let by_path = open(Netns::Path(path.as_bytes()));
    let by_descriptor = open_in(&file);
    drop(file);
    let same_as = open(Netns::SameAs(&by_path));
    assert_ne!(there, own);
    assert_eq!(here.netns(), Ok(own));
    assert_eq!(by_path.netns(), Ok(there));
    assert_eq!(same_as.netns(), Ok(there));
    assert_eq!(by_descriptor.netns(), Ok(there));
    assert_eq!(
        identity(&fs::metadata("/proc/thread-self/ns/net").unwrap()),
        own
    );
}

#[test]
fn a_failure_to_open_has_its_stage() {
    let failed = |netns, protocol| {
        let error = Connection::open(netns, protocol).unwrap_err();
        (error.stage, error.errno.raw())
    };
    let file = File::open("/dev/null").unwrap();
    let namespace = make_netns();
    for (netns, stage, errno) in [
        (Netns::Path(b"/nonexistent"), Stage::Open, libc::ENOENT),
        (Netns::Path(b"/proc\0"), Stage::Open, libc::EINVAL),
        (Netns::Path(b"/dev/null"), Stage::Setns, libc::EINVAL),
        (Netns::Fd(-1), Stage::Open, libc::EBADF),
        (Netns::Fd(file.as_raw_fd()), Stage::Setns, libc::EINVAL),
    ] {
        assert_eq!(failed(netns, libc::NETLINK_ROUTE), (stage, errno));
    }
    for netns in [Netns::Host, Netns::Fd(namespace.as_raw_fd())] {
        assert_eq!(failed(netns, 31), (Stage::Socket, libc::EPROTONOSUPPORT));
    }
}

#[test]
fn a_connection_is_close_on_exec_and_never_blocks() {
    let namespace = make_netns();
    let other = open_in(&namespace);
    for netns in [
        Netns::Host,
        Netns::Path(b"/proc/self/ns/net"),
        Netns::Fd(namespace.as_raw_fd()),
        Netns::SameAs(&other),
    ] {
        let connection = Connection::open(netns, libc::NETLINK_ROUTE).unwrap();
        let flags = |of| fcntl(&connection, of).unwrap();
        assert_eq!(flags(FcntlArg::F_GETFD), libc::FD_CLOEXEC);
        let status = OFlag::from_bits_retain(flags(FcntlArg::F_GETFL));
        assert!(status.contains(OFlag::O_NONBLOCK));
        assert!(is_empty(&connection));
    }
}

#[test]
fn each_connection_has_a_port_of_its_own() {
    let (one, other) = pair();
    let ports = [one.port_id().unwrap(), other.port_id().unwrap()];
    assert!(!ports.contains(&0));
    assert_ne!(ports[0], ports[1]);
}

#[test]
fn the_answer_to_a_dump_can_be_received_at_once() {
    let connection = open_in(&make_netns());
    let request = message(RTM_GETLINK, NLM_F_DUMP, &loopback(0, 0));
    connection.send(0, &request).unwrap();

    let (datagram, links) = receive(&connection);
    assert_eq!(kind(&links), RTM_NEWLINK);
    let from_the_kernel = Datagram {
        port_id: Some(0),
        group: 0,
        nsid: None,
        length: links.len(),
    };
    assert_eq!(datagram, from_the_kernel);
    let (_, done) = receive(&connection);
    assert_eq!(kind(&done), NLMSG_DONE);
    assert!(is_empty(&connection));
}

#[test]
fn a_datagram_that_does_not_fit_is_truncated_and_has_its_whole_length() {
    let connection = open_in(&make_netns());
    let ask = || {
        let request = message(RTM_GETLINK, 0, &loopback(0, 0));
        connection.send(0, &request).unwrap();
    };
    ask();
    let (whole, bytes) = receive(&connection);

    for room in [0, 32] {
        ask();
        let mut buffer = b"from before".repeat(100);
        let cut = connection.receive(&mut buffer, room).unwrap();
        assert_eq!(cut, Some(whole));
        assert_eq!(buffer, bytes[..room]);
        assert!(is_empty(&connection));
    }
}

#[test]
fn a_datagram_goes_to_the_port_it_is_sent_to() {
    let (one, other) = pair();
    let (from, to) = (one.port_id().unwrap(), other.port_id().unwrap());
    one.send(to, b"hello").unwrap();
    let (datagram, bytes) = receive(&other);
    assert_eq!(
        (datagram.port_id, bytes.as_slice()),
        (Some(from), &b"hello"[..])
    );
    drop(other);
    assert_eq!(raw(one.send(to, b"hello")), Err(libc::ECONNREFUSED));
}

#[test]
fn a_datagram_without_a_sender_is_not_the_kernels() {
    // Unix sockets without a name, because the kernel always returns the sender of a netlink socket.
    let (one, other) = UnixDatagram::pair().unwrap();
    one.send(b"hello").unwrap();
    let connection = Connection(other.into());
    let (datagram, bytes) = receive(&connection);
    assert_eq!((datagram.port_id, bytes.as_slice()), (None, &b"hello"[..]));
}

#[test]
fn groups_are_joined_listed_and_left() {
    // A group above the 32 that bind(2) supports.
    const RTNLGRP_BRVLAN: c_int = 33;

    let connection = open_in(&make_netns());
    assert_eq!(connection.groups(), Ok(vec![]));
    for group in [RTNLGRP_BRVLAN, 1, 5] {
        connection.join(group).unwrap();
    }
    assert_eq!(connection.groups(), Ok(vec![1, 5, 33]));
    connection.leave(5).unwrap();
    connection.leave(5).unwrap();
    assert_eq!(connection.groups(), Ok(vec![1, 33]));

    for none in [0, -1, 100_000, c_int::MIN] {
        assert_eq!(raw(connection.join(none)), Err(libc::EINVAL));
        assert_eq!(raw(connection.leave(none)), Err(libc::EINVAL));
    }
}

#[test]
fn an_event_has_its_group_with_packet_info() {
    let netns = make_netns();
    let (listener, actor) = (open_in(&netns), open_in(&netns));
    listener.join(1).unwrap();
    set_loopback(&actor, true);
    assert_eq!(receive(&listener).0.group, 0);

    listener.set(Flag::PacketInfo, true).unwrap();
    set_loopback(&actor, false);
    let (event, bytes) = receive(&listener);
    assert_eq!((event.group, kind(&bytes)), (RTNLGRP_LINK, RTM_NEWLINK));
}

/// Gives `other` an id in the namespace of a connection.
fn number(connection: &Connection, other: &File, nsid: i32) {
    let mut body = vec![0; 4];
    let fd = u32::try_from(other.as_raw_fd()).unwrap().to_ne_bytes();
    // The attributes NETNSA_NSID and NETNSA_FD.
    for (kind, value) in [(1_u16, nsid.to_ne_bytes()), (3, fd)] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    }
    connection.send(0, &message(RTM_NEWNSID, 0, &body)).unwrap();
}

#[test]
fn an_event_of_another_namespace_has_its_id() {
    let (netns, other) = (make_netns(), make_netns());
    let (listener, there) = (open_in(&netns), open_in(&other));
    number(&open_in(&netns), &other, 7);
    listener.set(Flag::ListenAllNsid, true).unwrap();
    listener.set(Flag::PacketInfo, true).unwrap();
    listener.join(1).unwrap();

    set_loopback(&there, true);
    let event = receive(&listener).0;
    assert_eq!((event.group, event.nsid), (RTNLGRP_LINK, Some(7)));
    set_loopback(&open_in(&netns), true);
    assert_eq!(receive(&listener).0.nsid, None);
}

#[test]
fn each_flag_is_set_and_unset() {
    let connection = open_in(&make_netns());
    for flag in [
        Flag::PacketInfo,
        Flag::BroadcastError,
        Flag::NoEnobufs,
        Flag::ListenAllNsid,
        Flag::CapAck,
        Flag::ExtAck,
        Flag::StrictCheck,
    ] {
        assert_eq!((flag, connection.is_set(flag)), (flag, Ok(false)));
        for on in [true, false] {
            connection.set(flag, on).unwrap();
            assert_eq!((flag, connection.is_set(flag)), (flag, Ok(on)));
        }
    }
}

#[test]
fn the_size_of_a_buffer_is_doubled() {
    let connection = open_in(&make_netns());
    for (buffer, bytes) in [(Buffer::Read, 100_000), (Buffer::Write, 50_000)] {
        connection.set_buffer(buffer, bytes).unwrap();
    }
    assert_eq!(connection.buffer(Buffer::Read), Ok(200_000));
    assert_eq!(connection.buffer(Buffer::Write), Ok(100_000));

    let too_much = 1 << 31;
    let refused = raw(connection.set_buffer(Buffer::Read, too_much));
    assert_eq!(refused, Err(libc::EINVAL));
}

/// Returns a program that keeps the given number of bytes of every datagram: `BPF_RET | BPF_K`.
fn take(bytes: u32) -> Vec<u8> {
    let mut program = 6_u16.to_ne_bytes().to_vec();
    program.extend([0; 2]);
    program.extend(bytes.to_ne_bytes());
    program
}

#[test]
fn a_filter_decides_what_is_received() {
    let (one, other) = pair();
    let port = other.port_id().unwrap();
    let send = || one.send(port, b"hello").unwrap();

    other.attach_filter(&take(0)).unwrap();
    send();
    assert!(is_empty(&other));
    other.attach_filter(&take(u32::MAX)).unwrap();
    send();
    assert_eq!(receive(&other).1, b"hello");
    other.attach_filter(&take(0)).unwrap();
    other.detach_filter().unwrap();
    send();
    assert_eq!(receive(&other).1, b"hello");
    assert_eq!(raw(other.detach_filter()), Err(libc::ENOENT));
}

#[test]
fn an_invalid_filter_is_refused() {
    // `BPF_LD | BPF_IMM`, without a return after it.
    let endless = [&[0; 4], 1_u32.to_ne_bytes().as_slice()].concat();
    let not_whole = [take(0), vec![0]].concat();
    let connection = pair().0;
    for program in [
        vec![],
        vec![6],
        not_whole,
        endless,
        take(0).repeat(4097),
        // A count of 65536 would be 0 in 16 bits.
        take(0).repeat(65_536),
    ] {
        assert_eq!(raw(connection.attach_filter(&program)), Err(libc::EINVAL));
    }
    assert_eq!(raw(connection.detach_filter()), Err(libc::ENOENT));
    connection.attach_filter(&take(0).repeat(4096)).unwrap();
}

#[test]
fn dropped_datagrams_are_counted_and_reported_once() {
    let netns = make_netns();
    let (listener, actor) = (open_in(&netns), open_in(&netns));
    listener.join(1).unwrap();
    listener.set_buffer(Buffer::Read, 1).unwrap();
    assert_eq!(listener.drops(), Ok(0));

    // Each change is an event. The buffer holds a few of them.
    let full = (0..1_000).any(|n| {
        set_loopback(&actor, n % 2 == 0);
        listener.drops() != Ok(0)
    });
    assert!(full);
    let receive = || raw(listener.receive(&mut Vec::with_capacity(16), 16));
    assert_eq!(receive(), Err(libc::ENOBUFS));
    assert!(receive().unwrap().is_some());
    assert_eq!(listener.drops(), Ok(1));
}
