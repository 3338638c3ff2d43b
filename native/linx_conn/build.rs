//! Linker arguments of a NIF library.

fn main() {
    // A thread may still run code of an old instance of the library while a new one is loaded: it stays mapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
