//! Encodes an error as `{stage, errno, path, words}`, or as `:timeout`.

use std::ffi::CString;

use linx_core::mounting::{Error, NamespaceArg, Stage};
use rustler::types::atom::nil;
use rustler::{Atom, Encoder, Env, NewBinary, Term};

mod atoms {
    rustler::atoms! {
        thread, unshare, open, enter, source, clone, file_system, option, layer, superblock, fork, user_namespace, id_map,
        attributes, target, create, attach, umount, new_root, put_old, pivot_root, timeout,
        // The options of `LinxNative.Mount` that name a namespace.
        from, in_ = "in", pid_namespace
    }
}

/// The reason of an error of this library.
pub(crate) enum Failure {
    Of(Error),
    Timeout,
}

impl Encoder for Failure {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        let error = match self {
            Self::Timeout => return atoms::timeout().encode(env),
            Self::Of(error) => error,
        };
        let path = error.path.as_ref();
        let path = path.map_or_else(
            || nil().encode(env),
            |path: &CString| binary(env, path.to_bytes()),
        );
        let words: Vec<Term<'a>> = error.words.iter().map(|word| binary(env, word)).collect();
        (stage(env, &error.stage), error.errno.raw(), path, words).encode(env)
    }
}

fn stage<'a>(env: Env<'a>, stage: &Stage) -> Term<'a> {
    let atom = match stage {
        Stage::Open(of) => return (atoms::open(), argument(*of)).encode(env),
        Stage::Enter(of) => return (atoms::enter(), argument(*of)).encode(env),
        Stage::Option(key) => return (atoms::option(), binary(env, key.to_bytes())).encode(env),
        Stage::Thread => atoms::thread(),
        Stage::Unshare => atoms::unshare(),
        Stage::Source => atoms::source(),
        Stage::Clone => atoms::clone(),
        Stage::FileSystem => atoms::file_system(),
        Stage::Layer => atoms::layer(),
        Stage::Superblock => atoms::superblock(),
        Stage::Fork => atoms::fork(),
        Stage::UserNamespace => atoms::user_namespace(),
        Stage::IdMap => atoms::id_map(),
        Stage::Attributes => atoms::attributes(),
        Stage::Target => atoms::target(),
        Stage::Create => atoms::create(),
        Stage::Attach => atoms::attach(),
        Stage::Umount => atoms::umount(),
        Stage::NewRoot => atoms::new_root(),
        Stage::PutOld => atoms::put_old(),
        Stage::PivotRoot => atoms::pivot_root(),
    };
    atom.encode(env)
}

fn argument(arg: NamespaceArg) -> Atom {
    match arg {
        NamespaceArg::From => atoms::from(),
        NamespaceArg::In => atoms::in_(),
        NamespaceArg::PidNamespace => atoms::pid_namespace(),
        NamespaceArg::IdMap => atoms::id_map(),
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}
