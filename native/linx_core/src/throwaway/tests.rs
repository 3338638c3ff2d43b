#![allow(clippy::arithmetic_side_effects)]
// The tests read the stack below its frames.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::fs;
use std::io::stdout;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe, resume_unwind};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getcwd, getpid, getppid, gettid};

#[cfg(target_env = "gnu")]
use super::borrowing::on_own_stack;
use super::borrowing::{run, scoped};
use super::*;
use crate::namespace;

/// Runs `f` without printing a message for a panic, because a backtrace does not fit on these stacks.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    // All tests that run at the same time share one hook.
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

/// Runs `f` on each kind of thread that works with this C library.
fn in_every_way<T: Send + 'static>(f: fn(&Throwaway<'_>) -> T) -> Vec<T> {
    vec![
        #[cfg(target_env = "gnu")]
        on_own_stack(f).unwrap(),
        scoped(f).unwrap(),
        spawn(f).unwrap().join().unwrap(),
    ]
}

#[test]
fn a_closure_runs_on_a_thread_of_this_process_that_ends_with_it() {
    for (pid, tid) in in_every_way(|_| (getpid(), gettid())) {
        assert_eq!(pid, getpid());
        assert_ne!(tid, gettid());
        // The kernel releases the memory, and so the caller, a moment before it frees the thread id.
        while fs::exists(format!("/proc/self/task/{tid}")).unwrap() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_child_is_another_process_and_is_reaped() {
    for child in in_every_way(|thread| thread.in_child(getpid).unwrap().unwrap()) {
        assert_ne!(child, getpid());
        assert!(!fs::exists(format!("/proc/{child}")).unwrap());
    }
}

#[test]
fn a_child_ends_with_its_parent() {
    for signal in in_every_way(|thread| thread.in_child(nix::sys::prctl::get_pdeathsig)) {
        assert_eq!(
            signal.unwrap().unwrap().unwrap(),
            Some(nix::sys::signal::Signal::SIGKILL)
        );
    }
}

/// Runs in a process of its own, in which a child without a parent-death signal kills its parent.
#[test]
fn a_child_is_killed_with_its_tracer() {
    const PROGRAM: &str = "LINX_CORE_CHILD_KILLS_ITS_PARENT";
    const SURVIVED: &[u8] = b"survived";

    if std::env::var_os(PROGRAM).is_none() {
        let name = "throwaway::tests::a_child_is_killed_with_its_tracer";
        let program = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", name])
            .env(PROGRAM, "")
            .output();
        // It ends when both have ended, because both have the other end of the pipe.
        let Output { status, stdout, .. } = program.unwrap();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert!(!stdout.ends_with(SURVIVED));
        return;
    }
    let kill_parent = || {
        set_pdeathsig(None::<Signal>).unwrap();
        while status("TracerPid") == "0" {
            std::thread::yield_now();
        }
        kill(getppid(), Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_secs(10));
        nix::unistd::write(stdout(), SURVIVED).unwrap()
    };
    run(|thread| thread.in_child(kill_parent).unwrap()).unwrap();
}

/// Returns a field of this thread's `status`.
fn status(field: &str) -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap().trim_matches([':', '\t']).to_owned()
}

#[test]
fn a_child_has_every_signal_blocked_that_can_be_blocked() {
    let all_but_kill_and_stop = "fffffffffffbfeff";
    for blocked in in_every_way(|thread| thread.in_child(|| status("SigBlk")).unwrap().unwrap()) {
        assert_eq!(blocked, all_but_kill_and_stop);
    }
}

#[test]
fn a_thread_handles_no_signal_of_the_program() {
    for blocked in in_every_way(|_| SigSet::thread_get_mask().unwrap()) {
        assert!(blocked.contains(nix::sys::signal::SIGTERM));
    }
}

#[test]
fn check_can_fork_makes_no_child() {
    in_every_way(|thread| thread.check_can_fork().unwrap());
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
}

#[test]
fn a_borrowing_thread_and_its_child_share_values_with_the_caller() {
    let before = AtomicI32::new(1);
    let text = String::from("x");
    let out = run(|thread| {
        before.fetch_add(1, Relaxed);
        thread.in_child(|| before.fetch_add(1, Relaxed)).unwrap();
        text
    });
    assert_eq!((out.unwrap().as_str(), before.load(Relaxed)), ("x", 3));
}

#[test]
fn a_change_of_directory_affects_only_the_thread() {
    let before = getcwd().unwrap();
    let there = in_every_way(|thread| {
        thread.unshare_fs().unwrap();
        thread.change_directory(c"/proc").unwrap();
        getcwd().unwrap()
    });
    for there in there {
        assert_eq!(there.to_str(), Some("/proc"));
    }
    assert_eq!(getcwd().unwrap(), before);
}

#[test]
fn entering_a_namespace_affects_only_the_thread() {
    let own = || fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    in_every_way(|thread| {
        let file = fs::File::open("/proc/self/ns/net").unwrap();
        thread
            .enter(file.as_fd(), CloneFlags::CLONE_NEWNET)
            .unwrap();
    });
    assert_eq!(own(), before);
}

#[test]
fn the_signal_mask_of_the_caller_is_as_before() {
    let before = SigSet::thread_get_mask().unwrap();
    in_every_way(|thread| thread.in_child(|| ()).unwrap());
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}

#[test]
fn a_panic_in_a_thread_continues_in_the_caller() {
    let before = SigSet::thread_get_mask().unwrap();
    let panics: [fn() -> Option<()>; 3] = [
        || run(|_| panic!("in the thread")).ok(),
        || scoped(|_| panic!("in the thread")).ok(),
        || spawn(|_| panic!("in the thread")).unwrap().join(),
    ];
    for panics in panics {
        let caught = quietly(|| panic::catch_unwind(panics));
        assert_eq!(message(caught.unwrap_err()), "in the thread");
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }
}

#[test]
fn a_panic_in_a_child_continues_in_the_caller() {
    let caught = quietly(|| {
        panic::catch_unwind(|| run(|thread| thread.in_child(|| panic!("in the child"))))
    });
    assert_eq!(message(caught.unwrap_err()), "in the child");
}

#[test]
fn a_child_that_is_killed_returns_nothing_and_is_reaped() {
    let id = AtomicI32::new(0);
    let returned = run(|thread| {
        thread.in_child(|| {
            id.store(getpid().as_raw(), Relaxed);
            nix::sys::signal::kill(getpid(), nix::sys::signal::SIGKILL).unwrap();
        })
    });
    assert_eq!(returned, Ok(Ok(None)));
    let id = id.load(Relaxed);
    assert_ne!(id, 0);
    assert!(!fs::exists(format!("/proc/{id}")).unwrap());
}

/// Sends SIGSTOP at different moments: before the child is traced, and after.
#[test]
fn a_child_cannot_be_stopped() {
    for pause in 0..100 {
        let stopped = run(|thread| {
            thread.in_child(|| {
                (0..pause * 100).for_each(|_| std::hint::spin_loop());
                nix::sys::signal::kill(getpid(), nix::sys::signal::SIGSTOP).unwrap();
                "went on"
            })
        });
        assert_eq!(stopped, Ok(Ok(Some("went on"))));
    }
}

#[test]
fn a_child_is_traced_by_its_thread() {
    let thread_and_tracer = |thread: &Throwaway<'_>| {
        let tracer = || {
            // The child is traced soon, but not from its start.
            loop {
                match status("TracerPid").parse() {
                    Ok(0) => std::thread::yield_now(),
                    tracer => break tracer.unwrap(),
                }
            }
        };
        let tracer: i32 = thread.in_child(tracer).unwrap().unwrap();
        (gettid().as_raw(), tracer)
    };
    for (thread, tracer) in in_every_way(thread_and_tracer) {
        assert_eq!(thread, tracer);
    }
}

