#![allow(
    clippy::disallowed_methods,
    reason = "the threads of a test are its own"
)]

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::*;

/// Returns the device and inode of this thread's namespace by `stat(2)`.
fn own() -> (u64, u64) {
    let file = fs::metadata("/proc/thread-self/ns/net").unwrap();
    (file.dev(), file.ino())
}

fn udp() -> UdpSocket {
    UdpSocket::bind("0.0.0.0:0").unwrap()
}

#[test]
fn a_socket_of_any_kind_is_in_the_namespace_that_it_was_made_in() {
    let socket = udp();
    assert_eq!(of_socket(socket.as_fd()), Ok(own()));
    assert_eq!(of_descriptor(socket.as_raw_fd()), Ok(own()));

    let elsewhere = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("namespaces take root: run the tests with sudo");
        (udp(), own())
    });
    let (socket, there) = elsewhere.join().unwrap();
    assert_ne!(there, own());
    assert_eq!(of_socket(socket.as_fd()), Ok(there));
}

#[test]
fn a_descriptor_that_is_not_a_socket_is_an_error() {
    for path in ["/dev/null", "/proc/self/ns/net", "/"] {
        let file = File::open(path).unwrap();
        assert_eq!(
            of_descriptor(file.as_raw_fd()),
            Err(Errno::from_raw(libc::ENOTSOCK))
        );
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_an_error() {
    for fd in [-1, RawFd::MIN, RawFd::MAX] {
        assert_eq!(of_descriptor(fd), Err(Errno::from_raw(libc::EBADF)));
    }
}
