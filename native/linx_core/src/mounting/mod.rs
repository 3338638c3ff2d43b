//! Mounts by descriptor: the newer mount API, across namespaces.
//!
//! Each call runs on a thread of its own and resolves each path once. Its caller gets a [`Pending`], and waits as long as it likes.
//! If the caller gives up, [`mount`] and [`bind`] leave nothing mounted, and no file that they made. The other calls can be given up
//! until their last system call begins.

mod error;
mod file_system;
mod namespace;
mod resolve;
mod target;
mod tree;
mod unmount;

use std::os::fd::{AsFd, OwnedFd};

use crate::error::Errno;
use crate::syscall::{is_directory, move_mount, open_tree_of};
use crate::throwaway::{self, Pending, Throwaway};

pub use error::{Error, NamespaceArg, Stage};
pub use file_system::{FileSystem, Layer, Value};
pub use namespace::Namespace;
pub use resolve::Path;
pub use target::{Kind, Target};
pub use tree::{Changes, IdMap};
pub use unmount::{pivot_root, umount};

use error::At;
use file_system::Unmountable;
use namespace::{Descriptors, Directories, MountNamespaces};
use resolve::Root;
use target::Found;

/// A call that runs on a thread.
pub type Call = Pending<Result<(), Error>>;

/// The changes to a detached mount before it is attached and can be seen.
#[derive(Debug, Default)]
pub struct Finish {
    /// Attributes and propagation.
    pub changes: Changes,
    /// The map of ids.
    pub id_map: Option<IdMap>,
}

/// Mounts a new file system.
///
/// * `file_system`: what to mount.
/// * `from`: the mount namespace in which a device and the layers of an overlay are looked up.
/// * `pid_namespace`: the PID namespace that a procfs shows. `None` is the VM's.
/// * `finish`: attributes, propagation, id map.
/// * `target`: where to attach it.
///
/// # Errors
/// [`Stage::Thread`]. The call itself: any other stage, except for those of the source of [`bind`], of [`umount`] and of
/// [`pivot_root`].
pub fn mount(
    file_system: FileSystem,
    from: Namespace,
    pid_namespace: Option<Namespace>,
    finish: Finish,
    target: Target,
) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let id_map = finish.id_map;
        let others = [
            pid_namespace.as_ref(),
            id_map.as_ref().and_then(IdMap::namespace),
        ];
        let directories = directories(&from, &target.namespace, &others);
        let (mut route, descriptors) = prepare(thread, &directories, from, target.namespace)?;
        let open = |namespace: Namespace| {
            namespace.file(&directories, libc::CLONE_NEWPID, NamespaceArg::PidNamespace)
        };
        let pid_namespace = pid_namespace.map(open).transpose()?;
        let id_map = id_map
            .map(|map| map.open(thread, &directories))
            .transpose()?;
        let Changes { set, .. } = finish.changes;
        let root = route.enter_source(thread)?;
        let made = file_system.make(thread, &descriptors, root, pid_namespace.as_ref(), set);
        let by_child = match (made, &pid_namespace) {
            (Ok(tree), _) => {
                // A new mount has no flags to clear, and is private.
                let changes = Changes {
                    propagation: finish.changes.propagation,
                    ..Changes::default()
                };
                changes.apply(tree.as_fd(), false).at(Stage::Attributes)?;
                if let Some(map) = &id_map {
                    tree::map_ids(tree.as_fd(), false, map)?;
                }
                let root = route.enter_target(thread)?;
                return attach(thread, &descriptors, &tree, root, &target.at, target.create);
            }
            (Err(Unmountable::Failed(error)), _) => return Err(error),
            (Err(Unmountable::NoPidns(errno)), Some(namespace)) => {
                // The mount of a child is private, without a map, and attached at once, so it can get neither later.
                if finish.changes.propagation & (libc::MS_SHARED | libc::MS_UNBINDABLE) != 0 {
                    return Err(errno).at(Stage::Attributes);
                }
                if id_map.is_some() {
                    return Err(errno).at(Stage::IdMap);
                }
                namespace
            }
            (Err(Unmountable::NoPidns(errno)), None) => {
                return Err(errno).at(Stage::Open(NamespaceArg::PidNamespace));
            }
        };
        let root = route.enter_target(thread)?;
        let found = Found::find_or_create(thread, root, &target.at, target.create, Stage::Target)?;
        let directory = found.file.as_fd();
        thread
            .in_directory(directory, || {
                file_system::mount_in_child(thread, &file_system, by_child, set)
            })
            .at_path(Stage::Target, &target.at.path)??;
        if let Err(gone) = thread.hand_over() {
            thread
                .in_directory(directory, unmount::detach_working_directory)
                .at(Stage::Umount)?;
            return Err(gone).at(Stage::Attach);
        }
        found.keep();
        Ok(())
    })
    .at(Stage::Thread)
}

