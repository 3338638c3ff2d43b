//! Decodes the arguments of the NIFs. Any other term is `badarg`.

use std::ffi::CString;

use linx_core::mounting::{
    Changes, Error, FileSystem, Finish, IdMap, Kind, Layer, Namespace, NamespaceArg, Path, Stage,
    Target, Value,
};
use nif_entry::Text;
use rustler::types::atom::{nil, true_};
use rustler::{Atom, Decoder, NifResult, Term};

mod atoms {
    rustler::atoms! { host, path, fd, file, directory, of, lines }
}

fn is(term: Term<'_>, atom: Atom) -> bool {
    Atom::from_term(term).is_ok_and(|found| found == atom)
}

fn c_string(term: Term<'_>) -> NifResult<CString> {
    Text::decode(term).map(Text::into_c_string)
}

/// `:host`, `{:path, path}`, `{:fd, number}`.
pub(crate) enum NamespaceTerm {
    Host,
    Path(CString),
    Descriptor(i32),
}

impl<'a> Decoder<'a> for NamespaceTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if is(term, atoms::host()) {
            return Ok(Self::Host);
        }
        let (kind, value): (Atom, Term<'a>) = term.decode()?;
        if kind == atoms::path() {
            c_string(value).map(Self::Path)
        } else if kind == atoms::fd() {
            i32::decode(value).map(Self::Descriptor)
        } else {
            Err(rustler::Error::BadArg)
        }
    }
}

impl NamespaceTerm {
    /// Returns the namespace. If it is given by a descriptor, that is duplicated.
    pub(crate) fn open(self, arg: NamespaceArg) -> Result<Namespace, Error> {
        match self {
            Self::Host => Ok(Namespace::Host),
            Self::Path(path) => Ok(Namespace::Path(path)),
            Self::Descriptor(number) => Namespace::of_descriptor(number).map_err(|errno| Error {
                stage: Stage::Open(arg),
                errno,
                path: None,
                words: Vec::new(),
            }),
        }
    }
}

/// `{path, follow}`.
pub(crate) struct PathTerm(pub(crate) Path);

impl<'a> Decoder<'a> for PathTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (path, follow): (Text, bool) = term.decode()?;
        let path = path.into_c_string();
        Ok(Self(Path { path, follow }))
    }
}

/// `{namespace, path, follow, nil | :file | :directory}`.
pub(crate) struct TargetTerm {
    namespace: NamespaceTerm,
    at: Path,
    create: Option<Kind>,
}

impl<'a> Decoder<'a> for TargetTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (namespace, path, follow, create): (NamespaceTerm, Text, bool, Atom) = term.decode()?;
        let create = if create == atoms::file() {
            Some(Kind::File)
        } else if create == atoms::directory() {
            Some(Kind::Directory)
        } else if create == nil() {
            None
        } else {
            return Err(rustler::Error::BadArg);
        };
        let path = path.into_c_string();
        Ok(Self {
            namespace,
            at: Path { path, follow },
            create,
        })
    }
}

impl TargetTerm {
    pub(crate) fn open(self) -> Result<Target, Error> {
        Ok(Target {
            namespace: self.namespace.open(NamespaceArg::In)?,
            at: self.at,
            create: self.create,
        })
    }
}

/// `{type, [{key, true | text}], [{key, path, follow}]}`: the file system, its options, its layers.
pub(crate) struct FileSystemTerm(pub(crate) FileSystem);

impl<'a> Decoder<'a> for FileSystemTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        type Options<'a> = Vec<(Text, Term<'a>)>;
        let (kind, options, layers): (Text, Options<'a>, Vec<(Text, Text, bool)>) =
            term.decode()?;
        let option = |(key, value): (Text, Term<'a>)| {
            let value = match is(value, true_()) {
                true => Value::Flag,
                false => Value::Text(c_string(value)?),
            };
            Ok((key.into_c_string(), value))
        };
        let layer = |(key, path, follow): (Text, Text, bool)| {
            let path = path.into_c_string();
            let (key, at) = (key.into_c_string(), Path { path, follow });
            Layer { key, at }
        };
        Ok(Self(FileSystem {
            kind: kind.into_c_string(),
            options: options.into_iter().map(option).collect::<NifResult<_>>()?,
            layers: layers.into_iter().map(layer).collect(),
        }))
    }
}

/// `{set, clear, propagation}`: numbers of the kernel.
pub(crate) struct ChangesTerm(pub(crate) Changes);

impl<'a> Decoder<'a> for ChangesTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (set, clear, propagation): (u64, u64, u64) = term.decode()?;
        Ok(Self(Changes {
            set,
            clear,
            propagation,
        }))
    }
}

/// `{changes, nil | {:of, namespace} | {:lines, uids, gids}}`.
pub(crate) struct FinishTerm {
    changes: Changes,
    id_map: Option<IdMapTerm>,
}

enum IdMapTerm {
    Of(NamespaceTerm),
    Lines(CString, CString),
}

impl<'a> Decoder<'a> for FinishTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (ChangesTerm(changes), map): (ChangesTerm, Term<'a>) = term.decode()?;
        let id_map = match is(map, nil()) {
            true => None,
            false => Some(IdMapTerm::decode(map)?),
        };
        Ok(Self { changes, id_map })
    }
}

impl<'a> Decoder<'a> for IdMapTerm {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if let Ok((kind, namespace)) = term.decode::<(Atom, NamespaceTerm)>()
            && kind == atoms::of()
        {
            return Ok(Self::Of(namespace));
        }
        let (kind, uids, gids): (Atom, Text, Text) = term.decode()?;
        if kind != atoms::lines() {
            return Err(rustler::Error::BadArg);
        }
        Ok(Self::Lines(uids.into_c_string(), gids.into_c_string()))
    }
}

impl FinishTerm {
    pub(crate) fn open(self) -> Result<Finish, Error> {
        let id_map = match self.id_map {
            None => None,
            Some(IdMapTerm::Of(namespace)) => Some(IdMap::Of(namespace.open(NamespaceArg::IdMap)?)),
            Some(IdMapTerm::Lines(uids, gids)) => Some(IdMap::Lines { uids, gids }),
        };
        let changes = self.changes;
        Ok(Finish { changes, id_map })
    }
}
