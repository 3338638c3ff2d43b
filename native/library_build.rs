//! The build script of each NIF library: linker arguments, and what its types of resources are called by.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What decides how a resource is laid out in memory. A Rust type has no layout that is the same in each build.
const SOURCES: [&str; 3] = ["src", "../linx_core/src", "../nif_entry/src"];
const SETTINGS: [&str; 3] = ["TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_CFG_FEATURE"];

fn main() -> Result<(), Box<dyn Error>> {
    // A thread may still run code of an old instance of the library while a new one is loaded: it stays mapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    for folder in SOURCES {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rustc-env=LINX_LIBRARY_LAYOUT={:016x}", layout()?);
    Ok(())
}

/// The same number for the same compiler, settings and sources, wherever they are.
fn layout() -> Result<u64, Box<dyn Error>> {
    // Its keys are always the same. Its algorithm is the compiler's, which is part of what is hashed.
    let mut hasher = DefaultHasher::new();
    hasher.write(&Command::new(env::var("RUSTC")?).arg("-vV").output()?.stdout);
    for setting in SETTINGS {
        hasher.write(env::var(setting).unwrap_or_default().as_bytes());
    }
    for folder in SOURCES {
        for file in files(Path::new(folder))? {
            hasher.write(&fs::read(file)?);
        }
    }
    Ok(hasher.finish())
}

/// All files below a folder, in an order that depends on their names only.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
