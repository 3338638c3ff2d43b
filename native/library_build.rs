//! The build script of each NIF library: linker arguments, and the number for the names of its resource types.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The sources that decide the memory layout of a resource. A Rust type has no guaranteed layout.
const SOURCES: [&str; 3] = ["src", "../linx_core/src", "../nif_entry/src"];
const SETTINGS: [&str; 3] = ["TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_CFG_FEATURE"];

fn main() -> Result<(), Box<dyn Error>> {
    // Keeps an old instance of the library mapped, because a thread may still run its code after a new instance is loaded.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    for folder in SOURCES {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rustc-env=LINX_LIBRARY_LAYOUT={:016x}", layout()?);
    Ok(())
}

/// Returns a number that is the same for the same compiler, settings and sources, wherever the sources are.
fn layout() -> Result<u64, Box<dyn Error>> {
    // This hasher always has the same keys. Its algorithm depends on the compiler, whose version is hashed too.
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

/// Returns all files below a folder, in an order that depends only on their names.
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
