//! `race`: swaps two names continuously.

#![allow(
    unsafe_code,
    reason = "a system call that nix wraps for glibc only, and not every musl has"
)]

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// Swaps `a` and `b` until dismissed, then prints `swaps N`, and leaves both as they were.
///
/// If a swap fails, for example because a mount is there at that moment, it is not counted and is tried again. After each swap another
/// process that waits for this CPU comes first, or else the calls that race would be slow on a busy machine.
pub(crate) fn run(a: &str, b: &str) -> Outcome {
    die_with_parent()?;
    let (a, b) = (&CString::new(a)?, &CString::new(b)?);
    // The first two are a trial: names that cannot be swapped at all are an error.
    swap(a, b)?;
    swap(a, b)?;
    say("ready")?;
    let dismissed = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = until_dismissed();
            dismissed.store(true, Ordering::Relaxed);
        });
        swap_until(a, b, &dismissed)
    });
    say(&format!("swaps {swaps}"))
}

fn swap_until(a: &CStr, b: &CStr, dismissed: &AtomicBool) -> u64 {
    let mut swaps: u64 = 0;
    let mut swapped = false;
    loop {
        if swap(a, b).is_ok() {
            swaps = swaps.saturating_add(1);
            swapped = !swapped;
        }
        if dismissed.load(Ordering::Relaxed) {
            break;
        }
        std::thread::yield_now();
    }
    if swapped && swap(a, b).is_ok() {
        swaps = swaps.saturating_add(1);
    }
    swaps
}

fn swap(a: &CStr, b: &CStr) -> nix::Result<()> {
    // SAFETY: two C strings that live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            a.as_ptr(),
            libc::AT_FDCWD,
            b.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    Errno::result(answer).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn both_names_end_where_they_began() {
        let directory = std::env::temp_dir().join(format!("linx_race_{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let [a, b] = ["a", "b"].map(|name| {
            let path = directory.join(name);
            std::fs::write(&path, name).unwrap();
            CString::new(path.into_os_string().into_vec()).unwrap()
        });
        let dismissed = AtomicBool::new(true);
        let swaps = swap_until(&a, &b, &dismissed);
        let contents = std::fs::read_to_string(directory.join("a")).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((swaps, contents.as_str()), (2, "a"));
    }
}
