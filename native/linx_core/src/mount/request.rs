//! What `mount(2)` is asked for.

use std::ffi::{CStr, c_ulong};
use std::os::fd::{AsFd, OwnedFd};

use nix::mount::MsFlags;

use super::attach;
use crate::c_string::page_size;
use crate::error::{Errno, check};

/// The kernel copies a source or a type of this many bytes and more only to refuse it.
const LONGEST: usize = libc::PATH_MAX as usize;

/// The five arguments of `mount(2)`.
///
/// `source`, `fstype` and `data` may be empty, and reach the kernel as NULL then.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to mount: a device, a directory, or whatever the file system takes it for.
    pub source: &'a CStr,
    /// Where to mount it.
    pub target: &'a CStr,
    /// The type of file system, as `c"tmpfs"`.
    pub fstype: &'a CStr,
    /// The flags, as `libc::MS_RDONLY`.
    pub flags: c_ulong,
    /// The options of the file system, as `c"size=1m,mode=700"`.
    pub data: &'a CStr,
}

impl<'a> Request<'a> {
    /// The source, if there is one.
    pub(super) fn source(&self) -> Option<&'a CStr> {
        non_empty(self.source)
    }

    /// The flags as the kernel takes them: without the magic number that programs had to add before Linux 2.4.
    pub(super) fn effective_flags(&self) -> MsFlags {
        let magic = self.flags & libc::MS_MGC_MSK == libc::MS_MGC_VAL;
        MsFlags::from_bits_retain(if magic {
            self.flags & !libc::MS_MGC_MSK
        } else {
            self.flags
        })
    }

    /// Whether the kernel reads all of `data`: it takes a page, and sets the last byte of it to 0.
    pub(super) fn data_fits(&self) -> bool {
        self.data.to_bytes().len() < page_size()
    }

    /// Mounts, a bind onto `found` if that is given.
    pub(super) fn mount(&self, found: Option<&OwnedFd>) -> Result<(), Errno> {
        if !self.data_fits() {
            return Err(Errno::from_raw(libc::E2BIG));
        }
        match found.and_then(|found| Some((found, self.bind_source()?))) {
            Some((found, source)) => {
                let recursive = self.effective_flags().contains(MsFlags::MS_REC);
                attach::bind(source, recursive, found.as_fd())
            }
            None => self.mount_by_name(),
        }
    }

    fn mount_by_name(&self) -> Result<(), Errno> {
        check(nix::mount::mount(
            self.source(),
            self.target,
            non_empty(self.fstype),
            MsFlags::from_bits_retain(self.flags),
            non_empty(self.data),
        ))
    }

    /// The source, if this is a bind that can be done. One that `mount(2)` refuses, whatever its target, for its flags,
    /// for an empty source or for a text that is too long, is left to `mount(2)` to refuse.
    fn bind_source(&self) -> Option<&'a CStr> {
        const NOUSER: MsFlags = MsFlags::from_bits_retain(libc::MS_NOUSER);

        let flags = self.effective_flags();
        let kind = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | NOUSER;
        let fits = |text: &CStr| text.to_bytes().len() < LONGEST;
        let possible = flags & kind == MsFlags::MS_BIND && fits(self.fstype) && fits(self.source);
        self.source().filter(|_| possible)
    }
}

fn non_empty(text: &CStr) -> Option<&CStr> {
    (!text.is_empty()).then_some(text)
}
