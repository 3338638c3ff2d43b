//! A library with planted bugs in each kind of thread. AddressSanitizer has to find them, or it would not find other bugs there either.

// The bugs need unsafe code.
#![allow(unsafe_code)]

use std::hint::black_box;

use linx_core::probe::in_thread;

nif_entry::init!(c"Elixir.LinxNative.Test.Buggy");

#[rustler::nif]
fn heap() -> u8 {
    let bytes = Box::new([1; 64]);
    read_beyond(&bytes[..])
}

#[rustler::nif(schedule = "DirtyIo")]
fn heap_in_thread() -> u8 {
    let bytes = Box::new([1; 64]);
    in_thread(|| read_beyond(&bytes[..])).unwrap_or_default()
}

#[rustler::nif(schedule = "DirtyIo")]
fn stack_in_thread() -> u8 {
    in_thread(|| read_beyond(&black_box([1; 64]))).unwrap_or_default()
}

/// The byte after the last one.
fn read_beyond(bytes: &[u8]) -> u8 {
    let beyond = black_box(bytes.as_ptr()).wrapping_add(bytes.len());
    // SAFETY: none: this is the bug.
    unsafe { beyond.read_volatile() }
}
