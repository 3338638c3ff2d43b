//! Makes a new file system: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, with the kernel's own messages.

use std::ffi::{CStr, CString, c_uint};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

use super::error::{At, Error, NamespaceArg, Stage};
use super::namespace::Descriptors;
use super::resolve::{Path, Root};
use crate::c_string::{c_string, page_size};
use crate::error::{Errno, check};
use crate::syscall::{FsContext, Parameter};
use crate::throwaway::Throwaway;

/// A file system to be made.
#[derive(Debug)]
pub struct FileSystem {
    /// The type, for example `c"tmpfs"`.
    pub kind: CString,
    /// The options, in order.
    pub options: Vec<(CString, Value)>,
    /// The layers of an overlay, in order.
    pub layers: Vec<Layer>,
}

/// The value of an option.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value: only the presence of the option counts.
    Flag,
    /// A text of at most 255 bytes.
    Text(CString),
}

/// A directory of an overlay.
#[derive(Debug)]
pub struct Layer {
    /// The option: `lowerdir+`, `datadir+`, `upperdir` or `workdir`.
    pub key: CString,
    /// The path, in the mount namespace of the source.
    pub at: Path,
}

/// A layer that was resolved.
struct Directory {
    key: CString,
    path: CString,
    file: OwnedFd,
}

impl FileSystem {
    /// Makes the file system and returns a detached mount of it.
    ///
    /// * `root`: the root beneath which its layers are looked up.
    /// * `pid_namespace`: the PID namespace that a procfs shows.
    /// * `attributes`: `MOUNT_ATTR_` flags.
    ///
    /// # Errors
    /// [`Unmountable`].
    pub(super) fn make(
        &self,
        thread: &Throwaway<'_>,
        descriptors: &Descriptors,
        root: Root,
        pid_namespace: Option<&OwnedFd>,
        attributes: u64,
    ) -> Result<OwnedFd, Unmountable> {
        let directories = self.find_layers(root)?;
        let context = self.configure(pid_namespace)?;
        let context = match add(&context, &directories) {
            Ok(()) => context,
            // The kernel takes no descriptors, so it gets their names.
            Err(Refused::Descriptor) => {
                let context = self.configure(pid_namespace)?;
                descriptors.enter(thread).at(Stage::Layer)?;
                add_by_name(&context, &directories)?;
                context
            }
            Err(Refused::Option(error)) => return Err(error.into()),
        };
        thread.check_wanted().at(Stage::Superblock)?;
        let attributes = c_uint::try_from(attributes).unwrap_or(c_uint::MAX);
        let mount = context
            .create()
            .and_then(|()| context.fsmount(attributes))
            .at(Stage::Superblock)
            .map_err(|error| with_words(error, &context))?;
        Ok(mount)
    }

    fn find_layers(&self, root: Root) -> Result<Vec<Directory>, Error> {
        let find = |layer: &Layer| {
            let Path { path, follow } = &layer.at;
            Ok(Directory {
                key: layer.key.clone(),
                path: path.clone(),
                file: root.find(path, *follow).at_path(Stage::Layer, path)?,
            })
        };
        self.layers.iter().map(find).collect()
    }

    /// Returns a context with all options but the layers.
    ///
    /// The kernel checks each option before it may refuse the PID namespace, because [`mount_in_child`] joins them with commas.
    fn configure(&self, pid_namespace: Option<&OwnedFd>) -> Result<FsContext, Unmountable> {
        let context = FsContext::open(&self.kind).at(Stage::FileSystem)?;
        for (key, value) in &self.options {
            let parameter = match value {
                Value::Flag => Parameter::Flag(key),
                Value::Text(text) => Parameter::Text(key, text),
            };
            set(&context, key, &parameter)?;
        }
        if let Some(namespace) = pid_namespace {
            let parameter = Parameter::Fd(c"pidns", namespace.as_fd());
            match context.set(&parameter) {
                Err(errno) if errno.raw() == libc::EINVAL => {
                    return Err(Unmountable::NoPidns(errno));
                }
                done => done.at(Stage::Open(NamespaceArg::PidNamespace))?,
            }
        }
        Ok(context)
    }
}

/// Why no mount could be made.
pub(super) enum Unmountable {
    /// Procfs has no option `pidns` before Linux 6.17.
    NoPidns(Errno),
    Failed(Error),
}

