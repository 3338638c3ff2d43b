//! The layout number of the build script. It decides which resources another instance of a library takes over.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 3] = ["library/src", "linx_core/src", "nif_entry/src"];
const SETTINGS: [&str; 3] = ["TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_CFG_FEATURE"];

/// Compiles the build script to a program.
fn build_script() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library_build");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../library_build.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-o"]).arg(&program);
    assert!(rustc.arg(source).status().unwrap().success());
    program
}

/// Makes a workspace with a source file in each folder, and a compiler that only prints its version.
fn workspace(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for source in SOURCES {
        fs::create_dir_all(root.join(source).join("folder")).unwrap();
        fs::write(root.join(source).join("folder/file.rs"), "").unwrap();
    }
    compiler(&root, "1.95.0");
    root
}

fn compiler(root: &Path, version: &str) {
    let path = root.join("rustc");
    fs::write(&path, format!("#!/bin/sh\necho {version}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn layout(program: &Path, root: &Path, setting: Option<&str>) -> String {
    let mut command = Command::new(program);
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    if let Some(setting) = setting {
        command.env(setting, setting);
    }
    command.env("RUSTC", root.join("rustc"));
    let output = command.current_dir(root.join("library")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let layout = said
        .lines()
        .find(|line| line.contains("LINX_LIBRARY_LAYOUT="));
    layout.unwrap().to_owned()
}

#[test]
fn the_number_depends_on_compiler_settings_and_sources_but_not_on_the_folder() {
    let program = build_script();
    let root = workspace("one");
    let first = layout(&program, &root, None);
    assert_eq!(layout(&program, &root, None), first);
    assert_eq!(layout(&program, &workspace("two"), None), first);

    let mut seen = HashSet::from([first]);
    for setting in SETTINGS {
        assert!(
            seen.insert(layout(&program, &root, Some(setting))),
            "{setting}"
        );
    }
    for source in SOURCES {
        fs::write(root.join(source).join("folder/file.rs"), source).unwrap();
        assert!(seen.insert(layout(&program, &root, None)), "{source}");
    }
    compiler(&root, "1.96.0");
    assert!(seen.insert(layout(&program, &root, None)));
}
