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

use crate::thread_kind::{ThreadKind, on_clone, on_pthread};
use crate::{Outcome, syscall, timed, unsupported};

/// Returns the times of `calls` mounts of a tmpfs, and of the unmount after each. `plain` mounts in its own namespace.
pub(crate) fn run(
    thread_kind: ThreadKind,
    calls: usize,
    namespace: &CStr,
    target: &CStr,
) -> Outcome {
    let mut mounts = Vec::with_capacity(calls);
    let mut umounts = Vec::with_capacity(calls);
    for _ in 0..calls {
        mounts.push(done(timed(|| mount_tmpfs(thread_kind, namespace, target)))?);
        umounts.push(done(timed(|| umount(thread_kind, namespace, target)))?);
    }
    Ok(vec![mounts, umounts])
}

/// Returns the times of `calls` mounts of the procfs of a PID namespace, without the unmounts.
pub(crate) fn run_procfs(
    thread_kind: ThreadKind,
    calls: usize,
    mount_namespace: &CStr,
    pid_namespace: &CStr,
    target: &CStr,
) -> Outcome {
    let mut mounts = Vec::with_capacity(calls);
    for _ in 0..calls {
        let mount = || mount_procfs(thread_kind, mount_namespace, pid_namespace, target);
        mounts.push(done(timed(mount))?);
        umount(thread_kind, mount_namespace, target)?;
    }
    Ok(vec![mounts])
}

/// Returns the times of `calls` mounts by descriptor, without the unmounts: of a tmpfs, then of a bind of `/proc`.
pub(crate) fn run_detached(
    thread_kind: ThreadKind,
    calls: usize,
    namespace: &CStr,
    target: &CStr,
) -> Outcome {
    let makes: [fn() -> nix::Result<OwnedFd>; 2] = [syscall::tmpfs, || syscall::copy_of(c"/proc")];
    let mut lines = Vec::with_capacity(makes.len());
    for make in makes {
        let mut mounts = Vec::with_capacity(calls);
        for _ in 0..calls {
            let mount = || mount_detached(thread_kind, make, namespace, target);
            mounts.push(done(timed(mount))?);
            umount(thread_kind, namespace, target)?;
        }
        lines.push(mounts);
    }
    Ok(lines)
}

/// Makes a mount, enters the namespace, and attaches the mount there.
fn mount_detached(
    thread_kind: ThreadKind,
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
    match thread_kind {
        ThreadKind::Clone => Ok(on_clone(mount)??),
        other => unsupported(other),
    }
}

type Done = Result<(), Box<dyn Error>>;

fn done((result, time): (Done, Duration)) -> Result<Duration, Box<dyn Error>> {
    result.map(|()| time)
}

fn mount_tmpfs(thread_kind: ThreadKind, namespace: &CStr, target: &CStr) -> Done {
    let mount = || {
        mount(
            Some(c"tmpfs"),
            target,
            Some(c"tmpfs"),
            MsFlags::empty(),
            None::<&CStr>,
        )
    };
    match thread_kind {
        ThreadKind::Plain => Ok(mount()?),
        ThreadKind::Core => core_mount(c"tmpfs", target, namespace, None),
        other => there(other, namespace, mount),
    }
}

fn umount(thread_kind: ThreadKind, namespace: &CStr, target: &CStr) -> Done {
    let umount = || umount2(target, MntFlags::empty());
    match thread_kind {
        ThreadKind::Plain => Ok(umount()?),
        ThreadKind::Core => join(core::umount_in(target.to_owned(), 0, namespace.to_owned())),
        other => there(other, namespace, umount),
    }
}

fn mount_procfs(
    thread_kind: ThreadKind,
    mount_namespace: &CStr,
    pid_namespace: &CStr,
    target: &CStr,
) -> Done {
    match thread_kind {
        ThreadKind::Clone => Ok(on_clone(|| {
            let pid_namespace = open_namespace(pid_namespace)?;
            enter(mount_namespace)?;
            setns(&pid_namespace, CloneFlags::CLONE_NEWPID)?;
            let procfs = syscall::procfs_of(&pid_namespace)?;
            let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let target = openat(AT_FDCWD, target, path, Mode::empty())?;
            syscall::move_mount(&procfs, &target)
        })??),
        ThreadKind::Core => core_mount(c"proc", target, mount_namespace, Some(pid_namespace)),
        other => unsupported(other),
    }
}

fn there(
    thread_kind: ThreadKind,
    namespace: &CStr,
    call: impl FnOnce() -> nix::Result<()>,
) -> Done {
    match thread_kind {
        ThreadKind::Clone => Ok(on_clone(|| enter(namespace).and_then(|()| call()))??),
        ThreadKind::Pthread => Ok(on_pthread(|| {
            unshare(CloneFlags::CLONE_FS)?;
            enter(namespace)?;
            call()
        })??),
        other => unsupported(other),
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
