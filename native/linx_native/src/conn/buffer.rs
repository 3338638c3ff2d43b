//! The receive buffer. There is one for each thread that receives, not for each socket, because the VM has only a few dirty I/O
//! schedulers, but may have thousands of sockets.
//!
//! A library is never unmapped (`-z nodelete`). So the destructor of a thread's buffer still exists when the thread ends, also after
//! the module was loaded again.

use std::cell::Cell;
use std::mem;

/// The longest buffer that a thread keeps. A longer one, for a socket with a large option `:datagram`, is freed after each use.
const KEPT: usize = 1024 * 1024;

thread_local! {
    static KEPT_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer in use. It is not zeroed, so pages that no datagram fills take no memory.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// Takes the buffer of this thread, with at least the given capacity. Returns `None` if there is no memory for it.
    pub(crate) fn take(capacity: usize) -> Option<Self> {
        let mut memory = KEPT_BUFFER.try_with(Cell::take).unwrap_or_default();
        memory.clear();
        memory.try_reserve_exact(capacity).ok()?;
        Some(Self(memory))
    }

    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() <= KEPT {
            // This fails only if the thread is ending, which then needs no buffer.
            let _ = KEPT_BUFFER.try_with(|kept| kept.set(mem::take(&mut self.0)));
        }
    }
}
