//! `fuse`: a file system of a container that does not answer. The protocol is that of `linux/fuse.h`.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say};

static TAKEN: AtomicUsize = AtomicUsize::new(0);

const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Larger than any request of the kernel, which may write at most a page.
const MAX_REQUEST: usize = 128 * 1024;
const PAGE: u32 = 4096;
const HEADER: usize = 40;

const PARALLEL_DIROPS: u32 = 1 << 18;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const RELEASE: u32 = 18;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const IOCTL: u32 = 39;
const BATCH_FORGET: u32 = 42;

/// From linux/nsfs.h.
const NS_GET_NSTYPE: u32 = 0xb703;
/// The lowest type of namespace.
const CLONE_NEWNS: u32 = libc::CLONE_NEWNS as u32;

/// The answer of the daemon to the kernel's first request.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// The kernel may look up several names of a folder at a time.
    Parallel,
    /// The kernel may look up one name of a folder at a time. While it waits, other look-ups in that folder wait uninterruptibly.
    Serial,
    /// No answer. Look-ups wait as with `Serial`.
    Never,
}

/// Mounts a file system at `folder`, says `ready NUMBER`, the number of its connection, and answers nothing.
///
/// First it answers the kernel's first request, with what `start` lets the kernel do. Then it obeys standard input, in lines, with `ok`: `read` takes
/// requests and leaves them without an answer (`taken` says how many so far), `answer` answers them: there is whatever name is looked up, a regular file if
/// it starts with `file`, else a directory. Every `ioctl(2)` of `file7` returns 7, but the one that asks for the type of a namespace fails if 7 is none. An
/// empty line ends it, and with it all that wait.
pub(crate) fn run(folder: &str, start: Start) -> Outcome {
    die_with_parent()?;
    let mut device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        device.as_raw_fd()
    );
    mount_at(folder, "fuse", &options)?;
    if fs::read_dir(CONNECTIONS)?.next().is_none() {
        mount_at(CONNECTIONS, "fusectl", "")?;
    }
    let parallel = start == Start::Parallel;
    if start != Start::Never {
        let mut files = Files::new(parallel);
        while !files.initialized {
            let request = Request::read(&mut device)?;
            files.answer(&mut device, &request)?;
        }
    }
    say(&format!("ready {}", connection(folder)?))?;

    for line in std::io::stdin().lock().lines() {
        let mut device = device.try_clone()?;
        match line?.as_str() {
            "" => break,
            "read" => thread::spawn(move || {
                while Request::read(&mut device).is_ok() {
                    TAKEN.fetch_add(1, Ordering::Relaxed);
                }
            }),
            "taken" => {
                say(&TAKEN.load(Ordering::Relaxed).to_string())?;
                continue;
            }
            "answer" => thread::spawn(move || Files::new(parallel).serve(&mut device)),
            other => return Err(format!("fuse: what is {other}?").into()),
        };
        say("ok")?;
    }
    Ok(())
}

fn mount_at(target: &str, fstype: &str, options: &str) -> nix::Result<()> {
    let none = MsFlags::empty();
    mount(Some(fstype), target, Some(fstype), none, Some(options))
}

/// Returns the minor number of its device, without a look-up of the folder, which the daemon would have to answer.
fn connection(folder: &str) -> Result<u64, Box<dyn Error>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut devices = mounts.lines().filter_map(|mount| {
        let mut words = mount.split(' ').skip(2);
        let device = words.next()?;
        (words.nth(1)? == folder).then_some(device)
    });
    let device = devices.next_back().ok_or("fuse: not mounted")?;
    let (_, minor) = device.split_once(':').ok_or("fuse: no device")?;
    Ok(minor.parse()?)
}

struct Request {
    opcode: u32,
    id: [u8; 8],
    node: u64,
    rest: Vec<u8>,
}

impl Request {
    fn read(device: &mut File) -> Result<Self, Box<dyn Error>> {
        let mut bytes = vec![0; MAX_REQUEST];
        let length = device.read(&mut bytes)?;
        bytes.truncate(length);
        let field = |at: usize, size: usize| bytes.get(at..at.saturating_add(size));
        let missing = || "fuse: half a request";
        Ok(Self {
            opcode: u32::from_ne_bytes(field(4, 4).ok_or_else(missing)?.try_into()?),
            id: field(8, 8).ok_or_else(missing)?.try_into()?,
            node: u64::from_ne_bytes(field(16, 8).ok_or_else(missing)?.try_into()?),
            rest: bytes.get(HEADER..).ok_or_else(missing)?.to_vec(),
        })
    }
}

