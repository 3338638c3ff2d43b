//! `mount(2)`, `umount2(2)` and `pivot_root(2)`, here or in another mount namespace.

mod attach;
mod procfs;
mod request;
mod target;

use std::ffi::{CStr, c_int};
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::{MntFlags, umount2};
use nix::sched::CloneFlags;

use crate::error::{At, Errno, Error, Stage, check};
use crate::namespace::{self, Files};
use crate::throwaway::{self, Throwaway};

pub use request::Request;

/// The namespaces a mount is made in.
#[derive(Clone, Copy, Debug)]
pub struct Namespaces<'a> {
    /// The file of the mount namespace, as `/proc/<pid>/ns/mnt`.
    pub mount: &'a CStr,
    /// The file of the PID namespace from which the mount is to be seen, as `/proc/<pid>/ns/pid`.
    pub pid: Option<&'a CStr>,
}

/// Mounts: `mount(2)`.
///
/// * `request`: what to mount, and where.
/// * `namespaces`: where to do it. `None` is the mount namespace of the caller; no thread is made then.
/// * `create_target`: the target is resolved first, and an empty regular file of mode 0644 is made where there is
///   nothing. No part of the path may be a symbolic link or leave the root, and a bind goes onto the very file that was
///   found or made.
///
/// # Errors
/// In this order: [`Thread`](Stage::Thread), [`Unshare`](Stage::Unshare), [`OpenNs`](Stage::OpenNs),
/// [`Setns`](Stage::Setns) with `namespaces`; [`Create`](Stage::Create) with `create_target` (ELOOP for a link, EXDEV for
/// a path that leaves the root); [`OpenPidns`](Stage::OpenPidns), [`SetnsPid`](Stage::SetnsPid), [`Fork`](Stage::Fork)
/// with a PID namespace; [`Mount`](Stage::Mount), with E2BIG for `data` that does not fit into a page and with EIO if
/// the child that mounts was killed.
pub fn mount(
    request: &Request<'_>,
    namespaces: Option<Namespaces<'_>>,
    create_target: bool,
) -> Result<(), Error> {
    let find_target = || match create_target {
        true => target::resolve_or_create(request.target)
            .at(Stage::Create)
            .map(Some),
        false => Ok(None),
    };

    let Some(Namespaces { mount, pid }) = namespaces else {
        let target = find_target()?;
        return request.mount(target.as_ref()).at(Stage::Mount);
    };

    let files = Files::new(mount, pid);
    let procfs = pid.and_then(|_| procfs::Plan::of(request));
    throwaway::run(|thread| {
        thread.unshare_fs().at(Stage::Unshare)?;
        let files = files.open();
        enter(thread, files.mount)?;
        let target = find_target()?;
        match files.pid {
            None => request.mount(target.as_ref()).at(Stage::Mount),
            Some(pid) => mount_as_seen_from(thread, pid, request, target.as_ref(), procfs.as_ref()),
        }
    })
    .at(Stage::Thread)?
}

/// Mounts as seen from a PID namespace, which decides what a procfs shows.
fn mount_as_seen_from(
    thread: &Throwaway,
    pid_namespace: Result<OwnedFd, Errno>,
    request: &Request<'_>,
    target: Option<&OwnedFd>,
    procfs: Option<&procfs::Plan<'_>>,
) -> Result<(), Error> {
    let pid_namespace = pid_namespace.at(Stage::OpenPidns)?;
    thread
        .enter(pid_namespace.as_fd(), CloneFlags::CLONE_NEWPID)
        .at(Stage::SetnsPid)?;

    // Whatever keeps the way without a process from its end (an older kernel, no descriptor left, a wrong option), the
    // other way has the answer: that of `mount(2)` itself.
    if procfs.is_some_and(|plan| plan.mount(pid_namespace.as_fd(), target).is_ok()) {
        return Ok(());
    }
    let killed = Err(Errno::from_raw(libc::EIO));
    thread
        .in_child(|| request.mount(target))
        .at(Stage::Fork)?
        .unwrap_or(killed)
        .at(Stage::Mount)
}

/// Unmounts: `umount2(2)`.
///
/// * `flags`: as `MNT_DETACH`.
/// * `mount_namespace`: its file. `None` is that of the caller; no thread is made then.
///
/// # Errors
/// [`Thread`](Stage::Thread), [`Unshare`](Stage::Unshare), [`OpenNs`](Stage::OpenNs), [`Setns`](Stage::Setns) with
/// `mount_namespace`; [`Umount`](Stage::Umount).
pub fn umount(target: &CStr, flags: c_int, mount_namespace: Option<&CStr>) -> Result<(), Error> {
    let umount = || check(umount2(target, MntFlags::from_bits_retain(flags))).at(Stage::Umount);

    match mount_namespace {
        None => umount(),
        Some(path) => throwaway::run(|thread| {
            thread.unshare_fs().at(Stage::Unshare)?;
            enter(thread, namespace::open(path))?;
            umount()
        })
        .at(Stage::Thread)?,
    }
}

/// Makes `new_root` the root of a mount namespace and puts the old one at `put_old`: `chdir(new_root)`, then
/// `pivot_root(2)`.
///
/// Always on a thread, so that the working directory of the caller stays; every process of that namespace whose root
/// is the old one moves along, the caller's too if it is its own namespace.
///
/// # Errors
/// [`Thread`](Stage::Thread), [`Unshare`](Stage::Unshare); [`OpenNs`](Stage::OpenNs), [`Setns`](Stage::Setns) with
/// `mount_namespace`; [`Chdir`](Stage::Chdir); [`PivotRoot`](Stage::PivotRoot).
pub fn pivot_root(
    new_root: &CStr,
    put_old: &CStr,
    mount_namespace: Option<&CStr>,
) -> Result<(), Error> {
    throwaway::run(|thread| {
        thread.unshare_fs().at(Stage::Unshare)?;
        if let Some(path) = mount_namespace {
            enter(thread, namespace::open(path))?;
        }
        thread.change_directory(new_root).at(Stage::Chdir)?;
        check(nix::unistd::pivot_root(new_root, put_old)).at(Stage::PivotRoot)
    })
    .at(Stage::Thread)?
}

/// Moves the thread, with its root and working directory, into a mount namespace.
fn enter(thread: &Throwaway, namespace: Result<OwnedFd, Errno>) -> Result<(), Error> {
    let namespace = namespace.at(Stage::OpenNs)?;
    thread
        .enter(namespace.as_fd(), CloneFlags::CLONE_NEWNS)
        .at(Stage::Setns)
}
