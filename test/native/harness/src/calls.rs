//! System calls by name, some of them limited to certain arguments.

use libc::{c_int, c_long};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) number: c_long,
    pub(crate) only: Option<Condition>,
}

/// Limits a system call to those whose argument, masked by `mask`, is `value`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) argument: u32,
    pub(crate) mask: c_int,
    pub(crate) value: c_int,
}

impl Call {
    /// Reports whether a call with that number and these arguments matches.
    pub(crate) fn matches(&self, number: c_long, arguments: &[u64]) -> bool {
        let meets = |only: Condition| {
            let argument = arguments.get(only.argument as usize).copied();
            // Its lower half, as the filter looks at it.
            argument.is_some_and(|argument| argument as c_int & only.mask == only.value)
        };
        self.number == number && self.only.is_none_or(meets)
    }
}

/// Returns the system call of a name.
pub(crate) fn call(name: &str) -> Result<Call, String> {
    let (number, only) = match name {
        // Limited, because the BEAM needs the other calls to start.
        "clone-process" => (libc::SYS_clone, Some(flags(libc::CLONE_THREAD, 0))),
        "clone-vm-process" => {
            let mask = libc::CLONE_VM | libc::CLONE_THREAD;
            (libc::SYS_clone, Some(flags(mask, libc::CLONE_VM)))
        }
        "clone-thread" => {
            let both = libc::CLONE_THREAD | libc::CLONE_VFORK;
            (libc::SYS_clone, Some(flags(both, both)))
        }
        "setns-mnt" => (libc::SYS_setns, Some(equal(1, libc::CLONE_NEWNS))),
        "setns-net" => (libc::SYS_setns, Some(equal(1, libc::CLONE_NEWNET))),
        "setns-pid" => (libc::SYS_setns, Some(equal(1, libc::CLONE_NEWPID))),
        "unshare-fs" => (libc::SYS_unshare, Some(equal(0, libc::CLONE_FS))),
        "fsconfig-fd" => (libc::SYS_fsconfig, Some(equal(1, FSCONFIG_SET_FD))),
        "pidfd-pid-namespace" => (libc::SYS_ioctl, Some(equal(1, PIDFD_GET_PID_NAMESPACE))),
        "pidfd-user-namespace" => (libc::SYS_ioctl, Some(equal(1, PIDFD_GET_USER_NAMESPACE))),
        // Other levels use these numbers as well, but the options that they stand for there are rare.
        "netlink-broadcast-error" => option(libc::NETLINK_BROADCAST_ERROR),
        "netlink-cap-ack" => option(libc::NETLINK_CAP_ACK),
        "netlink-ext-ack" => option(libc::NETLINK_EXT_ACK),
        "netlink-listen-all-nsid" => option(libc::NETLINK_LISTEN_ALL_NSID),
        "netlink-no-enobufs" => option(libc::NETLINK_NO_ENOBUFS),
        "netlink-packet-info" => option(libc::NETLINK_PKTINFO),
        "netlink-strict-check" => option(libc::NETLINK_GET_STRICT_CHK),
        "socket-netlink" => (libc::SYS_socket, Some(equal(0, libc::AF_NETLINK))),

        "bind" => (libc::SYS_bind, None),
        "chdir" => (libc::SYS_chdir, None),
        "clone" => (libc::SYS_clone, None),
        "clone3" => (libc::SYS_clone3, None),
        "close" => (libc::SYS_close, None),
        // Of a thread.
        "exit" => (libc::SYS_exit, None),
        #[cfg(target_arch = "x86_64")]
        "fork" => (libc::SYS_fork, None),
        "fchdir" => (libc::SYS_fchdir, None),
        "fsconfig" => (libc::SYS_fsconfig, None),
        "fsmount" => (libc::SYS_fsmount, None),
        "fsopen" => (libc::SYS_fsopen, None),
        "fstat" => (libc::SYS_fstat, None),
        "mkdirat" => (libc::SYS_mkdirat, None),
        "mknodat" => (libc::SYS_mknodat, None),
        "mount" => (libc::SYS_mount, None),
        "mount_setattr" => (libc::SYS_mount_setattr, None),
        "move_mount" => (libc::SYS_move_mount, None),
        "newfstatat" => (libc::SYS_newfstatat, None),
        #[cfg(target_arch = "x86_64")]
        "open" => (libc::SYS_open, None),
        "open_tree" => (libc::SYS_open_tree, None),
        "openat" => (libc::SYS_openat, None),
        "openat2" => (libc::SYS_openat2, None),
        #[cfg(target_arch = "x86_64")]
        "pipe" => (libc::SYS_pipe, None),
        "pipe2" => (libc::SYS_pipe2, None),
        "pivot_root" => (libc::SYS_pivot_root, None),
        "recvmsg" => (libc::SYS_recvmsg, None),
        "rt_sigprocmask" => (libc::SYS_rt_sigprocmask, None),
        "setns" => (libc::SYS_setns, None),
        "socket" => (libc::SYS_socket, None),
        "umount" | "umount2" => (libc::SYS_umount2, None),
        "unlinkat" => (libc::SYS_unlinkat, None),
        "unshare" => (libc::SYS_unshare, None),
        #[cfg(target_arch = "x86_64")]
        "vfork" => (libc::SYS_vfork, None),
        "wait4" => (libc::SYS_wait4, None),
        "waitid" => (libc::SYS_waitid, None),
        _ => return Err(format!("no system call is called {name}")),
    };
    Ok(Call { number, only })
}

/// From linux/mount.h.
const FSCONFIG_SET_FD: c_int = 5;

/// From linux/pidfd.h.
const PIDFD_GET_PID_NAMESPACE: c_int = 0xff05;
const PIDFD_GET_USER_NAMESPACE: c_int = 0xff09;

/// The flags of `clone`, its first argument.
const fn flags(mask: c_int, value: c_int) -> Condition {
    Condition {
        argument: 0,
        mask,
        value,
    }
}

/// An option that is set, by its number.
const fn option(number: c_int) -> (c_long, Option<Condition>) {
    (libc::SYS_setsockopt, Some(equal(2, number)))
}

const fn equal(argument: u32, value: c_int) -> Condition {
    Condition {
        argument,
        mask: !0,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_number_and_argument() {
        let setns = call("setns-mnt").unwrap();
        let matches = |number, kind: c_int| setns.matches(number, &[7, kind as u64]);
        assert!(matches(libc::SYS_setns, libc::CLONE_NEWNS));
        assert!(!matches(libc::SYS_setns, libc::CLONE_NEWPID));
        assert!(!matches(libc::SYS_unshare, libc::CLONE_NEWNS));
        assert!(call("chdir").unwrap().matches(libc::SYS_chdir, &[0]));
        assert!(call("settns").is_err());
    }
}
