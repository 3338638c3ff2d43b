//! `seccomp`: runs a command for which some system calls fail.

#![allow(unsafe_code, reason = "seccomp(2) with a filter")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{c_long, c_ulong, sock_filter, sock_fprog};

use crate::calls::{Call, Condition, call};
use crate::{Outcome, errno};

/// Replaces this process by `command`, for which the system calls named in `rules` fail.
pub(crate) fn run(rules: &str, command: &[&str]) -> Outcome {
    let (program, arguments) = command.split_first().ok_or("seccomp: no command")?;
    let rules: Vec<Rule> = rules
        .split(',')
        .map(Rule::parse)
        .collect::<Result<_, _>>()?;
    install(&filter(&rules)?, 0)?;
    let error = Command::new(program).args(arguments).exec();
    Err(format!("{program}: {error}").into())
}

/// One system call, and the action of the kernel for it: a `SECCOMP_RET_`.
#[derive(Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) call: Call,
    pub(crate) action: u32,
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, errno) = text
            .split_once('=')
            .ok_or_else(|| format!("{text}: no errno"))?;
        let errno = u16::try_from(errno::parse(errno)?).map_err(|_| format!("{text}: errno"))?;
        Ok(Self {
            call: call(name)?,
            action: libc::SECCOMP_RET_ERRNO | u32::from(errno),
        })
    }
}

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

// Offsets in `struct seccomp_data`. An argument has its lower half first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;

/// Returns the program that the kernel runs before each system call.
pub(crate) fn filter(rules: &[Rule]) -> Result<Vec<sock_filter>, Box<dyn std::error::Error>> {
    let mut program = vec![
        load(ARCH),
        unless_equal(AUDIT_ARCH, 1),
        // Skips the next instruction.
        step(libc::BPF_JMP | libc::BPF_JA, 1),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    for Rule { call, action } in rules {
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
        program.push(answer(*action));
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

/// Skips `skip` instructions unless the loaded value is `value`.
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

/// Sets the filter for this thread and whatever it starts; with these `SECCOMP_FILTER_FLAG_`, one of which gives a
/// descriptor.
pub(crate) fn install(filter: &[sock_filter], flags: c_ulong) -> io::Result<c_long> {
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // Without CAP_SYS_ADMIN the kernel requires PR_SET_NO_NEW_PRIVS. With it that is not set, so
    // programs like setpriv(1) work under the filter.
    set_filter(&program, flags).or_else(|_| {
        nix::sys::prctl::set_no_new_privs()?;
        set_filter(&program, flags)
    })
}

fn set_filter(program: &sock_fprog, flags: c_ulong) -> io::Result<c_long> {
    let (mode, program) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::from_ref(program));
    // SAFETY: `program` and the steps it points to are read during the call, never written.
    match unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, program) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use libc::c_int;

    use super::*;

    /// Returns the program's action for a system call.
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
