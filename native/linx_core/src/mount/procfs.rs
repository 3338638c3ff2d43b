//! A procfs of another PID namespace, mounted without a process in it.

use std::ffi::{CStr, CString, c_uint};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::request::Request;
use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::syscall::{FsContext, Parameter, has_init, move_mount};

/// What `fsconfig(2)` takes at most as key or text, with its NUL; `mount(2)` takes more.
const LONGEST: usize = 256;

/// A request for a new procfs that the mount API can express to the last bit.
///
/// The API tells `mount(2)` by flag what it tells this way by attribute or option. What it cannot say, because of the
/// length of a text or a flag without a counterpart, has no plan and is left to `mount(2)`.
pub(super) struct Plan<'a> {
    target: &'a CStr,
    source: Option<&'a CStr>,
    options: Vec<(CString, Option<CString>)>,
    superblock: Vec<&'static CStr>,
    attributes: c_uint,
}

impl<'a> Plan<'a> {
    /// The plan for a request, if it is one for procfs that can have one.
    pub(super) fn of(request: &Request<'a>) -> Option<Self> {
        let flags = request.effective_flags();
        let possible = request.fstype == c"proc"
            && expressible().contains(flags)
            && fits(request.source)
            && request.data_fits();
        if !possible {
            return None;
        }
        Some(Self {
            target: request.target,
            source: request.source(),
            options: options(request.data.to_bytes())?,
            superblock: superblock_flags(flags),
            attributes: attributes(flags),
        })
    }

    /// Makes the procfs that shows the processes of this PID namespace, and puts it onto the target.
    ///
    /// # Errors
    /// Any, when nothing was mounted; among them EINVAL, of a kernel before 6.17 that does not know the option `pidns`.
    pub(super) fn mount(
        &self,
        pid_namespace: BorrowedFd<'_>,
        found: Option<&OwnedFd>,
    ) -> Result<(), Errno> {
        // A process could not be made in it any more, so `mount(2)` would not be reached.
        if !has_init(pid_namespace) {
            return Err(Errno::from_raw(libc::ENOMEM));
        }
        let mount = self.make(pid_namespace)?;
        match found {
            Some(found) => move_mount(mount.as_fd(), found.as_fd()),
            None => {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let target = check(openat(AT_FDCWD, self.target, flags, Mode::empty()))?;
                move_mount(mount.as_fd(), target.as_fd())
            }
        }
    }

    fn make(&self, pid_namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        let context = FsContext::open(c"proc")?;
        context.set(&Parameter::Fd(c"pidns", pid_namespace))?;
        for flag in &self.superblock {
            context.set(&Parameter::Flag(flag))?;
        }
        if let Some(source) = self.source {
            context.set(&Parameter::Text(c"source", source))?;
        }
        for (key, text) in &self.options {
            context.set(&match text {
                None => Parameter::Flag(key),
                Some(text) => Parameter::Text(key, text),
            })?;
        }
        context.mount(self.attributes)
    }
}

/// The flags of `mount(2)` that this way can say.
fn expressible() -> MsFlags {
    MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_SYNCHRONOUS
        | MsFlags::MS_DIRSYNC
        | MsFlags::MS_NOATIME
        | MsFlags::MS_NODIRATIME
        | MsFlags::MS_RELATIME
        | MsFlags::MS_STRICTATIME
        | MsFlags::MS_LAZYTIME
        | MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW)
}

/// The flags that belong to the file system, as options. Read-only belongs to it and to the mount.
fn superblock_flags(flags: MsFlags) -> Vec<&'static CStr> {
    [
        (MsFlags::MS_RDONLY, c"ro"),
        (MsFlags::MS_SYNCHRONOUS, c"sync"),
        (MsFlags::MS_DIRSYNC, c"dirsync"),
        (MsFlags::MS_LAZYTIME, c"lazytime"),
    ]
    .into_iter()
    .filter_map(|(flag, option)| flags.contains(flag).then_some(option))
    .collect()
}

/// The flags that belong to the mount, as `fsmount(2)` takes them (`MOUNT_ATTR_` of `linux/mount.h`).
fn attributes(flags: MsFlags) -> c_uint {
    const NOATIME: c_uint = 0x10;
    const STRICTATIME: c_uint = 0x20;

    // Of the three ways to keep access times `mount(2)` takes the strictest asked for, relatime (0) if none.
    let access_time = if flags.contains(MsFlags::MS_STRICTATIME) {
        STRICTATIME
    } else if flags.contains(MsFlags::MS_NOATIME) {
        NOATIME
    } else {
        0
    };
    [
        (MsFlags::MS_RDONLY, 0x01),
        (MsFlags::MS_NOSUID, 0x02),
        (MsFlags::MS_NODEV, 0x04),
        (MsFlags::MS_NOEXEC, 0x08),
        (MsFlags::MS_NODIRATIME, 0x80),
        (MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW), 0x20_0000),
    ]
    .into_iter()
    .filter(|&(flag, _)| flags.contains(flag))
    .fold(access_time, |attributes, (_, attribute)| {
        attributes | attribute
    })
}

/// The options as `mount(2)` takes them apart: at commas, then at the first `=`; what has no name is passed over. `None` if
/// `fsconfig(2)` does not take one that long.
fn options(data: &[u8]) -> Option<Vec<(CString, Option<CString>)>> {
    let text = |bytes: &[u8]| c_string(bytes).ok().filter(|text| fits(text));
    let named = |option: &&[u8]| option.first().is_some_and(|&first| first != b'=');

    data.split(|&byte| byte == b',')
        .filter(named)
        .map(|option| {
            let mut parts = option.splitn(2, |&byte| byte == b'=');
            let key = text(parts.next()?)?;
            match parts.next() {
                None => Some((key, None)),
                Some(value) => Some((key, Some(text(value)?))),
            }
        })
        .collect()
}

fn fits(text: &CStr) -> bool {
    text.to_bytes_with_nul().len() <= LONGEST
}

#[cfg(test)]
mod tests;