#[test]
fn a_pending_call_has_a_result_when_its_thread_has_ended() {
    let (go_on, may_go_on) = channel::<()>();
    let mut call = spawn(move |_| (may_go_on.recv().is_ok(), gettid())).unwrap();
    assert_eq!(call.wait(Duration::ZERO), None);
    go_on.send(()).unwrap();
    let (received, tid) = loop {
        if let Some(result) = call.wait(Duration::from_secs(1)) {
            break result;
        }
    };
    assert!(received);
    assert_ne!(tid, Pid::from_raw(0));
    assert_eq!(call.wait(Duration::ZERO), None);
}

#[test]
fn a_call_that_is_given_up_leaves_no_memory() {
    let mappings = || {
        fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    let before = mappings();
    for _ in 0..2_000 {
        let (ending, ended) = channel::<()>();
        drop(spawn(move |_| drop(ending)).unwrap());
        // There is no message, only the end of the channel.
        ended.recv().unwrap_err();
    }
    // A stack and its guard are two mappings. The C library keeps a few hundred stacks for reuse.
    assert!(mappings() < before + 2_000);
}

#[test]
fn a_call_is_wanted_until_its_caller_drops_it() {
    let (go_on, may_go_on) = channel::<()>();
    let (tell, told) = channel();
    let call = spawn(move |thread| {
        tell.send(thread.check_wanted()).unwrap();
        let _ = may_go_on.recv();
        tell.send(thread.check_wanted()).unwrap();
    });
    assert_eq!(told.recv().unwrap(), Ok(()));
    drop(call);
    drop(go_on);
    assert_eq!(told.recv().unwrap(), Err(Errno::from_raw(libc::ECANCELED)));
}

#[test]
fn a_call_is_given_up_or_handed_over_but_never_both() {
    let (tell, told) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let late = spawn(move |thread| {
        may_go_on.recv().unwrap();
        tell.send(thread.hand_over()).unwrap();
    });
    assert!(late.unwrap().give_up());
    go_on.send(()).unwrap();
    assert_eq!(told.recv().unwrap(), Err(Errno::from_raw(libc::ECANCELED)));

    let (tell, told) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let early = spawn(move |thread| {
        tell.send(thread.hand_over()).unwrap();
        may_go_on.recv().unwrap();
    });
    assert_eq!(told.recv().unwrap(), Ok(()));
    // It does not wait for the thread, which goes on only afterwards.
    assert!(!early.unwrap().give_up());
    go_on.send(()).unwrap();
}

#[test]
fn a_user_namespace_has_the_given_maps() {
    // A namespace that an ordinary user made has no other id than 0.
    let namespace = spawn(|thread| thread.make_user_namespace(b"5 0 1", b"7 0 1"));
    let namespace = namespace.unwrap().join().unwrap().unwrap();
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&namespace);
    assert_ne!(
        fs::read_link(format!("/proc/self/fd/{number}")).unwrap(),
        own
    );
    assert_eq!(fs::read_link("/proc/thread-self/ns/user").unwrap(), own);

    let refused = spawn(|thread| thread.make_user_namespace(b"0 0", b"0 0 1").map(drop));
    assert_eq!(
        refused.unwrap().join(),
        Some(Err(Errno::from_raw(libc::EINVAL)))
    );
}