/// Mounts a directory or a file at another path: copies the mount tree there, changes and attaches it.
///
/// * `from`, `source`: the mount namespace and the path of the directory or file.
/// * `recursive`: also copies and changes every mount below it.
/// * `finish`, `target`: see [`mount`].
///
/// # Errors
/// [`Stage::Thread`]. The call itself: the stages of the namespaces, the source, [`Finish`] and the target.
pub fn bind(
    from: Namespace,
    source: Path,
    recursive: bool,
    finish: Finish,
    target: Target,
) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let id_map = finish.id_map;
        let others = [id_map.as_ref().and_then(IdMap::namespace)];
        let directories = directories(&from, &target.namespace, &others);
        let (mut route, descriptors) = prepare(thread, &directories, from, target.namespace)?;
        let id_map = id_map
            .map(|map| map.open(thread, &directories))
            .transpose()?;
        let root = route.enter_source(thread)?;
        let tree = {
            let file = root
                .find(&source.path, source.follow)
                .at_path(Stage::Source, &source.path)?;
            open_tree_of(file.as_fd(), recursive).at_path(Stage::Clone, &source.path)?
        };
        finish
            .changes
            .apply(tree.as_fd(), recursive)
            .at_path(Stage::Attributes, &source.path)?;
        if let Some(map) = &id_map {
            tree::map_ids(tree.as_fd(), recursive, map)?;
        }
        let root = route.enter_target(thread)?;
        attach(thread, &descriptors, &tree, root, &target.at, target.create)
    })
    .at(Stage::Thread)
}

/// Changes the attributes and the propagation of a mount.
///
/// * `namespace`, `target`: the mount namespace and the mount point.
/// * `recursive`: also changes every mount below it. Either all of them change, or none.
///
/// # Errors
/// [`Stage::Thread`]. The call itself: the stages of the namespace; [`Stage::Target`]; [`Stage::Attributes`], with EINVAL if nothing
/// is mounted at that very path.
pub fn set(
    namespace: Namespace,
    target: Path,
    recursive: bool,
    changes: Changes,
) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let root = enter(thread, namespace)?;
        let found = root.find(&target.path, target.follow);
        let found = found.at_path(Stage::Target, &target.path)?;
        thread.check_wanted().at(Stage::Attributes)?;
        changes
            .apply(found.as_fd(), recursive)
            .at_path(Stage::Attributes, &target.path)
    })
    .at(Stage::Thread)
}

/// Moves a mount, with every mount below it, to another path of the same namespace.
///
/// # Errors
/// [`Stage::Thread`]. The call itself: the stages of the namespace; [`Stage::Source`]; [`Stage::Target`], [`Stage::Create`];
/// [`Stage::Attach`], with EINVAL if nothing is mounted at `source`, or if its parent mount is shared.
pub fn move_to(source: Path, target: Target) -> Result<Call, Error> {
    throwaway::spawn(move |thread| {
        let root = enter(thread, target.namespace)?;
        let tree = root
            .find(&source.path, source.follow)
            .at_path(Stage::Source, &source.path)?;
        let (at, create) = (target.at, target.create);
        let found = Found::find_or_create(thread, root, &at, create, Stage::Target)?;
        thread.check_wanted().at(Stage::Attach)?;
        put(&tree, &found, &at)?;
        found.keep();
        Ok(())
    })
    .at(Stage::Thread)
}

/// Opens the directories that several namespaces of a call share.
fn directories(from: &Namespace, to: &Namespace, others: &[Option<&Namespace>]) -> Directories {
    Directories::of(
        [from, to]
            .into_iter()
            .chain(others.iter().flatten().copied()),
    )
}

/// Gives the thread a working directory of its own, and opens the mount namespaces and the folder of descriptors.
fn prepare(
    thread: &Throwaway<'_>,
    directories: &Directories,
    from: Namespace,
    to: Namespace,
) -> Result<(MountNamespaces, Descriptors), Error> {
    thread.unshare_fs().at(Stage::Unshare)?;
    let descriptors = Descriptors::open().at(Stage::Unshare)?;
    Ok((
        MountNamespaces::of_both(directories, from, to)?,
        descriptors,
    ))
}

/// Moves the thread into a mount namespace, and returns the root there.
fn enter(thread: &Throwaway<'_>, namespace: Namespace) -> Result<Root, Error> {
    thread.unshare_fs().at(Stage::Unshare)?;
    MountNamespaces::of_target(namespace)?.enter_target(thread)
}

/// Attaches a detached tree, and detaches it again if the caller has gone meanwhile.
fn attach(
    thread: &Throwaway<'_>,
    descriptors: &Descriptors,
    tree: &OwnedFd,
    root: Root,
    at: &Path,
    create: Option<Kind>,
) -> Result<(), Error> {
    let found = Found::find_or_create(thread, root, at, create, Stage::Target)?;
    thread.check_wanted().at(Stage::Attach)?;
    put(tree, &found, at)?;
    if let Err(gone) = thread.hand_over() {
        unmount::detach(thread, descriptors, tree.as_fd()).at(Stage::Umount)?;
        return Err(gone).at(Stage::Attach);
    }
    found.keep();
    Ok(())
}

/// Attaches a tree to a target by descriptor. If that fails, nothing else is tried.
fn put(tree: &OwnedFd, found: &Found, at: &Path) -> Result<(), Error> {
    let (tree, target) = (tree.as_fd(), found.file.as_fd());
    let moved = move_mount(tree, target).map_err(|errno| match errno.raw() {
        // A directory can be mounted only onto a directory, a file only onto a file. `move_mount(2)` gives EINVAL otherwise, as for
        // many other errors.
        libc::EINVAL if is_directory(tree) != is_directory(target) => {
            Errno::from_raw(libc::ENOTDIR)
        }
        _ => errno,
    });
    moved.at_path(Stage::Attach, &at.path)
}
