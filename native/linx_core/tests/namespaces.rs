//! Tests the public functions on the namespaces of a thread of this process. Needs root.

// A system call that no crate wraps.
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(
    clippy::disallowed_methods,
    reason = "the threads of a container are its own"
)]

use std::ffi::{CStr, CString, c_ulong};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use linx_core::mount::{self, Namespaces, Request};
use linx_core::{Error, Stage, netlink};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};

/// A thread in mount and network namespaces of its own, until dropped.
struct Container {
    task: PathBuf,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Container {
    fn start() -> Self {
        let (ready, is_ready) = channel();
        let (end, ended) = channel::<()>();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
                .expect("namespaces take root: run the tests with sudo");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&CStr>, c"/", None::<&CStr>, private, None::<&CStr>).unwrap();
            ready.send(nix::unistd::gettid()).unwrap();
            let _ = ended.recv();
        });
        let tid = is_ready.recv().expect("the container starts");
        let task = format!("/proc/{}/task/{tid}", std::process::id()).into();
        Self {
            task,
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn namespace(&self, kind: &str) -> CString {
        c_string(&self.task.join("ns").join(kind))
    }

    fn mounts(&self, at: &Path) -> Vec<String> {
        mounts(&self.task, at)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.end.take());
        self.thread
            .take()
            .map(JoinHandle::join)
            .transpose()
            .unwrap();
    }
}

/// Returns the file systems that are mounted at a path, as a thread sees them.
fn mounts(task: &Path, at: &Path) -> Vec<String> {
    let info = fs::read_to_string(task.join("mountinfo")).unwrap();
    let here = info
        .lines()
        .filter(|line| line.split(' ').nth(4) == at.to_str());
    here.map(|line| {
        line.split(" - ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .into()
    })
    .collect()
}

fn c_string(path: &Path) -> CString {
    CString::new(path.to_str().unwrap()).unwrap()
}

/// An empty folder, until dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linx_core-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn request(source: &CStr, target: &CStr, fstype: &CStr, flags: c_ulong) -> Request {
    Request {
        source: source.into(),
        target: target.into(),
        fstype: fstype.into(),
        flags,
        data: CString::default(),
    }
}

/// Waits for the result of a call.
fn result(call: Result<mount::Call, Error>) -> Result<(), Error> {
    call?.join().unwrap()
}

/// Returns the inode of the network namespace of a socket: `ioctl(SIOCGSKNS)`.
fn namespace_of(socket: &OwnedFd) -> u64 {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: an open descriptor; the request has no further argument.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    assert_ne!(fd, -1, "{}", std::io::Error::last_os_error());
    // SAFETY: the call succeeded, so this is a new descriptor without another owner.
    let file = fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    file.metadata().unwrap().ino()
}

fn failed(result: Result<(), Error>) -> (Stage, i32) {
    let error = result.unwrap_err();
    (error.stage, error.errno.raw())
}

#[test]
fn a_socket_is_in_the_namespace_of_the_path_and_keeps_it() {
    let container = Container::start();
    let path = container.namespace("net");
    let there = fs::metadata(container.task.join("ns/net")).unwrap().ino();
    let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();

    let socket = netlink::open_in_netns(path.as_bytes(), libc::NETLINK_ROUTE).unwrap();
    drop(container);
    assert_ne!(there, own);
    assert_eq!(namespace_of(&socket), there);
    assert_eq!(fs::metadata("/proc/thread-self/ns/net").unwrap().ino(), own);
    netlink::bind(socket.as_raw_fd(), 1).unwrap();
    assert_eq!(
        netlink::bind(socket.as_raw_fd(), 2).unwrap_err().raw(),
        libc::EINVAL
    );
}

#[test]
fn a_mount_is_made_only_in_the_namespace_of_the_path() {
    let (container, folder) = (Container::start(), Folder::new("mount"));
    let (target, namespace) = (c_string(&folder.0), container.namespace("mnt"));
    let there = Namespaces {
        mount: namespace.clone(),
        pid: None,
    };
    let own = Path::new("/proc/thread-self");

    let tmpfs = request(c"x", &target, c"tmpfs", 0);
    result(mount::mount_in(tmpfs, there, false)).unwrap();
    assert_eq!(container.mounts(&folder.0), ["tmpfs"]);
    assert!(mounts(own, &folder.0).is_empty());

    let umount = || mount::umount_in(target.clone(), 0, namespace.clone());
    result(umount()).unwrap();
    assert!(container.mounts(&folder.0).is_empty());
    assert_eq!(failed(result(umount())), (Stage::Umount, libc::EINVAL));
}

#[test]
fn a_procfs_and_a_tmpfs_are_mounted_as_seen_from_a_pid_namespace() {
    let (container, folder) = (Container::start(), Folder::new("procfs"));
    let (target, mnt, pid) = (
        c_string(&folder.0),
        container.namespace("mnt"),
        container.namespace("pid"),
    );
    let there = Namespaces {
        mount: mnt,
        pid: Some(pid),
    };

    for fstype in [c"proc", c"tmpfs"] {
        let request = request(c"", &target, fstype, 0);
        result(mount::mount_in(request, there.clone(), false)).unwrap();
    }
    assert_eq!(container.mounts(&folder.0), ["proc", "tmpfs"]);
}

#[test]
fn a_device_is_bound_onto_a_file_that_is_made_for_it() {
    let (container, folder) = (Container::start(), Folder::new("bind"));
    let (mnt, directory) = (container.namespace("mnt"), c_string(&folder.0));
    let there = Namespaces {
        mount: mnt.clone(),
        pid: None,
    };
    let tmpfs = request(c"", &directory, c"tmpfs", 0);
    result(mount::mount_in(tmpfs, there.clone(), false)).unwrap();

    let node = folder.0.join("null");
    let bind = |target: &Path, flags| {
        let request = request(c"/dev/null", &c_string(target), c"", flags);
        result(mount::mount_in(request, there.clone(), true))
    };
    bind(&node, libc::MS_BIND).unwrap();
    assert_eq!(container.mounts(&node).len(), 1);
    assert!(!node.exists());
    assert_eq!(
        failed(bind(&folder.0, libc::MS_BIND)),
        (Stage::Mount, libc::ENOTDIR)
    );
    assert_eq!(
        failed(bind(Path::new("/no/x"), libc::MS_BIND)),
        (Stage::Create, libc::ENOENT)
    );
}

#[test]
fn the_root_of_a_namespace_is_changed() {
    let (container, folder) = (Container::start(), Folder::new("pivot"));
    let (mnt, root) = (container.namespace("mnt"), c_string(&folder.0));
    let there = Namespaces {
        mount: mnt.clone(),
        pid: None,
    };
    let tmpfs = request(c"", &root, c"tmpfs", 0);
    result(mount::mount_in(tmpfs, there, false)).unwrap();

    result(mount::pivot_root(root, c".".into(), Some(mnt.clone()))).unwrap();
    result(mount::umount_in(c"/".into(), libc::MNT_DETACH, mnt)).unwrap();
    assert_eq!(
        fs::read_dir(container.task.join("root")).unwrap().count(),
        0
    );
    assert!(Path::new("/proc").exists());
}
