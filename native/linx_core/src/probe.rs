//! Panics where only this crate can make one, so that the tests can show that they stay in Rust, and a way for other bugs
//! to get there.

#![allow(clippy::panic, reason = "it is what this module is for")]

use crate::error::Errno;
use crate::throwaway::{self, Pending};

/// Panics in a throwaway thread whose caller waits for it, after it went elsewhere.
///
/// # Errors
/// As any call that needs the thread.
pub fn panic_in_thread() -> Result<(), Errno> {
    throwaway::run(|thread| {
        thread.unshare_fs()?;
        thread.change_directory(c"/proc")?;
        panic!("probe: in the thread")
    })?
}

/// Panics in a throwaway thread that is on its own, after it went elsewhere.
///
/// # Errors
/// As any call that needs the thread.
pub fn panic_in_pending() -> Result<Pending<Result<(), Errno>>, Errno> {
    throwaway::spawn(|thread| {
        thread.unshare_fs()?;
        thread.change_directory(c"/proc")?;
        panic!("probe: in the pending call")
    })
}

/// Panics in the child of a thread that is elsewhere already.
///
/// # Errors
/// As any call that needs the thread and the child.
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
/// As any call that needs the thread.
pub fn in_thread<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    throwaway::run(|_| f())
}
