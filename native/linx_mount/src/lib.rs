//! The NIFs of `Linx.Mount.Native`: decode, call `linx_core::mount`, encode.

mod failure;

use std::ffi::c_ulong;

use linx_core::mount::{self, Namespaces, Request};
use nif_entry::{Done, Text, charlist};
use rustler::{Env, Term};

use failure::Failure;

nif_entry::init!(c"Elixir.Linx.Mount.Native");

#[rustler::nif]
fn version(env: Env<'_>) -> Term<'_> {
    charlist(env, c"linx_mount")
}

#[rustler::nif(schedule = "DirtyIo")]
#[allow(clippy::too_many_arguments)]
fn mount(
    source: Text,
    target: Text,
    fstype: Text,
    flags: u64,
    data: Text,
    ns_path: Text,
    pidns_path: Text,
    create_target: i32,
) -> Done<Failure> {
    let request = Request {
        source: &source,
        target: &target,
        fstype: &fstype,
        flags: flags as c_ulong,
        data: &data,
    };
    let namespaces = ns_path.non_empty().map(|mount| Namespaces {
        mount,
        pid: pidns_path.non_empty(),
    });
    Done(mount::mount(&request, namespaces, create_target != 0).map_err(Failure))
}

#[rustler::nif(schedule = "DirtyIo")]
fn umount(target: Text, flags: i32, ns_path: Text) -> Done<Failure> {
    Done(mount::umount(&target, flags, ns_path.non_empty()).map_err(Failure))
}

#[rustler::nif(schedule = "DirtyIo")]
fn pivot_root(new_root: Text, put_old: Text, ns_path: Text) -> Done<Failure> {
    Done(mount::pivot_root(&new_root, &put_old, ns_path.non_empty()).map_err(Failure))
}
