use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use nix::sys::stat::fstat;

use super::*;

fn process() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn end(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

fn file(process: u32, kind: &str) -> CString {
    CString::new(format!("/proc/{process}/ns/{kind}")).unwrap()
}

fn inode(file: &OwnedFd) -> u64 {
    fstat(file).unwrap().st_ino
}

#[test]
fn files_of_one_directory_share_a_handle_and_others_do_not() {
    let shares = |mount: &CStr, pid: &CStr| Files::new(mount, Some(pid)).shared.is_some();
    assert!(shares(c"/proc/7/ns/mnt", c"/proc/7/ns/pid"));
    assert!(shares(c"./mnt", c"./pid"));
    assert!(!shares(c"/proc/7/ns/mnt", c"/proc/8/ns/pid"));
    assert!(!shares(c"/proc/7/ns/", c"/proc/7/ns/"));
    assert!(!shares(c"mnt", c"pid"));
    assert!(!shares(c"/mnt", c""));
}

#[test]
fn with_or_without_a_common_handle_the_same_files_are_opened() {
    let own = |kind| fs_inode(&format!("/proc/self/ns/{kind}"));
    for pid in [c"/proc/self/ns/pid", c"/proc/self//ns/pid"] {
        let opened = Files::new(c"/proc/self/ns/mnt", Some(pid)).open();
        assert_eq!(inode(&opened.mount.unwrap()), own("mnt"));
        assert_eq!(inode(&opened.pid.unwrap().unwrap()), own("pid"));
    }
}

fn fs_inode(path: &str) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn a_missing_directory_is_the_error_of_both_files() {
    let opened = Files::new(c"/proc/self/nothing/mnt", Some(c"/proc/self/nothing/pid")).open();
    assert_eq!(opened.mount.unwrap_err().raw(), libc::ENOENT);
    assert_eq!(opened.pid.unwrap().unwrap_err().raw(), libc::ENOENT);
}

#[test]
fn a_path_that_is_too_long_as_a_whole_is_refused_as_such() {
    let long = |name: &str| CString::new(format!("{}{name}", "./".repeat(2046))).unwrap();
    let opened = Files::new(&long("/etc/mnt"), Some(&long("/etc/pid"))).open();
    assert_eq!(opened.mount.unwrap_err().raw(), libc::ENAMETOOLONG);
}

#[test]
fn a_fifo_does_not_block() {
    let path = std::env::temp_dir().join(format!("linx_core-fifo-{}", std::process::id()));
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    let opened = open(&CString::new(path.to_str().unwrap()).unwrap());
    std::fs::remove_file(&path).unwrap();
    opened.unwrap();
}

#[test]
fn descriptors_are_close_on_exec() {
    let opened = Files::new(c"/proc/self/ns/mnt", Some(c"/proc/self/ns/pid")).open();
    for file in [opened.mount.unwrap(), opened.pid.unwrap().unwrap()] {
        let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
    }
}

/// A process ends and its pid is reused, between the look-ups of its two files.
#[test]
fn a_reused_pid_does_not_mix_two_processes() {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

    let first = process();
    let pid = first.id();
    let (mount, pid_file) = (file(pid, "mnt"), file(pid, "pid"));
    let directory = Directory::of_both(&mount, &pid_file).unwrap();
    let handle = directory.handle().unwrap();
    directory.open_in(&handle).mount.unwrap();
    end(first);

    // Another program may take the pid, so this repeats until it gets it.
    let second = loop {
        std::fs::write(LAST_PID, (pid - 1).to_string())
            .expect("the next pid is chosen as root, with CAP_SYS_ADMIN in the PID namespace");
        let candidate = process();
        if candidate.id() == pid {
            break candidate;
        }
        end(candidate);
    };

    let by_name = directory.open();
    let by_handle = directory.open_in(&handle);
    end(second);
    by_name.pid.unwrap().unwrap();
    let gone = [libc::ENOENT, libc::ESRCH];
    assert!(gone.contains(&by_handle.mount.unwrap_err().raw()));
    assert!(gone.contains(&by_handle.pid.unwrap().unwrap_err().raw()));
}
