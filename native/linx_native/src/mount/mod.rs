//! The NIFs of mounts by descriptor: decode, call `linx_core::mounting`, encode.

mod call;
mod failure;
mod request;

use linx_core::mounting;
use nif_entry::Turn;
use rustler::{Env, NifResult};

use call::{Deadline, run};
use request::{ChangesTerm, FileSystemTerm, FinishTerm, NamespaceTerm, PathTerm, TargetTerm};

pub(crate) use call::register;

#[rustler::nif(schedule = "DirtyIo")]
fn mount<'a>(
    env: Env<'a>,
    file_system: FileSystemTerm,
    from: NamespaceTerm,
    pid_namespace: Option<NamespaceTerm>,
    finish: FinishTerm,
    target: TargetTerm,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"mount", timeout, || {
        let pid_namespace = pid_namespace
            .map(|namespace| namespace.open(mounting::NamespaceArg::PidNamespace))
            .transpose()?;
        mounting::mount(
            file_system.0,
            from.open(mounting::NamespaceArg::From)?,
            pid_namespace,
            finish.open()?,
            target.open()?,
        )
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn bind<'a>(
    env: Env<'a>,
    from: NamespaceTerm,
    source: PathTerm,
    recursive: bool,
    finish: FinishTerm,
    target: TargetTerm,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"bind", timeout, || {
        mounting::bind(
            from.open(mounting::NamespaceArg::From)?,
            source.0,
            recursive,
            finish.open()?,
            target.open()?,
        )
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn set<'a>(
    env: Env<'a>,
    namespace: NamespaceTerm,
    target: PathTerm,
    recursive: bool,
    changes: ChangesTerm,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"set", timeout, || {
        let namespace = namespace.open(mounting::NamespaceArg::In)?;
        mounting::set(namespace, target.0, recursive, changes.0)
    })
}

#[rustler::nif(name = "move", schedule = "DirtyIo")]
fn move_to<'a>(
    env: Env<'a>,
    source: PathTerm,
    target: TargetTerm,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"move", timeout, || {
        mounting::move_to(source.0, target.open()?)
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn umount<'a>(
    env: Env<'a>,
    namespace: NamespaceTerm,
    target: PathTerm,
    flags: i32,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"umount", timeout, || {
        mounting::umount(namespace.open(mounting::NamespaceArg::In)?, target.0, flags)
    })
}

#[rustler::nif(schedule = "DirtyIo")]
fn pivot_root<'a>(
    env: Env<'a>,
    new_root: PathTerm,
    put_old: TargetTerm,
    timeout: Deadline,
) -> NifResult<Turn<'a>> {
    run(env, c"pivot_root", timeout, || {
        mounting::pivot_root(new_root.0, put_old.open()?)
    })
}
