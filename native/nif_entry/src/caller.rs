//! The Erlang process that called a NIF.

// The interface of the VM is C.
#![allow(unsafe_code)]

use rustler::Env;
use rustler::sys::enif_is_current_process_alive;

/// Reports whether the process that called this NIF still exists. A process whose NIF runs on a dirty scheduler can be killed
/// meanwhile; the VM then drops the result.
#[must_use]
pub fn caller_is_alive(env: Env<'_>) -> bool {
    // SAFETY: `env` is that of a NIF call, made by the VM for the calling process.
    (unsafe { enif_is_current_process_alive(env.as_c_arg()) }) != 0
}
