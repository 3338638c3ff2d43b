//! C strings for the kernel.

use std::ffi::{CStr, CString};

use nix::unistd::{SysconfVar, sysconf};

use crate::error::Errno;

/// Why bytes cannot become a C string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CStringError {
    /// They contain a NUL byte, where the kernel would stop reading.
    Nul,
    /// There is no memory for a copy.
    NoMemory,
}

/// Returns the page size in bytes. `mount(2)` reads one page of its `data` and cuts the rest.
pub(crate) fn page_size() -> usize {
    sysconf(SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| size.try_into().ok())
        .unwrap_or(4096)
}

/// Copies bytes into a C string.
///
/// A string that is longer than a page and longer than 4096 bytes (`PATH_MAX`) is copied only up to just beyond that length. It is
/// still refused, because the kernel refuses a path, a source or a type of 4096 bytes, and this crate refuses options of a page.
/// So a binary of a gigabyte costs a search for a NUL, but no memory.
///
/// # Errors
/// A NUL byte anywhere in `bytes`; no memory.
pub fn c_string(bytes: &[u8]) -> Result<CString, CStringError> {
    if bytes.contains(&0) {
        return Err(CStringError::Nul);
    }
    let longest = page_size().max(libc::PATH_MAX as usize).saturating_add(1);
    let read = bytes.get(..longest).unwrap_or(bytes);

    let mut copy = Vec::new();
    copy.try_reserve_exact(read.len().saturating_add(1))
        .map_err(|_| CStringError::NoMemory)?;
    copy.extend_from_slice(read);
    copy.push(0);
    CString::from_vec_with_nul(copy).map_err(|_| CStringError::Nul)
}

/// Refuses a path that the kernel refuses as a whole. It may have been cut, so its parts must not be used.
///
/// # Errors
/// ENAMETOOLONG: the path has 4096 bytes or more.
pub(crate) fn check_length(path: &CStr) -> Result<(), Errno> {
    match path.to_bytes_with_nul().len() > libc::PATH_MAX as usize {
        true => Err(Errno::from_raw(libc::ENAMETOOLONG)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_byte_is_refused_at_any_position() {
        let far = [vec![b'x'; 100_000], vec![0]].concat();
        for bytes in [&b"\0"[..], b"a\0b", b"a\0", &far] {
            assert_eq!(c_string(bytes), Err(CStringError::Nul));
        }
    }

    #[test]
    fn a_string_is_copied_up_to_the_length_that_the_kernel_refuses() {
        assert_eq!(c_string(b"").unwrap().as_bytes(), b"");
        assert_eq!(c_string(b"/\xff").unwrap().as_bytes(), b"/\xff");
        let kept = page_size().max(4096);
        assert_eq!(c_string(&vec![b'x'; kept]).unwrap().as_bytes().len(), kept);
        assert_eq!(
            c_string(&vec![b'x'; 1 << 20]).unwrap().as_bytes().len(),
            kept + 1
        );
    }
}
