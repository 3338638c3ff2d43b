//! The NIFs of `Linx.Mount.Native`: decode, call `linx_core::mount`, encode.

mod call;
mod failure;

use std::ffi::c_ulong;

use linx_core::mount::{self, Namespaces, Request};
use nif_entry::{Done, Text, Turn, begin, charlist};
use rustler::{Encoder, Env, NifResult, Term};

use call::MountCall;
use failure::Failure;

nif_entry::init!(c"Elixir.Linx.Mount.Native", call::register);

#[rustler::nif]
fn version(env: Env<'_>) -> Term<'_> {
    charlist(env, c"linx_mount")
}

#[rustler::nif(schedule = "DirtyIo")]
#[allow(clippy::too_many_arguments)]
fn mount<'a>(
    env: Env<'a>,
    source: Text,
    target: Text,
    fstype: Text,
    flags: u64,
    data: Text,
    ns_path: Text,
    pidns_path: Text,
    create_target: i32,
) -> NifResult<Turn<'a>> {
    let request = Request {
        source: source.into_c_string(),
        target: target.into_c_string(),
        fstype: fstype.into_c_string(),
        flags: flags as c_ulong,
        data: data.into_c_string(),
    };
    let create_target = create_target != 0;
    match ns_path.non_empty() {
        None => here(env, mount::mount(&request, create_target)),
        Some(mount) => {
            let pid = pidns_path.non_empty();
            let namespaces = Namespaces { mount, pid };
            begin(env, c"mount", || {
                mount::mount_in(request, namespaces, create_target)
                    .map(MountCall)
                    .map_err(Failure)
            })
        }
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn umount<'a>(env: Env<'a>, target: Text, flags: i32, ns_path: Text) -> NifResult<Turn<'a>> {
    match ns_path.non_empty() {
        None => here(env, mount::umount(&target, flags)),
        Some(namespace) => begin(env, c"umount", || {
            mount::umount_in(target.into_c_string(), flags, namespace)
                .map(MountCall)
                .map_err(Failure)
        }),
    }
}

#[rustler::nif(schedule = "DirtyIo")]
fn pivot_root<'a>(
    env: Env<'a>,
    new_root: Text,
    put_old: Text,
    ns_path: Text,
) -> NifResult<Turn<'a>> {
    begin(env, c"pivot_root", || {
        let (new_root, put_old) = (new_root.into_c_string(), put_old.into_c_string());
        mount::pivot_root(new_root, put_old, ns_path.non_empty())
            .map(MountCall)
            .map_err(Failure)
    })
}

/// Encodes the result of a call in the VM's own mount namespace, which needs no further turn.
fn here(env: Env<'_>, result: Result<(), linx_core::Error>) -> NifResult<Turn<'_>> {
    Ok(Turn::Over(Done(result.map_err(Failure)).encode(env)))
}
