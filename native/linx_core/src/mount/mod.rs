//! `mount(2)`, `umount2(2)` and `pivot_root(2)`, in the caller's mount namespace or in another one.
//!
//! A call in another namespace looks names up there. They may lead into a file system of a container, which may never answer. So the
//! call runs on a thread that owns all that it needs. Its caller gets a [`Pending`], and waits as long as it likes.

mod attach;
mod procfs;
mod request;
mod target;

use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::{MntFlags, umount2};
use nix::sched::CloneFlags;

use crate::error::{At, Errno, Error, Stage, check};
use crate::namespace::{self, Files};
use crate::throwaway::{self, Pending, Throwaway};

pub use request::Request;

/// The namespaces that a mount is made in.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// The file of the mount namespace, for example `/proc/<pid>/ns/mnt`.
    pub mount: CString,
    /// The file of the PID namespace that the mount is made as seen from, for example `/proc/<pid>/ns/pid`.
    pub pid: Option<CString>,
}

/// A call in another mount namespace.
pub type Call = Pending<Result<(), Error>>;

/// Mounts in the mount namespace of the caller: `mount(2)`. No thread is made.
///
/// * `request`: the arguments of `mount(2)`.
/// * `create_target`: resolves the target first, and makes an empty regular file of mode 0644 if it does not exist. No part of the
///   path may be a symbolic link or leave the root, and a bind or a procfs of a PID namespace goes onto the very file that was
///   found or made.
///
/// # Errors
/// [`Create`](Stage::Create) with `create_target`: ELOOP for a link, EXDEV for a path that leaves the root.
/// [`Mount`](Stage::Mount), with E2BIG for `data` that does not fit into a page.
pub fn mount(request: &Request, create_target: bool) -> Result<(), Error> {
    let wanted = || Ok(());
    let target = find_target(request, create_target, wanted)?;
    request.mount(target.as_ref(), wanted).at(Stage::Mount)
}

/// Mounts in other namespaces, on a thread.
///
/// * `request`, `create_target`: see [`mount()`].
/// * `namespaces`: the namespaces to enter.
///
/// # Errors
/// [`Thread`](Stage::Thread). The call itself, in this order: [`Unshare`](Stage::Unshare), [`OpenNs`](Stage::OpenNs),
/// [`Setns`](Stage::Setns); [`Create`](Stage::Create), see [`mount()`]; [`OpenPidns`](Stage::OpenPidns),
/// [`SetnsPid`](Stage::SetnsPid), [`Fork`](Stage::Fork) with a PID namespace; [`Mount`](Stage::Mount), with EIO if a child
/// that mounts was killed.
pub fn mount_in(
    request: Request,
    namespaces: Namespaces,
    create_target: bool,
) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        thread.unshare_fs().at(Stage::Unshare)?;
        let files = Files::new(&namespaces.mount, namespaces.pid.as_deref()).open();
        enter(thread, files.mount)?;
        let wanted = || thread.check_wanted();
        let target = find_target(&request, create_target, wanted)?;
        match files.pid {
            None => request.mount(target.as_ref(), wanted).at(Stage::Mount),
            Some(pid) => mount_as_seen_from(thread, pid, &request, target),
        }
    })
    .at(Stage::Thread)
}

/// Resolves the target if it is to be created.
fn find_target(
    request: &Request,
    create: bool,
    wanted: impl Fn() -> Result<(), Errno>,
) -> Result<Option<OwnedFd>, Error> {
    match create {
        true => target::resolve_or_create(&request.target, wanted)
            .at(Stage::Create)
            .map(Some),
        false => Ok(None),
    }
}

