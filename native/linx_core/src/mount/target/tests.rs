use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::fstat;

use super::*;

/// A directory that is removed when the test ends.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("linx_core-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn resolve(path: impl AsRef<Path>) -> Result<OwnedFd, i32> {
    let path = CString::new(path.as_ref().to_str().unwrap()).unwrap();
    resolve_or_create(&path, || Ok(())).map_err(Errno::raw)
}

#[test]
fn a_missing_target_becomes_an_empty_regular_file_of_mode_0644() {
    let dir = Dir::new("create");
    let made = resolve(dir.path("new")).unwrap();
    let file = fs::symlink_metadata(dir.path("new")).unwrap();
    assert_eq!(fstat(&made).unwrap().st_ino, file.ino());
    assert!(file.is_file() && file.len() == 0);
    assert_eq!(file.permissions().mode() & 0o7777, 0o644);
}

#[test]
fn an_existing_target_is_found_and_kept() {
    let dir = Dir::new("keep");
    fs::write(dir.path("file"), "content").unwrap();
    for path in [dir.path("file"), dir.0.clone(), "/".into(), "//".into()] {
        let found = resolve(&path).unwrap();
        assert_eq!(
            fstat(&found).unwrap().st_ino,
            fs::metadata(&path).unwrap().ino()
        );
    }
    assert_eq!(fs::read(dir.path("file")).unwrap(), b"content");
}

#[test]
fn a_link_anywhere_is_eloop_and_nothing_is_made_behind_it() {
    let dir = Dir::new("link");
    fs::create_dir(dir.path("real")).unwrap();
    symlink("real", dir.path("link")).unwrap();
    symlink("real/new", dir.path("dangling")).unwrap();
    symlink("/etc/passwd", dir.path("outside")).unwrap();
    for name in ["link", "link/new", "dangling", "outside"] {
        assert_eq!(resolve(dir.path(name)).unwrap_err(), libc::ELOOP, "{name}");
    }
    assert_eq!(fs::read_dir(dir.path("real")).unwrap().count(), 0);
}

#[test]
fn a_path_that_leaves_the_root_is_exdev() {
    assert_eq!(resolve("/../etc").unwrap_err(), libc::EXDEV);
    assert_eq!(resolve("../x").unwrap_err(), libc::EXDEV);
    assert!(resolve("/proc/../etc").is_ok());
}

#[test]
fn errors_of_the_creation_are_those_of_open() {
    let dir = Dir::new("errors");
    fs::write(dir.path("file"), "").unwrap();
    assert_eq!(resolve("").unwrap_err(), libc::ENOENT);
    assert_eq!(resolve(dir.path("no/new")).unwrap_err(), libc::ENOENT);
    assert_eq!(resolve(dir.path("file/new")).unwrap_err(), libc::ENOTDIR);
    assert_eq!(resolve(dir.path("new/")).unwrap_err(), libc::EISDIR);
    assert_eq!(
        resolve(dir.path(&"x".repeat(256))).unwrap_err(),
        libc::ENAMETOOLONG
    );
}
