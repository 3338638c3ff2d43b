//! `umount2(2)` and `pivot_root(2)`, neither of which takes descriptors.

use std::ffi::{CStr, CString, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::mount::{MntFlags, umount2};

use super::error::{At, Error, Stage};
use super::namespace::{Descriptors, Directories, Namespace};
use super::resolve::{Path, split};
use super::target::{Found, Target};
use super::{Call, enter, prepare};
use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::throwaway::{self, Throwaway};

/// Unmounts the topmost mount at a path.
///
/// * `namespace`, `target`: the mount namespace and the mount point.
/// * `flags`: `MNT_DETACH`, `MNT_FORCE`.
///
/// # Errors
/// [`Stage::Thread`]. The call itself: the stages of the namespace; [`Stage::Target`]; [`Stage::Umount`], with EINVAL if nothing is
/// mounted at that very path.
pub fn umount(namespace: Namespace, target: Path, flags: c_int) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let Path { path, follow } = &target;
        if flags & libc::MNT_DETACH == 0 {
            let root = enter(thread, namespace)?;
            let (directory, name) = split(path).at_path(Stage::Umount, path)?;
            let directory = root
                .find(&directory, *follow)
                .at_path(Stage::Target, path)?;
            let unmount_there = || {
                thread.check_wanted().at(Stage::Umount)?;
                unmount(&name, flags | libc::UMOUNT_NOFOLLOW).at_path(Stage::Umount, path)
            };
            return thread
                .in_directory(directory.as_fd(), unmount_there)
                .at_path(Stage::Target, path)?;
        }
        let (mut route, descriptors) =
            prepare(thread, &Directories::default(), Namespace::Host, namespace)?;
        let root = route.enter_target(thread)?;
        let found = root.find(path, *follow).at_path(Stage::Target, path)?;
        descriptors.enter(thread).at(Stage::Umount)?;
        thread.check_wanted().at(Stage::Umount)?;
        unmount(&name_of(found.as_fd())?, flags).at_path(Stage::Umount, path)
    })
    .at(Stage::Thread)
}

/// Makes the mount at `new_root` the root of a mount namespace, and moves the old root to `put_old`.
///
/// * `new_root`: a mount point.
/// * `put_old`: a path at or below `new_root`, as it is before the change.
///
/// # Errors
/// [`Stage::Thread`]. The call itself: the stages of the namespace; [`Stage::NewRoot`]; [`Stage::PutOld`], [`Stage::Create`];
/// [`Stage::PivotRoot`].
pub fn pivot_root(new_root: Path, put_old: Target) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let (mut route, descriptors) = prepare(
            thread,
            &Directories::default(),
            Namespace::Host,
            put_old.namespace,
        )?;
        let root = route.enter_target(thread)?;
        let new = root
            .find(&new_root.path, new_root.follow)
            .at_path(Stage::NewRoot, &new_root.path)?;
        let (at, create) = (put_old.at, put_old.create);
        let old = Found::find_or_create(thread, root, &at, create, Stage::PutOld)?;
        descriptors.enter(thread).at(Stage::PivotRoot)?;
        thread.check_wanted().at(Stage::PivotRoot)?;
        let (new, put) = (name_of(new.as_fd())?, name_of(old.file.as_fd())?);
        check(nix::unistd::pivot_root(new.as_c_str(), put.as_c_str()))
            .at_path(Stage::PivotRoot, &new_root.path)?;
        old.keep();
        Ok(())
    })
    .at(Stage::Thread)
}

/// Detaches the mount of a descriptor, and what a container has mounted on top of it meanwhile.
///
/// `umount2(2)` detaches the topmost mount at a path. It fails when the mount of the descriptor itself is detached.
pub(super) fn detach(
    thread: &Throwaway<'_>,
    descriptors: &Descriptors,
    mount: BorrowedFd<'_>,
) -> Result<(), Errno> {
    descriptors.enter(thread)?;
    let name = number(mount)?;
    while unmount(&name, libc::MNT_DETACH).is_ok() {}
    Ok(())
}

/// Detaches the topmost mount on the working directory.
pub(super) fn detach_working_directory() {
    // The result does not matter, because the caller is gone.
    let _ = unmount(c".", libc::MNT_DETACH);
}

fn unmount(name: &CStr, flags: c_int) -> Result<(), Errno> {
    check(umount2(name, MntFlags::from_bits_retain(flags)))
}

/// Returns the name of a descriptor in the folder of descriptors.
fn name_of(file: BorrowedFd<'_>) -> Result<CString, Error> {
    number(file).at(Stage::Target)
}

fn number(file: BorrowedFd<'_>) -> Result<CString, Errno> {
    Ok(c_string(file.as_raw_fd().to_string().as_bytes())?)
}
