//! The Erlang process that called.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use rustler::Env;
use rustler::sys::enif_is_current_process_alive;

/// Whether the process that called this NIF will see its answer. One that runs on a dirty scheduler can be killed
/// meanwhile; its answer is thrown away.
#[must_use]
pub fn caller_is_alive(env: Env<'_>) -> bool {
    // SAFETY: `env` is that of a NIF call, made by the VM for the calling process.
    (unsafe { enif_is_current_process_alive(env.as_c_arg()) }) != 0
}
