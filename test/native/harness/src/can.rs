//! `can`: reports whether the kernel supports something, by trying it. Versions are not reliable, because distributions backport
//! features, and containers forbid them.

#![allow(unsafe_code, reason = "system calls that nix does not wrap")]

use std::error::Error;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr;

use libc::{c_int, c_long, socklen_t};

use crate::Outcome;
use crate::lifetime::say;

/// Prints `yes` or `no`.
pub(crate) fn run(question: &str) -> Outcome {
    let answer = match question {
        // Since Linux 6.17.
        "procfs-of-a-pid-namespace" => takes_descriptor(c"proc", c"pidns", "/proc/self/ns/pid")?,
        // Since Linux 6.13.
        "descriptor-of-a-layer" => takes_descriptor(c"overlay", c"lowerdir+", "/")?,
        "buffers-beyond-the-limit" => forces_buffers()?,
        "id-map-of-a-tmpfs" => maps_ids()?,
        "namespace-of-a-pidfd" => tells_namespaces(),
        "filter-of-4096-instructions" => takes_largest_filter()?,
        "read-listen-all-nsid" => reads_listen_all_nsid()?,
        _ => return Err(format!("can: what is {question}?").into()),
    };
    say(if answer { "yes" } else { "no" })
}

/// Reports whether an option of a file system takes a descriptor.
fn takes_descriptor(fstype: &CStr, key: &CStr, path: &str) -> io::Result<bool> {
    const FSCONFIG_SET_FD: c_int = 5;

    let file = File::open(path)?;
    let Ok(context) = open_context(fstype) else {
        return Ok(false);
    };
    let (context, number) = (context.as_raw_fd(), file.as_raw_fd());
    let (command, value) = (FSCONFIG_SET_FD, ptr::null::<u8>());
    // SAFETY: two open descriptors, a C string that lives through the call, and NULL.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context,
            command,
            key.as_ptr(),
            value,
            number,
        )
    };
    Ok(answer == 0)
}

/// Reports whether the ids of a tmpfs can be mapped (since Linux 6.3).
fn maps_ids() -> Result<bool, Box<dyn Error>> {
    const FSCONFIG_CMD_CREATE: c_int = 6;
    const FSMOUNT_CLOEXEC: c_int = 1;
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

    let context = open_context(c"tmpfs")?;
    let (number, command, null) = (context.as_raw_fd(), FSCONFIG_CMD_CREATE, ptr::null::<u8>());
    // SAFETY: an open descriptor, integers, and NULL twice.
    succeeded(unsafe { libc::syscall(libc::SYS_fsconfig, number, command, null, null, 0) })?;
    // SAFETY: an open descriptor and integers.
    let mount = owned(unsafe { libc::syscall(libc::SYS_fsmount, number, FSMOUNT_CLOEXEC, 0) })?;

    let mut holder = Command::new(std::env::current_exe()?)
        .args(["container", "--user"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = holder.stdout.take().ok_or("container: no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let pid = line.trim().strip_prefix("ready ").ok_or(line.clone())?;
    let namespace = File::open(format!("/proc/{pid}/ns/user"))?;

    // `struct mount_attr`: set, clear, propagation, the user namespace.
    let attributes = [
        MOUNT_ATTR_IDMAP,
        0,
        0,
        u64::try_from(namespace.as_raw_fd())?,
    ];
    // SAFETY: an open descriptor, an empty C string, and a structure of the size that is given, which live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            ptr::from_ref(&attributes),
            size_of_val(&attributes),
        )
    };
    // Closes its input, which ends it.
    holder.wait()?;
    Ok(answer == 0)
}

/// Reports whether a pidfd gives access to the PID namespace of its process (since Linux 6.11).
fn tells_namespaces() -> bool {
    const PIDFD_GET_PID_NAMESPACE: libc::Ioctl = libc::_IO(0xff, 5);

    let Ok(pidfd) = crate::pidfd::open(std::process::id()) else {
        return false;
    };
    // SAFETY: an open descriptor, and a request whose argument has to be 0.
    let namespace = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_PID_NAMESPACE, 0) };
    owned(namespace.into()).is_ok()
}

/// Reports whether the limit of a socket's memory, `net.core.optmem_max`, allows the longest filter (by default since Linux 6.7).
fn takes_largest_filter() -> io::Result<bool> {
    let mut instructions = [libc::sock_filter {
        // `BPF_RET | BPF_K`
        code: 0x06,
        jt: 0,
        jf: 0,
        k: u32::MAX,
    }; 4096];
    let program = libc::sock_fprog {
        len: 4096,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the structure that this option takes. The instructions it points to live through the call.
    unsafe { takes(libc::SO_ATTACH_FILTER, &program) }
}

/// Reports whether a socket takes a value of an option.
///
/// # Safety
/// The value is of the type that the option takes, and what it points to lives through the call.
unsafe fn takes<T>(option: c_int, value: &T) -> io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    // SAFETY: a value and its size; the caller vouches for its type.
    let answer: c_long = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_ref(value).cast(),
            size(value)?,
        )
    }
    .into();
    Ok(answer == 0)
}

/// Reports whether the kernel tells if a netlink socket has the option `NETLINK_LISTEN_ALL_NSID`. It can be set since Linux 4.2.
fn reads_listen_all_nsid() -> io::Result<bool> {
    let (family, kind) = (libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC);
    // SAFETY: only integers.
    let socket = owned(unsafe { libc::socket(family, kind, libc::NETLINK_ROUTE) }.into())?;
    let mut value: c_int = 0;
    let mut length = size(&value)?;
    // SAFETY: two integers, which live through the call; the second is the size of the first.
    let answer: c_long = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_LISTEN_ALL_NSID,
            ptr::from_mut(&mut value).cast(),
            ptr::from_mut(&mut length),
        )
    }
    .into();
    Ok(answer == 0)
}

fn size<T>(value: &T) -> io::Result<socklen_t> {
    socklen_t::try_from(size_of_val(value)).map_err(io::Error::other)
}

fn open_context(file_system: &CStr) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: c_int = 1;

    // SAFETY: a C string that lives through the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, file_system.as_ptr(), FSOPEN_CLOEXEC) })
}

/// Takes ownership of the descriptor that a system call returned.
fn owned(returned: c_long) -> io::Result<OwnedFd> {
    let fd = succeeded(returned)?;
    // SAFETY: the kernel just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn succeeded(returned: c_long) -> io::Result<c_int> {
    match c_int::try_from(returned) {
        Ok(value) if value >= 0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reports whether a socket may have buffers beyond the system's limit, which needs `CAP_NET_ADMIN` in the initial user namespace.
fn forces_buffers() -> io::Result<bool> {
    let bytes: c_int = 4096;
    // SAFETY: an integer, which this option takes.
    unsafe { takes(libc::SO_RCVBUFFORCE, &bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_an_answer() {
        for question in [
            "procfs-of-a-pid-namespace",
            "buffers-beyond-the-limit",
            "namespace-of-a-pidfd",
            "filter-of-4096-instructions",
            "read-listen-all-nsid",
        ] {
            assert!(run(question).is_ok());
        }
        assert!(run("what").is_err());
    }
}
