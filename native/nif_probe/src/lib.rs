//! The NIFs of `LinxNative.Test.Probe`: each panics in another place.

#![allow(clippy::panic, reason = "it is what this library is for")]

use std::ffi::CStr;

use linx_core::{Errno, probe};
use nif_entry::Done;
use rustler::{Decoder, Encoder, Env, NifResult, Term};

nif_entry::init!(module());

fn module() -> &'static CStr {
    if std::env::var_os("LINX_TEST_PANIC_IN_INIT").is_some() {
        panic!("probe: in nif_init");
    }
    c"Elixir.LinxNative.Test.Probe"
}

#[rustler::nif]
fn body() -> bool {
    panic!("probe: in the body,\nin two lines")
}

#[rustler::nif(schedule = "DirtyIo")]
fn dirty_body() -> bool {
    panic!("probe: in the body of a dirty NIF")
}

#[rustler::nif]
fn decoding(_argument: Bad) -> bool {
    true
}

#[rustler::nif]
fn encoding() -> Bad {
    Bad
}

#[rustler::nif(schedule = "DirtyIo")]
fn thread() -> Done<i32> {
    Done(probe::panic_in_thread().map_err(Errno::raw))
}

#[rustler::nif(schedule = "DirtyIo")]
fn child() -> Done<i32> {
    Done(probe::panic_in_child().map_err(Errno::raw))
}

/// Can be neither decoded nor encoded.
struct Bad;

impl<'a> Decoder<'a> for Bad {
    fn decode(_: Term<'a>) -> NifResult<Self> {
        panic!("probe: while decoding")
    }
}

impl Encoder for Bad {
    fn encode<'a>(&self, _: Env<'a>) -> Term<'a> {
        panic!("probe: while encoding")
    }
}