impl From<Error> for Unmountable {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

enum Refused {
    /// The kernel takes no descriptor for this option: overlayfs before Linux 6.13.
    Descriptor,
    Option(Error),
}

/// Adds the layers to an overlay by descriptor, since Linux 6.13.
fn add(context: &FsContext, directories: &[Directory]) -> Result<(), Refused> {
    for Directory { key, path, file } in directories {
        let parameter = Parameter::Fd(key, file.as_fd());
        let set = context.set(&parameter).at_path(Stage::Layer, path);
        set.map_err(|error| {
            let error = with_words(error, context);
            match takes_no_descriptor(&error) {
                true => Refused::Descriptor,
                false => Refused::Option(error),
            }
        })?;
    }
    Ok(())
}

/// Reports whether the kernel refuses every descriptor for the option, not just this one.
fn takes_no_descriptor(error: &Error) -> bool {
    // The messages of the kernel's parser for an option that takes only text, and for `lowerdir+` before Linux 6.8.
    let parser: [&[u8]; 2] = [b"Bad value for '", b"Unknown parameter '"];
    let says = |text: &&[u8]| {
        let contains = |word: &Vec<u8>| word.windows(text.len()).any(|part| part == *text);
        error.words.iter().any(contains)
    };
    match error.errno.raw() {
        // Before Linux 6.13, where `fsconfig(2)` takes no descriptor that was opened with `O_PATH`.
        libc::EBADF => true,
        // Before Linux 6.5, where overlayfs does not know the newer kinds of options at all.
        libc::EOPNOTSUPP => true,
        libc::EINVAL => error.words.is_empty() || parser.iter().any(says),
        _ => false,
    }
}

/// Adds the layers to an overlay by the names of their descriptors in the working directory.
fn add_by_name(context: &FsContext, directories: &[Directory]) -> Result<(), Error> {
    let (lower, others): (Vec<_>, Vec<_>) = directories
        .iter()
        .partition(|directory| directory.key.as_c_str() == c"lowerdir+");
    let numbers: Vec<_> = lower
        .iter()
        .map(|directory| directory.file.as_raw_fd().to_string())
        .collect();
    if !numbers.is_empty() {
        // This form is the only one before Linux 6.5.
        let text = c_string(numbers.join(":").as_bytes()).map_err(Errno::from);
        let text = text.at(Stage::Layer)?;
        set(context, c"lowerdir", &Parameter::Text(c"lowerdir", &text))?;
    }
    for Directory { key, file, .. } in others {
        let text = c_string(file.as_raw_fd().to_string().as_bytes()).map_err(Errno::from);
        let text = text.at(Stage::Layer)?;
        set(context, key, &Parameter::Text(key, &text))?;
    }
    Ok(())
}

fn set(context: &FsContext, key: &CStr, parameter: &Parameter<'_>) -> Result<(), Error> {
    context
        .set(parameter)
        .at(Stage::Option(key.to_owned()))
        .map_err(|error| with_words(error, context))
}

fn with_words(error: Error, context: &FsContext) -> Error {
    Error {
        words: context.messages(),
        ..error
    }
}

/// Mounts a procfs of a PID namespace on the working directory of the thread, for kernels before Linux 6.17.
///
/// These kernels take the PID namespace of the process that mounts, so a child in that namespace mounts.
pub(super) fn mount_in_child(
    thread: &Throwaway<'_>,
    file_system: &FileSystem,
    pid_namespace: &OwnedFd,
    attributes: u64,
) -> Result<(), Error> {
    let (source, data) = data(&file_system.options).at(Stage::Superblock)?;
    thread
        .enter(pid_namespace.as_fd(), CloneFlags::CLONE_NEWPID)
        .at(Stage::Enter(NamespaceArg::PidNamespace))?;
    let flags = MsFlags::from_bits_retain(mount_flags(attributes));
    let kind = file_system.kind.as_c_str();
    thread.check_wanted().at(Stage::Superblock)?;
    thread
        .in_child(|| {
            let mounted = mount(Some(source), c".", Some(kind), flags, Some(data.as_c_str()));
            check(mounted)
        })
        .at(Stage::Fork)?
        .unwrap_or(Err(Errno::from_raw(libc::EIO)))
        .at(Stage::Superblock)
}

/// Returns the source and the other options as `mount(2)` takes them.
fn data(options: &[(CString, Value)]) -> Result<(&CStr, CString), Errno> {
    // `fsmount(2)` shows this name for a mount without a source.
    let mut source = c"none";
    let mut others = Vec::new();
    for option in options {
        match option {
            (key, Value::Text(text)) if key.as_c_str() == c"source" => source = text,
            _ => others.push(option),
        }
    }
    let text = |(key, value): &(CString, Value)| match value {
        Value::Flag => key.to_bytes().to_vec(),
        Value::Text(text) => [key.to_bytes(), b"=", text.to_bytes()].concat(),
    };
    let parts: Vec<Vec<u8>> = others.into_iter().map(text).collect();
    let data = parts.join(&b',');
    // The kernel would cut it.
    if data.len() >= page_size() {
        return Err(Errno::from_raw(libc::E2BIG));
    }
    Ok((source, c_string(&data)?))
}

/// Returns the flags of `mount(2)` for `MOUNT_ATTR_` flags.
fn mount_flags(attributes: u64) -> libc::c_ulong {
    [
        (0x01, libc::MS_RDONLY),
        (0x02, libc::MS_NOSUID),
        (0x04, libc::MS_NODEV),
        (0x08, libc::MS_NOEXEC),
        (0x10, libc::MS_NOATIME),
        (0x20, libc::MS_STRICTATIME),
        (0x80, libc::MS_NODIRATIME),
        (0x20_0000, libc::MS_NOSYMFOLLOW),
    ]
    .into_iter()
    .filter(|&(attribute, _)| attributes & attribute != 0)
    .fold(0, |flags, (_, flag)| flags | flag)
}
