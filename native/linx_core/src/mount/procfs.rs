//! A procfs of another PID namespace, mounted without a process in it: `fsopen(2)` with the option `pidns` (Linux 6.17).

use std::ffi::{CStr, CString, c_uint};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::attach::attach;
use super::request::Request;
use crate::c_string::c_string;
use crate::error::{Errno, check};
use crate::syscall::{FsContext, Parameter};

/// What `fsconfig(2)` takes at most as key or text, with its NUL; `mount(2)` takes more.
const MAX_TEXT: usize = 256;

/// A request for a new procfs that the mount API can express to the last bit.
///
/// The API tells `mount(2)` by flag what it tells this way by attribute or option. What it cannot say, because of the
/// length of a text, has no plan and is left to `mount(2)`.
pub(super) struct Plan<'a> {
    target: &'a CStr,
    source: Option<&'a CStr>,
    options: Vec<(CString, Option<CString>)>,
    superblock: Vec<&'static CStr>,
    attributes: c_uint,
}

/// Why a plan did not mount.
pub(super) enum Failure {
    /// The kernel cannot do it so.
    Unsupported,
    /// What `mount(2)` would say, or the errno of a resource that this way needs.
    Failed(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl<'a> Plan<'a> {
    /// The plan for a request, if it is one for procfs that can have one.
    pub(super) fn of(request: &'a Request) -> Option<Self> {
        let flags = request.effective_flags();
        let possible = request.fstype.as_c_str() == c"proc"
            && request.depends_on_pid_namespace()
            && fits(&request.source)
            && request.data_fits();
        if !possible {
            return None;
        }
        Some(Self {
            target: &request.target,
            source: request.source(),
            options: options(request.data.to_bytes())?,
            superblock: superblock_flags(flags),
            attributes: attributes(flags),
        })
    }

    /// Makes the procfs that shows the processes of this PID namespace, and puts it onto `found` or else onto the target.
    ///
    /// It has three descriptors open at most, that of the namespace included.
    ///
    /// * `wanted`: asked before anything is attached; its error is the result then.
    ///
    /// # Errors
    /// [`Failure`]. Nothing was mounted then.
    pub(super) fn mount(
        &self,
        pid_namespace: OwnedFd,
        found: Option<OwnedFd>,
        wanted: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        // First, as `mount(2)` does, whose other errors are of no interest where there is no target.
        let target = match found {
            Some(found) => found,
            None => {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                check(openat(AT_FDCWD, self.target, flags, Mode::empty()))?
            }
        };
        let context = match procfs_of(&pid_namespace) {
            Ok(context) => context,
            Err(errno) if is_unsupported(errno) => return Err(Failure::Unsupported),
            Err(errno) => return Err(errno.into()),
        };
        // The context has it now.
        drop(pid_namespace);
        let mount = self.make(context)?;
        wanted()?;
        Ok(attach(mount.as_fd(), target.as_fd())?)
    }

    fn make(&self, context: FsContext) -> Result<OwnedFd, Errno> {
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

/// A procfs to be configured further, of a PID namespace.
fn procfs_of(pid_namespace: &OwnedFd) -> Result<FsContext, Errno> {
    let context = FsContext::open(c"proc")?;
    context.set(&Parameter::Fd(c"pidns", pid_namespace.as_fd()))?;
    Ok(context)
}

/// Whether [`procfs_of`] failed because the kernel is older: it has no `fsopen(2)` (before 5.2), or procfs has no option
/// `pidns`. The namespace itself is not the reason, as the thread has entered it.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno.raw(), libc::ENOSYS | libc::EINVAL)
}

/// The flags that belong to the file system, as options. Read-only belongs to it and to the mount.
///
/// Of the others that `mount(2)` knows, `MS_SILENT`, `MS_POSIXACL` and `MS_I_VERSION` change nothing of a procfs, and those
/// it does not know it ignores.
fn superblock_flags(flags: MsFlags) -> Vec<&'static CStr> {
    [
        (MsFlags::MS_RDONLY, c"ro"),
        (MsFlags::MS_SYNCHRONOUS, c"sync"),
        (MsFlags::MS_DIRSYNC, c"dirsync"),
        (MsFlags::MS_MANDLOCK, c"mand"),
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
    text.to_bytes_with_nul().len() <= MAX_TEXT
}

#[cfg(test)]
mod tests;
