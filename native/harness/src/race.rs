//! `race`: two names that change places all the time.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// Swaps `a` and `b` until dismissed, then says `swaps N` and leaves both as they were.
///
/// A swap that fails (something is mounted there just now) is not counted and tried again.
pub(crate) fn run(a: &str, b: &str) -> Outcome {
    die_with_parent()?;
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

fn swap_until(a: &str, b: &str, dismissed: &AtomicBool) -> u64 {
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
    }
    if swapped && swap(a, b).is_ok() {
        swaps = swaps.saturating_add(1);
    }
    swaps
}

fn swap(a: &str, b: &str) -> nix::Result<()> {
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_end_where_they_began() {
        let directory = std::env::temp_dir().join(format!("linx_race_{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let [a, b] = ["a", "b"].map(|name| {
            let path = directory.join(name);
            std::fs::write(&path, name).unwrap();
            path
        });
        let dismissed = AtomicBool::new(true);
        let swaps = swap_until(a.to_str().unwrap(), b.to_str().unwrap(), &dismissed);
        let contents = std::fs::read_to_string(&a).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((swaps, contents.as_str()), (2, "a"));
    }
}