/// Mounts as seen from a PID namespace, which decides what a procfs shows.
fn mount_as_seen_from(
    thread: &Throwaway<'_>,
    pid_namespace: Result<OwnedFd, Errno>,
    request: &Request,
    target: Option<OwnedFd>,
) -> Result<(), Error> {
    let pid_namespace = pid_namespace.at(Stage::OpenPidns)?;
    thread
        .enter(pid_namespace.as_fd(), CloneFlags::CLONE_NEWPID)
        .at(Stage::SetnsPid)?;
    thread.check_can_fork().at(Stage::Fork)?;
    let wanted = || thread.check_wanted();

    if !request.depends_on_pid_namespace() {
        return request.mount(target.as_ref(), wanted).at(Stage::Mount);
    }
    request.check_data().at(Stage::Mount)?;
    if let Some(plan) = procfs::Plan::of(request) {
        match plan.mount(pid_namespace, target.as_ref(), wanted) {
            Ok(()) => return Ok(()),
            Err(procfs::Failure::Failed(errno)) => return Err(errno).at(Stage::Mount),
            Err(procfs::Failure::Unsupported) => {}
        }
    }
    wanted().at(Stage::Mount)?;
    match target {
        // The child mounts on the file that was checked. A procfs has no source that the working directory would change.
        Some(found) if request.is_new_procfs() => thread
            .in_directory(found.as_fd(), || mount_in_child(thread, request, c"."))
            .at(Stage::Mount)?,
        _ => mount_in_child(thread, request, &request.target),
    }
}

/// Mounts at a path, by a child in the PID namespace that the thread has entered.
fn mount_in_child(thread: &Throwaway<'_>, request: &Request, target: &CStr) -> Result<(), Error> {
    thread
        .in_child(|| request.mount_at(target))
        .at(Stage::Fork)?
        .unwrap_or(Err(Errno::from_raw(libc::EIO)))
        .at(Stage::Mount)
}

/// Unmounts in the mount namespace of the caller: `umount2(2)`. No thread is made.
///
/// * `flags`: for example `MNT_DETACH`.
///
/// # Errors
/// [`Umount`](Stage::Umount).
pub fn umount(target: &CStr, flags: c_int) -> Result<(), Error> {
    check(umount2(target, MntFlags::from_bits_retain(flags))).at(Stage::Umount)
}

/// Unmounts in another mount namespace, on a thread.
///
/// * `mount_namespace`: its file.
///
/// # Errors
/// [`Thread`](Stage::Thread). The call itself: [`Unshare`](Stage::Unshare), [`OpenNs`](Stage::OpenNs),
/// [`Setns`](Stage::Setns), [`Umount`](Stage::Umount).
pub fn umount_in(target: CString, flags: c_int, mount_namespace: CString) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        thread.unshare_fs().at(Stage::Unshare)?;
        enter(thread, namespace::open(&mount_namespace))?;
        thread.check_wanted().at(Stage::Umount)?;
        umount(&target, flags)
    })
    .at(Stage::Thread)
}

/// Makes `new_root` the root of a mount namespace and moves the old root to `put_old`: `chdir(new_root)`, then
/// `pivot_root(2)`.
///
/// * `mount_namespace`: its file. `None` is the caller's namespace.
///
/// Always runs on a thread, so that the working directory of the caller does not change. Every process of that namespace whose root
/// is the old one gets the new one, the caller's process included if it is in that namespace.
///
/// # Errors
/// [`Thread`](Stage::Thread). The call itself: [`Unshare`](Stage::Unshare); [`OpenNs`](Stage::OpenNs),
/// [`Setns`](Stage::Setns) with `mount_namespace`; [`Chdir`](Stage::Chdir); [`PivotRoot`](Stage::PivotRoot).
pub fn pivot_root(
    new_root: CString,
    put_old: CString,
    mount_namespace: Option<CString>,
) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        thread.unshare_fs().at(Stage::Unshare)?;
        if let Some(path) = mount_namespace {
            enter(thread, namespace::open(&path))?;
        }
        thread.change_directory(&new_root).at(Stage::Chdir)?;
        thread.check_wanted().at(Stage::PivotRoot)?;
        check(nix::unistd::pivot_root(
            new_root.as_c_str(),
            put_old.as_c_str(),
        ))
        .at(Stage::PivotRoot)
    })
    .at(Stage::Thread)
}

/// Moves the thread, with its root and working directory, into a mount namespace.
fn enter(thread: &Throwaway<'_>, namespace: Result<OwnedFd, Errno>) -> Result<(), Error> {
    let namespace = namespace.at(Stage::OpenNs)?;
    thread
        .enter(namespace.as_fd(), CloneFlags::CLONE_NEWNS)
        .at(Stage::Setns)
}
