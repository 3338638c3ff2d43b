//! `seccomp`: a command for which some system calls fail.

#![allow(unsafe_code, reason = "prctl(2) with a filter")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{c_int, c_long, sock_filter, sock_fprog};

use crate::{Outcome, errno};

/// Replaces this process by `command`, for which the system calls named in `rules` fail.
pub(crate) fn run(rules: &str, command: &[&str]) -> Outcome {
    let (program, arguments) = command.split_first().ok_or("seccomp: no command")?;
    let rules: Vec<Rule> = rules
        .split(',')
        .map(Rule::parse)
        .collect::<Result<_, _>>()?;
    install(&filter(&rules)?)?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("{program}: {error}").into())
}

/// One system call that is to fail.
#[derive(Debug, PartialEq)]
struct Rule {
    call: Call,
    errno: u16,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    number: c_long,
    only: Option<Condition>,
}

/// Fails only those calls whose argument, as far as `mask` goes, is `value`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Condition {
    argument: u32,
    mask: c_int,
    value: c_int,
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, errno) = text
            .split_once('=')
            .ok_or_else(|| format!("{text}: no errno"))?;
        let call = call(name).ok_or_else(|| format!("no system call is called {name}"))?;
        let errno = u16::try_from(errno::parse(errno)?).map_err(|_| format!("{text}: errno"))?;
        Ok(Self { call, errno })
    }
}

fn call(name: &str) -> Option<Call> {
    let (number, only) = match name {
        // Narrowed down, since the BEAM needs the rest to start.
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
        "socket-netlink" => (libc::SYS_socket, Some(equal(0, libc::AF_NETLINK))),

        "bind" => (libc::SYS_bind, None),
        "chdir" => (libc::SYS_chdir, None),
        "clone" => (libc::SYS_clone, None),
        "clone3" => (libc::SYS_clone3, None),
        "close" => (libc::SYS_close, None),
        #[cfg(target_arch = "x86_64")]
        "fork" => (libc::SYS_fork, None),
        "fsconfig" => (libc::SYS_fsconfig, None),
        "fsmount" => (libc::SYS_fsmount, None),
        "fsopen" => (libc::SYS_fsopen, None),
        "mount" => (libc::SYS_mount, None),
        "mount_setattr" => (libc::SYS_mount_setattr, None),
        "move_mount" => (libc::SYS_move_mount, None),
        "open_tree" => (libc::SYS_open_tree, None),
        "openat" => (libc::SYS_openat, None),
        "openat2" => (libc::SYS_openat2, None),
        #[cfg(target_arch = "x86_64")]
        "pipe" => (libc::SYS_pipe, None),
        "pipe2" => (libc::SYS_pipe2, None),
        "pivot_root" => (libc::SYS_pivot_root, None),
        "rt_sigprocmask" => (libc::SYS_rt_sigprocmask, None),
        "setns" => (libc::SYS_setns, None),
        "socket" => (libc::SYS_socket, None),
        "umount" | "umount2" => (libc::SYS_umount2, None),
        "unshare" => (libc::SYS_unshare, None),
        #[cfg(target_arch = "x86_64")]
        "vfork" => (libc::SYS_vfork, None),
        "wait4" => (libc::SYS_wait4, None),
        "waitid" => (libc::SYS_waitid, None),
        _ => return None,
    };
    Some(Call { number, only })
}

/// The flags of `clone`, its first argument.
const fn flags(mask: c_int, value: c_int) -> Condition {
    Condition {
        argument: 0,
        mask,
        value,
    }
}

