//! The entry of a library, as `rustler::init!` makes it, with two additions: an `upgrade` function, so that a module can be loaded
//! again, and a guard against a panic in `nif_init`.

// The interface of the VM is C.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr;
use std::sync::OnceLock;

use rustler::codegen_runtime::{ErlNifEntry, ErlNifEnv, ErlNifFunc, ErlNifTerm, inventory};
use rustler::{Env, Nif};

struct Entry(ErlNifEntry);

// SAFETY: the VM only reads an entry, and the data that it points to is never changed or freed.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// A function that registers the resource types of a library at each load. If it returns `false`, `load_nif` fails.
pub type OnLoad = fn(Env<'_>) -> bool;

static ON_LOAD: OnceLock<OnLoad> = OnceLock::new();

/// Returns the entry of this library, or NULL if it cannot be made. The VM asks at each load, and always gets the same entry.
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

/// Registers the resource types. The libraries keep no other state.
extern "C" fn load(env: *mut ErlNifEnv, _: *mut *mut c_void, _: ErlNifTerm) -> c_int {
    loaded(env)
}

/// Registers the resource types, or takes them over from the older instance, with their resources.
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
    // SAFETY: the VM made `env` for this call, which loads the library.
    let env = unsafe { Env::new_init_env(&lifetime, env) };
    let load = AssertUnwindSafe(|| ON_LOAD.get().is_some_and(|on_load| on_load(env)));
    let loaded = panic::catch_unwind(load).unwrap_or(false);
    c_int::from(!loaded)
}

/// Prints a panic as one line on standard error. Prints no backtrace, as the standard library's hook does if `RUST_BACKTRACE` is set,
/// because the stack of the throwaway thread is too small for that.
///
/// The hook belongs to this library alone, because the library has its own copy of the standard library.
fn report_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or_default().replace('\n', " ");
    let line = format!("linx_native: panic at {place}: {message}; please report this\n");
    // In one write, because standard error has no buffer, and the VM and the other libraries write to it too.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
