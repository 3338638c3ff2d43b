//! Linker arguments of the harness.

fn main() {
    // The libraries that `entry` opens find the functions of the VM in it.
    println!("cargo:rustc-link-arg-bins=-Wl,--export-dynamic");
    println!("cargo:rerun-if-changed=build.rs");
}
