//! What `mount(2)` is asked for.

use std::ffi::{CStr, CString, c_ulong};
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::MsFlags;

use super::attach;
use crate::c_string::page_size;
use crate::error::{Errno, check};

/// The kernel copies a source or a type of this many bytes and more only to refuse it.
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// Flags that ask for something else than a new mount of a file system.
const NOT_NEW: MsFlags = MsFlags::MS_REMOUNT
    .union(MsFlags::MS_BIND)
    .union(MsFlags::MS_MOVE)
    .union(MsFlags::MS_SHARED)
    .union(MsFlags::MS_PRIVATE)
    .union(MsFlags::MS_SLAVE)
    .union(MsFlags::MS_UNBINDABLE);

/// The five arguments of `mount(2)`.
///
/// `source`, `fstype` and `data` may be empty, and reach the kernel as NULL then.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to mount: a device, a directory, or whatever the file system takes it for.
    pub source: CString,
    /// Where to mount it.
    pub target: CString,
    /// The type of file system, for example `c"tmpfs"`.
    pub fstype: CString,
    /// The flags, for example `libc::MS_RDONLY`.
    pub flags: c_ulong,
    /// The options of the file system, for example `c"size=1m,mode=700"`.
    pub data: CString,
}

impl Request {
    /// The source, if there is one.
    pub(super) fn source(&self) -> Option<&CStr> {
        non_empty(&self.source)
    }

    /// The flags as the kernel takes them: without the magic number that programs had to add before Linux 2.4, which it
    /// clears with a mask of 32 bits, and so with whatever is above.
    pub(super) fn effective_flags(&self) -> MsFlags {
        const MAGIC_CLEARED: c_ulong = 0xffff;

        let magic = self.flags & libc::MS_MGC_MSK == libc::MS_MGC_VAL;
        MsFlags::from_bits_retain(if magic {
            self.flags & MAGIC_CLEARED
        } else {
            self.flags
        })
    }

    /// Whether `mount(2)` refuses the flags, whatever the rest: its `MS_NOUSER` is a sign-extended 32-bit integer, so every
    /// bit from the 31st on is part of it.
    pub(super) fn flags_are_refused(&self) -> bool {
        self.effective_flags().bits() >> 31 != 0
    }

    /// Whether this asks for a new mount of a file system.
    pub(super) fn is_new_mount(&self) -> bool {
        !self.effective_flags().intersects(NOT_NEW)
    }

    /// Whether the mount depends on the PID namespace of the process that makes it.
    ///
    /// In the kernel, `fs_context` and the file systems take it in three places only: procfs (`proc_init_fs_context`),
    /// autofs (its process group), and every FUSE connection (`fuse_conn_init`).
    pub(super) fn depends_on_pid_namespace(&self) -> bool {
        const FILE_SYSTEMS: [&[u8]; 5] = [b"proc", b"autofs", b"fuse", b"fuseblk", b"virtiofs"];

        let fstype = self.fstype.to_bytes();
        // A subtype may follow, as in `fuse.sshfs`.
        let name = fstype.split(|&byte| byte == b'.').next();
        self.is_new_mount()
            && !self.flags_are_refused()
            && name.is_some_and(|name| FILE_SYSTEMS.contains(&name))
    }

    /// Whether the kernel reads all of `data`: it takes a page, and sets the last byte of it to 0.
    pub(super) fn data_fits(&self) -> bool {
        self.data.to_bytes().len() < page_size()
    }

    /// Mounts, a bind onto `found` if that is given.
    ///
    /// * `wanted`: asked before the mount begins; its error is the result then.
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

    /// Mounts onto what the name of the target leads to: one `mount(2)`.
    pub(super) fn mount_by_name(&self) -> Result<(), Errno> {
        check(nix::mount::mount(
            self.source(),
            self.target.as_c_str(),
            non_empty(&self.fstype),
            MsFlags::from_bits_retain(self.flags),
            non_empty(&self.data),
        ))
    }

    /// # Errors
    /// E2BIG for options that the kernel would cut.
    pub(super) fn check_data(&self) -> Result<(), Errno> {
        if self.data_fits() {
            Ok(())
        } else {
            Err(Errno::from_raw(libc::E2BIG))
        }
    }

    /// The source, if this is a bind that can be done. One that `mount(2)` refuses, whatever its target, for its flags,
    /// for an empty source or for a text that is too long, is left to `mount(2)` to refuse.
    fn bind_source(&self) -> Option<&CStr> {
        let kind = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        let fits = |text: &CStr| text.to_bytes().len() < PATH_MAX;
        let possible = self.effective_flags() & kind == MsFlags::MS_BIND
            && !self.flags_are_refused()
            && fits(&self.fstype)
            && fits(&self.source);
        self.source().filter(|_| possible)
    }
}

fn non_empty(text: &CStr) -> Option<&CStr> {
    (!text.is_empty()).then_some(text)
}