const fn equal(argument: u32, value: c_int) -> Condition {
    Condition {
        argument,
        mask: !0,
        value,
    }
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

// Where `struct seccomp_data` has what; an argument has its lower half first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;

/// The program that the kernel runs before each system call.
fn filter(rules: &[Rule]) -> Result<Vec<sock_filter>, Box<dyn std::error::Error>> {
    let mut program = vec![
        load(ARCH),
        unless_equal(AUDIT_ARCH, 1),
        // Over the next line.
        step(libc::BPF_JMP | libc::BPF_JA, 1),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    for Rule { call, errno } in rules {
        program.push(load(NUMBER));
        let number = u32::try_from(call.number)?;
        if let Some(Condition {
            argument,
            mask,
            value,
        }) = call.only
        {
            let offset = argument
                .saturating_mul(ARGUMENT_SIZE)
                .saturating_add(ARGUMENTS);
            program.extend([
                unless_equal(number, 4),
                load(offset),
                step(
                    libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
                    mask.cast_unsigned(),
                ),
                unless_equal(value.cast_unsigned(), 1),
            ]);
        } else {
            program.push(unless_equal(number, 1));
        }
        program.push(answer(libc::SECCOMP_RET_ERRNO | u32::from(*errno)));
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    Ok(program)
}

fn load(offset: u32) -> sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, action)
}

/// Skips so many steps unless what was loaded is `value`.
fn unless_equal(value: u32, skip: u8) -> sock_filter {
    sock_filter {
        jf: skip,
        ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "BPF codes are 16 bits wide"
)]
const fn step(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn install(filter: &[sock_filter]) -> Outcome {
    let program = sock_fprog {
        len: u16::try_from(filter.len())?,
        filter: filter.as_ptr().cast_mut(),
    };
    // Without CAP_SYS_ADMIN the kernel wants a promise that nobody below gains privileges. With
    // it there is no promise to give, and programs like setpriv(1) work below.
    if set_filter(&program).is_ok() {
        return Ok(());
    }
    nix::sys::prctl::set_no_new_privs()?;
    Ok(set_filter(&program)?)
}

fn set_filter(program: &sock_fprog) -> io::Result<()> {
    let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
    // SAFETY: `program` and the steps it points to are read during the call, never written.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, std::ptr::from_ref(program)) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers to a system call.
    #[allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
    fn judge(program: &[sock_filter], number: c_long, arguments: [u32; 2]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jf, k, .. } = program[at];
            let code = u32::from(code);
            at += 1;
            if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                accumulator = match k {
                    NUMBER => u32::try_from(number).unwrap(),
                    ARCH => AUDIT_ARCH,
                    16 => arguments[0],
                    24 => arguments[1],
                    _ => panic!("load from {k}"),
                };
            } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
                accumulator &= k;
            } else if code == libc::BPF_JMP | libc::BPF_JA {
                at += k as usize;
            } else if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
                at += if accumulator == k { 0 } else { usize::from(jf) };
            } else {
                return k;
            }
        }
    }

    fn program(rules: &str) -> Vec<sock_filter> {
        let rules: Vec<Rule> = rules
            .split(',')
            .map(|rule| Rule::parse(rule).unwrap())
            .collect();
        filter(&rules).unwrap()
    }

    #[test]
    fn plain_rules() {
        let program = program("setns=EPERM,close=5");
        let eperm = libc::SECCOMP_RET_ERRNO | 1;
        assert_eq!(judge(&program, libc::SYS_setns, [3, 0]), eperm);
        assert_eq!(
            judge(&program, libc::SYS_close, [3, 0]),
            libc::SECCOMP_RET_ERRNO | 5
        );
        assert_eq!(
            judge(&program, libc::SYS_openat, [3, 0]),
            libc::SECCOMP_RET_ALLOW
        );
    }

    #[test]
    fn conditions() {
        let program = program("setns-pid=EPERM,clone-process=EAGAIN,clone-thread=ENOMEM");
        let deny = |errno: c_int| libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
        let cases = [
            (libc::SYS_setns, [3, libc::CLONE_NEWPID], deny(libc::EPERM)),
            (
                libc::SYS_setns,
                [3, libc::CLONE_NEWNS],
                libc::SECCOMP_RET_ALLOW,
            ),
            (libc::SYS_clone, [libc::SIGCHLD, 0], deny(libc::EAGAIN)),
            (
                libc::SYS_clone,
                [libc::CLONE_THREAD, 0],
                libc::SECCOMP_RET_ALLOW,
            ),
            (
                libc::SYS_clone,
                [libc::CLONE_THREAD | libc::CLONE_VFORK, 0],
                deny(libc::ENOMEM),
            ),
        ];
        for (number, arguments, answer) in cases {
            assert_eq!(
                judge(&program, number, arguments.map(c_int::cast_unsigned)),
                answer
            );
        }
    }

    #[test]
    fn nonsense() {
        assert!(Rule::parse("setns").is_err());
        assert!(Rule::parse("settns=EPERM").is_err());
        assert!(Rule::parse("setns=-1").is_err());
    }
}
