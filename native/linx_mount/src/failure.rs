//! Encodes an error as `{stage, errno}`. The errno is an atom if the contract names one, else a number.

use linx_core::Error;
use nif_entry::stage;
use rustler::{Encoder, Env, Term};

/// The reason of an error of this library.
pub(crate) struct Failure(pub(crate) Error);

impl Encoder for Failure {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let Error { stage: at, errno } = self.0;
        let errno = match name(errno.raw()) {
            Some(name) => name.encode(env),
            None => errno.raw().encode(env),
        };
        (stage(at), errno).encode(env)
    }
}

/// Lists the errnos that are atoms once, for the declaration of the atoms and for their table.
macro_rules! errno_atoms {
    ($($atom:ident = $errno:ident),* $(,)?) => {
        mod atoms {
            rustler::atoms! { $($atom),* }
        }

        fn name(errno: i32) -> Option<rustler::Atom> {
            match errno {
                $(libc::$errno => Some(atoms::$atom()),)*
                _ => None,
            }
        }
    };
}

errno_atoms! {
    eacces = EACCES,
    eagain = EAGAIN,
    ebadf = EBADF,
    ebusy = EBUSY,
    efault = EFAULT,
    einval = EINVAL,
    eloop = ELOOP,
    emfile = EMFILE,
    enametoolong = ENAMETOOLONG,
    enodev = ENODEV,
    enoent = ENOENT,
    enomem = ENOMEM,
    enotblk = ENOTBLK,
    enotdir = ENOTDIR,
    enxio = ENXIO,
    eopnotsupp = EOPNOTSUPP,
    eperm = EPERM,
    erofs = EROFS,
    esrch = ESRCH,
}
