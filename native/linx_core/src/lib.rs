//! Netlink sockets in other network namespaces, and mounts in other mount namespaces.
//!
//! This crate does not depend on the BEAM: it takes C strings and integers, returns [`OwnedFd`](std::os::fd::OwnedFd)s and
//! [`Error`]s, and can be used and tested from Rust alone. It makes every system call of the NIF libraries, and has all the
//! `unsafe` code for them.
//!
//! * [`netlink`]: opens a socket in another network namespace.
//! * [`connection`]: a socket with an owner: open, send, receive, options.
//! * [`identity`]: identifies the network namespace of a socket or a file.
//! * [`mount`]: `mount(2)`, `umount2(2)` and `pivot_root(2)` in another mount namespace.
//! * [`mounting`]: mounts by descriptor, with the mount API of newer kernels.
//!
//! A call that enters a namespace does so on a thread that exists only for that call and never leaves the namespace; see
//! `throwaway`.
//!
//! ```no_run
//! use linx_core::netlink;
//!
//! let socket = netlink::open_in_netns(b"/run/netns/blue", libc::NETLINK_ROUTE)?;
//! # drop(socket);
//! # Ok::<(), linx_core::Error>(())
//! ```

mod c_string;
pub mod connection;
mod error;
pub mod identity;
pub mod mount;
pub mod mounting;
mod namespace;
pub mod netlink;
// Needs what is private here, and is in no package.
#[cfg(feature = "probe")]
#[path = "../../../test/native/nif_probe/src/linx_core_probe.rs"]
pub mod probe;
mod recvmsg;
mod sockopt;
mod syscall;
mod throwaway;

pub use c_string::{CStringError, c_string};
pub use error::{Errno, Error, Stage};
pub use throwaway::Pending;
