//! Charlists, which rustler can only make from a list of terms.

// The interface of the VM is C.
#![allow(unsafe_code)]

use std::ffi::CStr;

use rustler::sys::{ErlNifCharEncoding, enif_make_string};
use rustler::{Env, Term};

/// Returns a Latin-1 text as a charlist.
#[must_use]
pub fn charlist<'a>(env: Env<'a>, text: &CStr) -> Term<'a> {
    // SAFETY: `env` belongs to a NIF call, and `text` is a C string.
    let term = unsafe {
        enif_make_string(
            env.as_c_arg(),
            text.as_ptr().cast(),
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    // SAFETY: this term was just made in `env`.
    unsafe { Term::new(env, term) }
}
