//! A library with a NIF version that no VM has yet.

// It hands the VM an entry, as `nif_entry::init!` does.
#![allow(unsafe_code)]

use rustler::codegen_runtime::ErlNifEntry;

/// Returns the same entry as the other libraries, with another NIF version.
#[unsafe(no_mangle)]
pub extern "C" fn nif_init() -> *const ErlNifEntry {
    let made = nif_entry::entry(|| c"Elixir.LinxNative.Test.Probe", |_| true);
    // SAFETY: it was made just now, is not NULL then, and consists of integers and pointers to what lives for ever.
    let entry = unsafe { made.read() };
    Box::leak(Box::new(ErlNifEntry {
        minor: 1000,
        ..entry
    }))
}
