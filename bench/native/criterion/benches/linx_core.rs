//! The calls of `linx_core`, by themselves: into the namespaces of a thread of this process. Takes root.

#![allow(missing_docs, reason = "of the function that criterion_group! makes")]
#![allow(
    clippy::disallowed_methods,
    reason = "this program has threads of its own only"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it ends where it cannot measure"
)]

use std::ffi::{CStr, CString};
use std::hint::black_box;
use std::sync::mpsc::{Sender, channel};

use criterion::{Criterion, criterion_group, criterion_main};
use linx_core::mount::{self, Namespaces, Request};
use linx_core::{Error, netlink};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

/// The namespace files of a thread that lives until the sender is dropped.
fn container() -> (Sender<()>, impl Fn(&str) -> CString) {
    let (ready, is_ready) = channel();
    let (end, ended) = channel::<()>();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("run this as root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&CStr>, c"/", None::<&CStr>, private, None::<&CStr>).unwrap();
        ready.send(nix::unistd::gettid()).unwrap();
        let _ = ended.recv();
    });
    let task = is_ready.recv().unwrap();
    let file = move |kind: &str| {
        CString::new(format!(
            "/proc/{}/task/{task}/ns/{kind}",
            std::process::id()
        ))
        .unwrap()
    };
    (end, file)
}

fn sockets(criterion: &mut Criterion) {
    let (_alive, file) = container();
    let net = file("net");
    let open = |path: &[u8]| netlink::open_in_netns(black_box(path), libc::NETLINK_ROUTE);

    criterion.bench_function("open_in_netns and close", |bench| {
        bench.iter(|| open(net.as_bytes()).unwrap());
    });
    // Little more than the thread itself.
    criterion.bench_function("open_in_netns, no file", |bench| {
        bench.iter(|| open(b"/nonexistent").unwrap_err());
    });
}

fn mounts(criterion: &mut Criterion) {
    let (_alive, file) = container();
    let (mnt, pid) = (file("mnt"), file("pid"));
    let there = Namespaces {
        mount: mnt.clone(),
        pid: None,
    };
    let as_seen = Namespaces {
        mount: mnt.clone(),
        pid: Some(pid),
    };

    for (name, fstype, namespaces) in [
        ("tmpfs there and back", c"tmpfs", &there),
        ("procfs in a PID namespace and back", c"proc", &as_seen),
        ("tmpfs in a PID namespace and back", c"tmpfs", &as_seen),
    ] {
        let request = Request {
            source: c"x".into(),
            target: c"/mnt".into(),
            fstype: fstype.into(),
            flags: 0,
            data: c"".into(),
        };
        criterion.bench_function(name, |bench| {
            bench.iter(|| {
                done(mount::mount_in(
                    black_box(request.clone()),
                    namespaces.clone(),
                    false,
                ));
                done(mount::umount_in(c"/mnt".into(), 0, mnt.clone()));
            });
        });
    }
}

/// Waits for a call.
fn done(call: Result<mount::Call, Error>) {
    call.unwrap().join().unwrap().unwrap();
}

criterion_group!(benches, sockets, mounts);
criterion_main!(benches);
