#![allow(clippy::arithmetic_side_effects)]

use std::cell::Cell;
use std::fs;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use nix::sys::signal::SigSet;
use nix::unistd::{getcwd, getpid, gettid};

use super::*;

/// Runs `f` with no message printed for a panic, as `nif_entry` has it: a backtrace does not fit on these stacks.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    // There is one hook for all the tests that run at the same time.
    static HOOK: Mutex<()> = Mutex::new(());
    let _held = HOOK.lock().unwrap();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    panic::set_hook(hook);
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

fn message(panic: Box<dyn Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .unwrap()
}

#[test]
fn the_closure_runs_on_a_thread_of_this_process_that_ends_with_it() {
    let (pid, tid) = run(|_| (getpid(), gettid())).unwrap();
    assert_eq!(pid, getpid());
    assert_ne!(tid, gettid());
    // The kernel lets go of the memory, and of us, a moment before it lets go of the number.
    while fs::exists(format!("/proc/self/task/{tid}")).unwrap() {
        std::thread::yield_now();
    }
}

#[test]
fn the_child_is_another_process_and_is_reaped() {
    let (here, child) =
        run(|thread| (getpid(), thread.in_child(getpid).unwrap().unwrap())).unwrap();
    assert_eq!(here, getpid());
    assert_ne!(child, getpid());
    assert!(!fs::exists(format!("/proc/{child}")).unwrap());
}

#[test]
fn values_go_in_and_out_of_thread_and_child() {
    let before = Cell::new(1);
    let text = String::from("x");
    let out = run(|thread| {
        before.set(before.get() + 1);
        thread.in_child(|| before.set(before.get() + 1)).unwrap();
        text
    });
    assert_eq!((out.unwrap().as_str(), before.get()), ("x", 3));
}

#[test]
fn a_change_of_directory_stays_on_the_thread() {
    let before = getcwd().unwrap();
    let there = run(|thread| {
        thread.unshare_fs().unwrap();
        thread.change_directory(c"/proc").unwrap();
        getcwd().unwrap()
    });
    assert_eq!(there.unwrap().to_str(), Some("/proc"));
    assert_eq!(getcwd().unwrap(), before);
}

#[test]
fn entering_a_namespace_stays_on_the_thread() {
    let own = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    let file = fs::File::open("/proc/self/ns/net").unwrap();
    run(|thread| thread.enter(file.as_fd(), CloneFlags::CLONE_NEWNET))
        .unwrap()
        .unwrap();
    assert_eq!(own(), before);
}

#[test]
fn the_signal_mask_is_blocked_inside_and_restored_after() {
    let before = SigSet::thread_get_mask().unwrap();
    let inside = run(|_| SigSet::thread_get_mask().unwrap()).unwrap();
    assert!(inside.contains(nix::sys::signal::SIGTERM));
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}

#[test]
fn a_panic_in_the_thread_goes_on_in_the_caller() {
    let before = SigSet::thread_get_mask().unwrap();
    let caught = quietly(|| panic::catch_unwind(|| run(|_| panic!("in the thread"))));
    assert_eq!(message(caught.unwrap_err()), "in the thread");
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}

#[test]
fn a_panic_in_the_child_goes_on_in_the_caller() {
    let caught = quietly(|| {
        panic::catch_unwind(|| run(|thread| thread.in_child(|| panic!("in the child"))))
    });
    assert_eq!(message(caught.unwrap_err()), "in the child");
}

#[test]
fn a_child_that_is_killed_returns_nothing_and_is_reaped() {
    let id = Cell::new(None);
    let returned = run(|thread| {
        thread.in_child(|| {
            id.set(Some(getpid()));
            nix::sys::signal::kill(getpid(), nix::sys::signal::SIGKILL).unwrap();
        })
    });
    assert_eq!(returned, Ok(Ok(None)));
    assert!(!fs::exists(format!("/proc/{}", id.get().unwrap())).unwrap());
}

/// How many bytes of the stack below this frame `f` writes to, of `size` that are looked at.
fn depth(size: usize, f: impl FnOnce()) -> usize {
    const MARK: u8 = 0xa5;
    const OWN_FRAMES: usize = 1024;
    let here = 0_u8;
    let bottom = (&raw const here).cast_mut().wrapping_sub(size);
    let painted = size - OWN_FRAMES;
    for at in 0..painted {
        // SAFETY: of the stack of this thread, below all frames in use; volatile as nothing of it is an object.
        unsafe { bottom.wrapping_add(at).write_volatile(MARK) };
    }
    f();
    // SAFETY: as above.
    let untouched =
        (0..painted).take_while(|&at| unsafe { bottom.wrapping_add(at).read_volatile() } == MARK);
    size - untouched.count()
}

/// The deepest path is a panic that unwinds in the child. A quarter has to stay free, in thread and child.
#[test]
fn the_stacks_are_deep_enough() {
    let sizes = quietly(|| {
        panic::catch_unwind(|| {
            run(|thread| {
                let child = Cell::new(0);
                let all = depth(THREAD_STACK - 8 * 1024, || {
                    thread
                        .in_child(|| {
                            child.set(depth(CHILD_STACK - 4 * 1024, || {
                                let _ = panic::catch_unwind(|| panic!("deep"));
                            }))
                        })
                        .unwrap();
                    let _ = panic::catch_unwind(AssertUnwindSafe(|| {
                        let _ = thread.in_child(|| panic!("deeper"));
                    }));
                });
                (all, child.get())
            })
        })
    });
    let (all, child) = sizes.unwrap().unwrap();
    println!("thread {all} of {THREAD_STACK} bytes, child {child} of {CHILD_STACK}");
    assert!(all < THREAD_STACK * 3 / 4, "thread: {all}");
    assert!(child < CHILD_STACK * 3 / 4, "child: {child}");
}
