//! The arguments of `mount(2)`.

use std::ffi::{CStr, CString, c_ulong};
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::MsFlags;

use super::attach;
use crate::c_string::page_size;
use crate::error::{Errno, check};

/// The kernel refuses a source or a type of this many bytes or more.
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// The flags of requests that are not for a new mount of a file system.
const NOT_NEW: MsFlags = MsFlags::MS_REMOUNT
    .union(MsFlags::MS_BIND)
    .union(MsFlags::MS_MOVE)
    .union(MsFlags::MS_SHARED)
    .union(MsFlags::MS_PRIVATE)
    .union(MsFlags::MS_SLAVE)
    .union(MsFlags::MS_UNBINDABLE);

/// The five arguments of `mount(2)`.
///
/// If `source`, `fstype` or `data` is empty, the kernel gets NULL.
#[derive(Clone, Debug)]
pub struct Request {
    /// The source: a device, a directory, or a text that the file system interprets.
    pub source: CString,
    /// The path to mount it at.
    pub target: CString,
    /// The type of file system, for example `c"tmpfs"`.
    pub fstype: CString,
    /// The flags, for example `libc::MS_RDONLY`.
    pub flags: c_ulong,
    /// The options of the file system, for example `c"size=1m,mode=700"`.
    pub data: CString,
}

impl Request {
    /// Returns the source, if there is one.
    pub(super) fn source(&self) -> Option<&CStr> {
        non_empty(&self.source)
    }

    /// Returns the flags as the kernel takes them: without the magic number that programs had to add before Linux 2.4. The kernel
    /// clears it with a mask of 32 bits, and so clears the upper bits too.
    pub(super) fn effective_flags(&self) -> MsFlags {
        const MAGIC_CLEARED: c_ulong = 0xffff;

        let magic = self.flags & libc::MS_MGC_MSK == libc::MS_MGC_VAL;
        MsFlags::from_bits_retain(if magic {
            self.flags & MAGIC_CLEARED
        } else {
            self.flags
        })
    }

    /// Reports whether `mount(2)` refuses the flags, whatever the other arguments are. Its `MS_NOUSER` is a sign-extended 32-bit
    /// integer, so it contains every bit from the 31st on.
    pub(super) fn flags_are_refused(&self) -> bool {
        self.effective_flags().bits() >> 31 != 0
    }

    /// Reports whether this asks for a new mount of a file system.
    pub(super) fn is_new_mount(&self) -> bool {
        !self.effective_flags().intersects(NOT_NEW)
    }

    /// Reports whether the mount depends on the PID namespace of the process that makes it.
    ///
    /// The kernel uses that namespace in three places only: procfs (`proc_init_fs_context`), autofs (its process group), and every
    /// FUSE connection (`fuse_conn_init`).
    pub(super) fn depends_on_pid_namespace(&self) -> bool {
        const FILE_SYSTEMS: [&[u8]; 5] = [b"proc", b"autofs", b"fuse", b"fuseblk", b"virtiofs"];

        let fstype = self.fstype.to_bytes();
        // A subtype may follow, for example in `fuse.sshfs`.
        let name = fstype.split(|&byte| byte == b'.').next();
        self.is_new_mount()
            && !self.flags_are_refused()
            && name.is_some_and(|name| FILE_SYSTEMS.contains(&name))
    }

    /// Reports whether this is a new procfs, with flags and a source that `mount(2)` does not refuse whatever the target is.
    pub(super) fn is_new_procfs(&self) -> bool {
        self.fstype.as_c_str() == c"proc"
            && self.is_new_mount()
            && !self.flags_are_refused()
            && fits(&self.source)
    }

    /// Reports whether the kernel reads all of `data`. It reads a page and sets the last byte of it to 0.
    pub(super) fn data_fits(&self) -> bool {
        self.data.to_bytes().len() < page_size()
    }

    /// Makes the mount. A bind goes onto `found` if that is given.
    ///
    /// * `wanted`: is called before the mount begins. If it returns an error, that is the result.
    pub(super) fn mount(
        &self,
        found: Option<&OwnedFd>,
        wanted: impl Fn() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        self.check_data()?;
        match found.and_then(|found| Some((found, self.bind_source()?))) {
            Some((found, source)) => {
                let recursive = self.effective_flags().contains(MsFlags::MS_REC);
                attach::bind(source, recursive, found.as_fd(), wanted)
            }
            None => {
                wanted()?;
                self.mount_by_name()
            }
        }
    }

    /// Makes the mount by the name of the target: one `mount(2)`.
    pub(super) fn mount_by_name(&self) -> Result<(), Errno> {
        self.mount_at(&self.target)
    }

    /// Makes the mount at another path than the requested one: one `mount(2)`.
    pub(super) fn mount_at(&self, target: &CStr) -> Result<(), Errno> {
        check(nix::mount::mount(
            self.source(),
            target,
            non_empty(&self.fstype),
            MsFlags::from_bits_retain(self.flags),
            non_empty(&self.data),
        ))
    }

    /// Checks the length of the options.
    ///
    /// # Errors
    /// E2BIG if the kernel would cut them.
    pub(super) fn check_data(&self) -> Result<(), Errno> {
        if self.data_fits() {
            Ok(())
        } else {
            Err(Errno::from_raw(libc::E2BIG))
        }
    }

    /// Returns the source, if this is a valid bind. If `mount(2)` refuses the bind for its flags, for an empty source or for a text
    /// that is too long, whatever its target, it is left to `mount(2)` to refuse it.
    fn bind_source(&self) -> Option<&CStr> {
        let kind = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        let possible = self.effective_flags() & kind == MsFlags::MS_BIND
            && !self.flags_are_refused()
            && fits(&self.fstype)
            && fits(&self.source);
        self.source().filter(|_| possible)
    }
}

fn fits(text: &CStr) -> bool {
    text.to_bytes().len() < PATH_MAX
}

fn non_empty(text: &CStr) -> Option<&CStr> {
    (!text.is_empty()).then_some(text)
}
