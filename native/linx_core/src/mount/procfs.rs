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

/// The longest key or text that `fsconfig(2)` takes, with its NUL; `mount(2)` takes more.
const MAX_TEXT: usize = 256;

/// The steps of the mount API that do exactly what a request for a new procfs asks of `mount(2)`.
///
/// A flag of `mount(2)` becomes an attribute or an option. A request with a text that is too long for the API has no plan, and is left
/// to `mount(2)`.
pub(super) struct Plan<'a> {
    target: &'a CStr,
    source: Option<&'a CStr>,
    options: Vec<(CString, Option<CString>)>,
    superblock: Vec<&'static CStr>,
    attributes: c_uint,
}

/// Why a plan did not mount.
pub(super) enum Failure {
    /// The kernel does not support this.
    Unsupported,
    /// The errno that `mount(2)` would return, or the errno for a resource that the mount API needs.
    Failed(Errno),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl<'a> Plan<'a> {
    /// Returns the plan for a request, if it asks for a procfs and can have a plan.
    pub(super) fn of(request: &'a Request) -> Option<Self> {
        let flags = request.effective_flags();
        let possible = request.is_new_procfs() && fits(&request.source) && request.data_fits();
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

    /// Makes a procfs that shows the processes of this PID namespace, and attaches it to `found` or, without it, to the target.
    ///
    /// At most three descriptors are open at a time, the one of the namespace included.
    ///
    /// * `wanted`: is called before anything is attached. If it returns an error, that is the result.
    ///
    /// # Errors
    /// [`Failure`]. Nothing is mounted then.
    pub(super) fn mount(
        &self,
        pid_namespace: OwnedFd,
        found: Option<&OwnedFd>,
        wanted: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), Failure> {
        // The target comes first, as in `mount(2)`: if it does not exist, that is the error, whatever else is wrong.
        let opened;
        let target = match found {
            Some(found) => found,
            None => {
                let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                opened = check(openat(AT_FDCWD, self.target, flags, Mode::empty()))?;
                &opened
            }
        };
        let context = match procfs_of(&pid_namespace) {
            Ok(context) => context,
            Err(errno) if is_unsupported(errno) => return Err(Failure::Unsupported),
            Err(errno) => return Err(errno.into()),
        };
        // The context has its own reference now.
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

/// Opens a context for a procfs of a PID namespace.
fn procfs_of(pid_namespace: &OwnedFd) -> Result<FsContext, Errno> {
    let context = FsContext::open(c"proc")?;
    context.set(&Parameter::Fd(c"pidns", pid_namespace.as_fd()))?;
    Ok(context)
}

/// Reports whether [`procfs_of`] failed because the kernel is older: it has no `fsopen(2)` (before 5.2), or procfs has no option
/// `pidns`. The namespace itself cannot be the reason, because the thread has entered it.
fn is_unsupported(errno: Errno) -> bool {
    matches!(errno.raw(), libc::ENOSYS | libc::EINVAL)
}

/// Returns the flags that belong to the file system, as options. Read-only belongs to the file system and to the mount.
///
/// `MS_SILENT`, `MS_POSIXACL` and `MS_I_VERSION` change nothing in a procfs, and `mount(2)` ignores unknown flags.
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

/// Returns the flags that belong to the mount, as `fsmount(2)` takes them (`MOUNT_ATTR_` of `linux/mount.h`).
fn attributes(flags: MsFlags) -> c_uint {
    const NOATIME: c_uint = 0x10;
    const STRICTATIME: c_uint = 0x20;

    // If several flags for access times are set, `mount(2)` takes the strictest. Without one it takes relatime (0).
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

/// Splits the options as `mount(2)` does: at commas, then at the first `=`; options without a name are skipped. Returns `None` if one
/// is too long for `fsconfig(2)`.
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
