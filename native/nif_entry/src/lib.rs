//! The code that the NIF libraries share at the interface to the BEAM: the entry of a library, resources, turns, and terms.
//!
//! This crate has no NIF, because a library registers every `#[rustler::nif]` that is linked into it.

mod caller;
mod charlist;
mod entry;
mod resource;
mod terms;
mod turns;

pub use caller::caller_is_alive;
pub use charlist::charlist;
pub use entry::{OnLoad, entry};
pub use resource::{Allocated, Resource, ResourceType};
pub use terms::{Done, Text, stage};
pub use turns::{Call, Turn, Waiting, begin};

/// Defines `nif_init`, the only function that the VM looks up in a library, for a module of this name.
///
/// ```text
/// nif_entry::init!(c"Elixir.Linx.Mount.Native");
/// nif_entry::init!(c"Elixir.LinxNative.Native", register);
/// ```
///
/// The second argument is for a library with resource types, see [`OnLoad`].
#[macro_export]
macro_rules! init {
    ($module:expr) => {
        $crate::init!($module, |_| true);
    };
    ($module:expr, $on_load:expr) => {
        /// Returns the entry. The VM calls this when it has opened the library. If it returns NULL, `load_nif` fails.
        // SAFETY: no other function of the library has this name, and the VM expects this signature under it.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub extern "C" fn nif_init() -> *const ::rustler::codegen_runtime::ErlNifEntry {
            $crate::entry(|| $module, $on_load)
        }
    };
}
