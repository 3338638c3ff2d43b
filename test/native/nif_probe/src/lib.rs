//! The NIFs of `LinxNative.Test.Probe`: each panics in another place.

#![allow(clippy::panic, reason = "it is what this library is for")]

use std::ffi::CStr;
use std::time::Duration;

use linx_core::{Errno, Pending, probe};
use nif_entry::{Call, Done, ResourceType, Turn, Waiting, begin};
use rustler::{Decoder, Encoder, Env, NifResult, Term};

nif_entry::init!(module(), |env| TYPE.register(env, "call", "of the probe"));

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
fn pending(env: Env<'_>) -> NifResult<Turn<'_>> {
    begin(env, c"pending", || {
        probe::panic_in_pending()
            .map(PanickingCall)
            .map_err(Errno::raw)
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn child() -> Done<i32> {
    Done(probe::panic_in_child().map_err(Errno::raw))
}

static TYPE: ResourceType<Waiting<PanickingCall>> = ResourceType::new();

/// A call whose thread panics.
struct PanickingCall(Pending<Result<(), Errno>>);

impl Call for PanickingCall {
    fn wait(&mut self, timeout: Duration) -> Option<impl Encoder> {
        let result = self.0.wait(timeout)?;
        Some(Done(result.map_err(Errno::raw)))
    }

    fn resource_type() -> &'static ResourceType<Waiting<Self>> {
        &TYPE
    }
}

/// A value whose decoding and encoding panic.
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