/// The names that were looked up, each a node.
#[derive(Default)]
struct Files {
    parallel: bool,
    initialized: bool,
    nodes: HashMap<(u64, Vec<u8>), u64>,
    regular: Vec<u64>,
}

impl Files {
    fn new(parallel: bool) -> Self {
        Self {
            parallel,
            ..Self::default()
        }
    }

    fn serve(&mut self, device: &mut File) {
        while let Ok(request) = Request::read(device) {
            // Fails for a request whose caller was killed.
            let _ = self.answer(device, &request);
        }
    }

    fn answer(&mut self, device: &mut File, request: &Request) -> Outcome {
        let answer = match request.opcode {
            FORGET | INTERRUPT | BATCH_FORGET => return Ok(()),
            INIT => {
                self.initialized = true;
                Ok(init(self.parallel))
            }
            LOOKUP => Ok(self.look_up(request.node, &request.rest)),
            GETATTR => Ok(self.attributes(request.node)),
            OPEN => Ok(vec![0; 16]),
            RELEASE => Ok(Vec::new()),
            IOCTL => self.ioctl(request.node, &request.rest),
            _ => Err(libc::ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (errno.wrapping_neg(), Vec::new()),
        };
        let length = u32::try_from(body.len().saturating_add(16))?;
        let header = [length.to_ne_bytes(), error.to_ne_bytes()].concat();
        // The kernel wants it in one piece.
        device.write_all(&[header, request.id.to_vec(), body].concat())?;
        Ok(())
    }

    /// A `struct fuse_entry_out`, good for ever.
    fn look_up(&mut self, parent: u64, name: &[u8]) -> Vec<u8> {
        // The root is 1.
        let next =
            u64::try_from(self.nodes.len()).map_or(u64::MAX, |count| count.saturating_add(2));
        let node = *self.nodes.entry((parent, name.to_vec())).or_insert(next);
        if name.starts_with(b"file") {
            self.regular.push(node);
        }
        [longs(&[node, 0, u64::MAX, u64::MAX, 0]), self.node(node)].concat()
    }

    /// A `struct fuse_ioctl_out` with the number in the name of the file.
    fn ioctl(&self, node: u64, request: &[u8]) -> Result<Vec<u8>, i32> {
        let command = request.get(12..16).unwrap_or_default();
        let mut names = self.nodes.iter();
        let name = names.find_map(|((_, name), found)| (*found == node).then_some(name));
        let number = name.and_then(|name| {
            let digits = name.strip_prefix(b"file")?.strip_suffix(b"\0")?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        });
        match number {
            Some(number) if number >= CLONE_NEWNS || command != NS_GET_NSTYPE.to_ne_bytes() => {
                Ok(ints(&[number, 0, 0, 0]))
            }
            _ => Err(libc::ENOTTY),
        }
    }

    /// A `struct fuse_attr_out`.
    fn attributes(&self, node: u64) -> Vec<u8> {
        [longs(&[u64::MAX, 0]), self.node(node)].concat()
    }

    /// A `struct fuse_attr`.
    fn node(&self, node: u64) -> Vec<u8> {
        let mode = match self.regular.contains(&node) {
            true => libc::S_IFREG | 0o644,
            false => libc::S_IFDIR | 0o755,
        };
        [
            longs(&[node, 0, 0, 0, 0, 0]),
            ints(&[0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0]),
        ]
        .concat()
    }
}

/// A `struct fuse_init_out` of version 7.31.
fn init(parallel: bool) -> Vec<u8> {
    let flags = if parallel { PARALLEL_DIROPS } else { 0 };
    let mut answer = ints(&[7, 31, 0, flags, 0, PAGE, 1]);
    answer.resize(64, 0);
    answer
}

fn longs(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

fn ints(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_long_as_the_kernel_wants_them() {
        let mut files = Files::default();
        assert_eq!(init(true).len(), 64);
        assert_eq!(files.look_up(1, b"a\0").len(), 128);
        assert_eq!(files.attributes(1).len(), 104);
    }

    #[test]
    fn a_name_is_a_node() {
        let mut files = Files::default();
        let folder = files.look_up(1, b"a\0");
        assert_eq!(files.look_up(1, b"a\0"), folder);
        assert_ne!(files.look_up(2, b"a\0"), folder);
        let file = files.look_up(1, b"file\0");
        let mode = |entry: &[u8]| u32::from_ne_bytes(entry[100..104].try_into().unwrap());
        assert_eq!(mode(&folder) & libc::S_IFMT, libc::S_IFDIR);
        assert_eq!(mode(&file) & libc::S_IFMT, libc::S_IFREG);
    }
}
