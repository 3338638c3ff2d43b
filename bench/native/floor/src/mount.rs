//! `mount` and `procfs`: mounts here, in another mount namespace, and as seen from another PID namespace.

#![allow(
    clippy::disallowed_methods,
    reason = "this program has threads of its own only"
)]

use std::error::Error;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::time::Duration;

use linx_core::mount::{self as core, Namespaces, Request};
use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::how::{How, on_clone, on_pthread};
use crate::{Outcome, senseless, syscall, timed};

/// The times of so many mounts of a tmpfs, and of the unmounts that follow each. `plain` is here, without the namespace.
pub(crate) fn run(how: How, calls: usize, namespace: &CStr, target: &CStr) -> Outcome {
    let mut mounts = Vec::with_capacity(calls);
    let mut umounts = Vec::with_capacity(calls);
    for _ in 0..calls {
        mounts.push(done(timed(|| mount_tmpfs(how, namespace, target)))?);
        umounts.push(done(timed(|| umount(how, namespace, target)))?);
    }
    Ok(vec![mounts, umounts])
}

/// The times of so many mounts of the procfs of a PID namespace; the unmounts are not counted.
pub(crate) fn run_procfs(
    how: How,
    calls: usize,
    mount_namespace: &CStr,
    pid_namespace: &CStr,
    target: &CStr,
) -> Outcome {
    let mut mounts = Vec::with_capacity(calls);
    for _ in 0..calls {
        let mount = || mount_procfs(how, mount_namespace, pid_namespace, target);
        mounts.push(done(timed(mount))?);
        umount(how, mount_namespace, target)?;
    }
    Ok(vec![mounts])
}

/// The times of so many mounts by descriptor: of a tmpfs, then of a bind of `/proc`. The unmounts are not counted.
pub(crate) fn run_detached(how: How, calls: usize, namespace: &CStr, target: &CStr) -> Outcome {
    let makes: [fn() -> nix::Result<OwnedFd>; 2] = [syscall::tmpfs, || syscall::copy_of(c"/proc")];
    let mut lines = Vec::with_capacity(makes.len());
    for make in makes {
        let mut mounts = Vec::with_capacity(calls);
        for _ in 0..calls {
            let mount = || mount_detached(how, make, namespace, target);
            mounts.push(done(timed(mount))?);
            umount(how, namespace, target)?;
        }
        lines.push(mounts);
    }
    Ok(lines)
}

/// Makes a mount, enters the namespace, and attaches the mount there.
fn mount_detached(
    how: How,
    make: fn() -> nix::Result<OwnedFd>,
    namespace: &CStr,
    target: &CStr,
) -> Done {
    let mount = || {
        let mount = make()?;
        enter(namespace)?;
        let target = openat(
            AT_FDCWD,
            target,
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        syscall::move_mount(&mount, &target)
    };
    match how {
        How::Clone => Ok(on_clone(mount)??),
        other => senseless(other),
    }
}

type Done = Result<(), Box<dyn Error>>;

fn done((result, time): (Done, Duration)) -> Result<Duration, Box<dyn Error>> {
    result.map(|()| time)
}

fn mount_tmpfs(how: How, namespace: &CStr, target: &CStr) -> Done {
    let mount = || {
        mount(
            Some(c"tmpfs"),
            target,
            Some(c"tmpfs"),
            MsFlags::empty(),
            None::<&CStr>,
        )
    };
    match how {
        How::Plain => Ok(mount()?),
        How::Core => core_mount(c"tmpfs", target, namespace, None),
        other => there(other, namespace, mount),
    }
}

fn umount(how: How, namespace: &CStr, target: &CStr) -> Done {
    let umount = || umount2(target, MntFlags::empty());
    match how {
        How::Plain => Ok(umount()?),
        How::Core => join(core::umount_in(target.to_owned(), 0, namespace.to_owned())),
        other => there(other, namespace, umount),
    }
}

fn mount_procfs(how: How, mount_namespace: &CStr, pid_namespace: &CStr, target: &CStr) -> Done {
    match how {
        How::Clone => Ok(on_clone(|| {
            let pid_namespace = open_namespace(pid_namespace)?;
            enter(mount_namespace)?;
            setns(&pid_namespace, CloneFlags::CLONE_NEWPID)?;
            let procfs = syscall::procfs_of(&pid_namespace)?;
            let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let target = openat(AT_FDCWD, target, path, Mode::empty())?;
            syscall::move_mount(&procfs, &target)
        })??),
        How::Core => core_mount(c"proc", target, mount_namespace, Some(pid_namespace)),
        other => senseless(other),
    }
}

fn there(how: How, namespace: &CStr, call: impl FnOnce() -> nix::Result<()>) -> Done {
    match how {
        How::Clone => Ok(on_clone(|| enter(namespace).and_then(|()| call()))??),
        How::Pthread => Ok(on_pthread(|| {
            unshare(CloneFlags::CLONE_FS)?;
            enter(namespace)?;
            call()
        })??),
        other => senseless(other),
    }
}

fn enter(namespace: &CStr) -> nix::Result<()> {
    setns(open_namespace(namespace)?, CloneFlags::CLONE_NEWNS)
}

fn open_namespace(path: &CStr) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

fn core_mount(
    fstype: &CStr,
    target: &CStr,
    mount_namespace: &CStr,
    pid_namespace: Option<&CStr>,
) -> Done {
    let request = Request {
        source: fstype.to_owned(),
        target: target.to_owned(),
        fstype: fstype.to_owned(),
        flags: 0,
        data: CString::default(),
    };
    let namespaces = Namespaces {
        mount: mount_namespace.to_owned(),
        pid: pid_namespace.map(CStr::to_owned),
    };
    join(core::mount_in(request, namespaces, false))
}

fn join(call: Result<core::Call, linx_core::Error>) -> Done {
    let result = call.map_err(readable)?.join();
    result.ok_or("joined twice")?.map_err(readable)
}

fn readable(error: linx_core::Error) -> Box<dyn Error> {
    format!("{error:?}").into()
}
