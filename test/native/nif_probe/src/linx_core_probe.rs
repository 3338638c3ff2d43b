//! Panics in places that only this crate reaches, and a way to run other faulty code there. The tests use them to show that a panic
//! does not leave Rust.

#![allow(clippy::panic, reason = "it is what this module is for")]

use crate::error::Errno;
use crate::throwaway::{self, Pending};

/// Panics in a throwaway thread whose caller waits for it, after the thread entered a namespace.
///
/// # Errors
/// The errors of making a thread.
pub fn panic_in_thread() -> Result<(), Errno> {
    throwaway::run(|thread| {
        thread.unshare_fs()?;
        thread.change_directory(c"/proc")?;
        panic!("probe: in the thread")
    })?
}

/// Panics in a throwaway thread whose caller need not wait for it, after the thread entered a namespace.
///
/// # Errors
/// The errors of making a thread.
pub fn panic_in_pending() -> Result<Pending<Result<(), Errno>>, Errno> {
    throwaway::spawn(|thread| {
        thread.unshare_fs()?;
        thread.change_directory(c"/proc")?;
        panic!("probe: in the pending call")
    })
}

/// Panics in the child of a throwaway thread that has entered a namespace.
///
/// # Errors
/// The errors of making a thread or a child.
pub fn panic_in_child() -> Result<(), Errno> {
    throwaway::run(|thread| {
        thread.unshare_fs()?;
        thread.change_directory(c"/proc")?;
        thread.in_child(|| panic!("probe: in the child")).map(drop)
    })?
}

/// Runs `f` in a throwaway thread.
///
/// # Errors
/// The errors of making a thread.
pub fn in_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    throwaway::run(|_| f())
}