#[test]
fn a_thread_can_enter_a_mount_namespace_beside_the_thread_of_a_user_namespace() {
    let entered = spawn(|thread| {
        thread.unshare_fs()?;
        let own = namespace::open(c"/proc/thread-self/ns/mnt")?;
        thread.with_child(|_| thread.enter(own.as_fd(), CloneFlags::CLONE_NEWNS))
    });
    assert_eq!(entered.unwrap().join(), Some(Ok(())));
}

/// Returns how many bytes of the stack below this frame `f` writes to. `size` bytes are checked.
fn depth(size: usize, f: impl FnOnce()) -> usize {
    const MARK: u8 = 0xa5;
    const OWN_FRAMES: usize = 1024;
    let here = 0_u8;
    let bottom = (&raw const here).cast_mut().wrapping_sub(size);
    let painted = size - OWN_FRAMES;
    for at in 0..painted {
        // SAFETY: a byte of this thread's stack, below all frames in use. Volatile, because it belongs to no object.
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
                            child.set(depth(child::STACK - 4 * 1024, || {
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
    println!(
        "thread {all} of {THREAD_STACK} bytes, child {child} of {}",
        child::STACK
    );
    assert!(all < THREAD_STACK * 3 / 4, "thread: {all}");
    assert!(child < child::STACK * 3 / 4, "child: {child}");
}
