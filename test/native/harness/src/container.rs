//! `container`: a process in namespaces of its own, like a container that does nothing.

#![allow(unsafe_code, reason = "fork(2)")]
#![allow(clippy::disallowed_methods, reason = "this program moves itself")]

use std::fs;
use std::io::{PipeReader, Read, Write, pipe};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// Enters the namespaces that `options` name, prints `ready PID`, and stays until dismissed.
pub(crate) fn run(options: &[&str]) -> Outcome {
    let namespaces = parse(options)?;
    let (uid, gid) = (geteuid(), getegid());
    unshare(namespaces)?;
    // After `unshare`: a change of credentials takes the parent-death signal away.
    die_with_parent()?;
    if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    if namespaces.contains(CloneFlags::CLONE_NEWNS) {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    }
    if namespaces.contains(CloneFlags::CLONE_NEWPID) {
        return hold_with_init();
    }
    say(&format!("ready {}", std::process::id()))?;
    until_dismissed()
}

fn parse(options: &[&str]) -> Result<CloneFlags, String> {
    options
        .iter()
        .try_fold(CloneFlags::empty(), |flags, option| {
            Ok(flags
                | match *option {
                    "--net" => CloneFlags::CLONE_NEWNET,
                    "--mount" => CloneFlags::CLONE_NEWNS,
                    "--pid" => CloneFlags::CLONE_NEWPID,
                    "--user" => CloneFlags::CLONE_NEWUSER,
                    other => return Err(format!("container: what is {other}?")),
                })
        })
}

/// Runs a child as the init of the new PID namespace. When it ends, every process of that namespace ends.
fn hold_with_init() -> Outcome {
    let (ready, mut tell) = pipe()?;
    // SAFETY: this program has a single thread, so the child may do what any process may.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(ready);
            die_with_parent()?;
            // Fails if the parent died before the line above: nobody is left to read.
            tell.write_all(b".")?;
            drop(tell);
            reap()
        }
        ForkResult::Parent { child } => {
            drop(tell);
            watch(child, ready)
        }
    }
}

fn watch(init: Pid, mut ready: PipeReader) -> Outcome {
    ready.read_exact(&mut [0])?;
    say(&format!("ready {init}"))?;
    until_dismissed()?;
    kill(init, Signal::SIGKILL)?;
    // The kernel reports the end of an init after that of every other process of its namespace.
    waitpid(init, None)?;
    Ok(())
}

/// Acts as an init: reaps orphaned children until it is killed.
fn reap() -> Outcome {
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    child_ended.thread_block()?;
    loop {
        // First collect, then wait: a child may have ended before the signal was blocked.
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        child_ended.wait()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_add_up() {
        assert_eq!(parse(&[]), Ok(CloneFlags::empty()));
        assert_eq!(
            parse(&["--net", "--pid"]),
            Ok(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)
        );
        assert!(parse(&["--uts"]).is_err());
    }
}
