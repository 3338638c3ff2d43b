//! Charlists, which rustler makes of a list of terms only.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use std::ffi::CStr;

use rustler::sys::{ErlNifCharEncoding, enif_make_string};
use rustler::{Env, Term};

/// A text in Latin-1 as a charlist.
#[must_use]
pub fn charlist<'a>(env: Env<'a>, text: &CStr) -> Term<'a> {
    // SAFETY: `env` is that of a NIF call, and `text` a C string.
    let term = unsafe {
        enif_make_string(
            env.as_c_arg(),
            text.as_ptr().cast(),
            ErlNifCharEncoding::ERL_NIF_LATIN1,
        )
    };
    // SAFETY: a term that was just made in `env`.
    unsafe { Term::new(env, term) }
}
