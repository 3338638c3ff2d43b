//! Terms that several libraries decode or encode.

use std::ffi::{CStr, CString};
use std::ops::Deref;

use linx_core::{CStringError, Stage, c_string};
use rustler::types::atom::{Atom, ok};
use rustler::{Binary, Decoder, Encoder, Env, Error, NifResult, Term};

mod atoms {
    rustler::atoms! {
        thread, open, setns, socket, bind, unshare, open_ns, create, open_pidns, setns_pid, fork, mount, umount, chdir,
        pivot_root
    }
}

/// Encodes `:ok` or `{:error, reason}`.
pub struct Done<E>(pub Result<(), E>);

impl<E: Encoder> Encoder for Done<E> {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match &self.0 {
            Ok(()) => ok().encode(env),
            Err(reason) => env.error_tuple(reason),
        }
    }
}

/// Decodes a binary without a NUL byte as a C string. Any other term is `badarg`.
pub struct Text(CString);

impl<'a> Decoder<'a> for Text {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        match c_string(Binary::from_term(term)?.as_slice()) {
            Ok(text) => Ok(Self(text)),
            Err(CStringError::Nul) => Err(Error::BadArg),
            Err(CStringError::NoMemory) => Err(Error::RaiseAtom("system_limit")),
        }
    }
}

impl Deref for Text {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        &self.0
    }
}

impl Text {
    /// Returns the string, or `None` if it is empty.
    #[must_use]
    pub fn non_empty(self) -> Option<CString> {
        (!self.is_empty()).then_some(self.0)
    }

    /// Returns the string.
    #[must_use]
    pub fn into_c_string(self) -> CString {
        self.0
    }
}

/// Returns the atom of a stage.
#[must_use]
pub fn stage(stage: Stage) -> Atom {
    match stage {
        Stage::Thread => atoms::thread(),
        Stage::Open => atoms::open(),
        Stage::Setns => atoms::setns(),
        Stage::Socket => atoms::socket(),
        Stage::Bind => atoms::bind(),
        Stage::Unshare => atoms::unshare(),
        Stage::OpenNs => atoms::open_ns(),
        Stage::Create => atoms::create(),
        Stage::OpenPidns => atoms::open_pidns(),
        Stage::SetnsPid => atoms::setns_pid(),
        Stage::Fork => atoms::fork(),
        Stage::Mount => atoms::mount(),
        Stage::Umount => atoms::umount(),
        Stage::Chdir => atoms::chdir(),
        Stage::PivotRoot => atoms::pivot_root(),
    }
}
