//! The entry of a library, as `rustler::init!` makes it, with two things it does not have: an `upgrade` function, so that
//! a module can be loaded again, and a guard against a panic in `nif_init`.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr;
use std::sync::OnceLock;

use rustler::codegen_runtime::{ErlNifEntry, ErlNifEnv, ErlNifFunc, ErlNifTerm, inventory};
use rustler::{Env, Nif};

struct Entry(ErlNifEntry);

// SAFETY: the VM only reads an entry, and what it points to is never changed or freed.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// What a library does at each load: registers its types of resources. `false` makes it an error of `load_nif`.
pub type OnLoad = fn(Env<'_>) -> bool;

static ON_LOAD: OnceLock<OnLoad> = OnceLock::new();

/// The entry of this library, or NULL if it cannot be made. Always the same one: the VM asks again at each load.
pub fn entry(module: fn() -> &'static CStr, on_load: OnLoad) -> *const ErlNifEntry {
    static ENTRY: OnceLock<Entry> = OnceLock::new();

    panic::catch_unwind(|| {
        ON_LOAD.get_or_init(|| on_load);
        &raw const ENTRY.get_or_init(|| Entry(make(module))).0
    })
    .unwrap_or(ptr::null())
}

fn make(module: fn() -> &'static CStr) -> ErlNifEntry {
    panic::set_hook(Box::new(report_panic));
    let functions: Vec<ErlNifFunc> = inventory::iter::<Nif>().map(Nif::get_def).collect();
    ErlNifEntry {
        upgrade: Some(upgrade),
        ..ErlNifEntry::new(module(), functions.leak(), load)
    }
}

/// The libraries keep no state but types of resources, which a new instance makes …
extern "C" fn load(env: *mut ErlNifEnv, _: *mut *mut c_void, _: ErlNifTerm) -> c_int {
    loaded(env)
}

/// … or takes over from the one before, with the resources there are.
extern "C" fn upgrade(
    env: *mut ErlNifEnv,
    _: *mut *mut c_void,
    _: *mut *mut c_void,
    _: ErlNifTerm,
) -> c_int {
    loaded(env)
}

fn loaded(env: *mut ErlNifEnv) -> c_int {
    let lifetime = ();
    // SAFETY: the VM made `env` for this call, to load the library with.
    let env = unsafe { Env::new_init_env(&lifetime, env) };
    let load = AssertUnwindSafe(|| ON_LOAD.get().is_some_and(|on_load| on_load(env)));
    let loaded = panic::catch_unwind(load).unwrap_or(false);
    c_int::from(!loaded)
}

/// One line on standard error. No backtrace, as the standard library's hook makes one if `RUST_BACKTRACE` is set: the
/// stack of the throwaway thread is too small for that.
///
/// The hook is this library's alone: it has a standard library of its own linked in.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or_default().replace('\n', " ");
    let line = format!("linx_native: panic at {place}: {message}; please report this\n");
    // In one piece: standard error has no buffer, and the VM and the other library write to it as well.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
