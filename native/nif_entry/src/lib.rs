//! What the NIF libraries share where they meet the BEAM: the entry that the VM asks for, and forms of terms.
//!
//! There is no NIF in here: every `#[rustler::nif]` that is linked into a library is registered by it.

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

/// Defines `nif_init`, the one function the VM looks up in the library, for a module of this name.
///
/// ```text
/// nif_entry::init!(c"Elixir.Linx.Mount.Native");
/// nif_entry::init!(c"Elixir.LinxNative.Native", register);
/// ```
///
/// The second argument is for a library that has types of resources, see [`OnLoad`].
#[macro_export]
macro_rules! init {
    ($module:expr) => {
        $crate::init!($module, |_| true);
    };
    ($module:expr, $on_load:expr) => {
        /// What the VM calls when it has opened this library. NULL makes it an error of `load_nif`.
        // SAFETY: no other function of the library has this name, and the VM expects this signature under it.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub extern "C" fn nif_init() -> *const ::rustler::codegen_runtime::ErlNifEntry {
            $crate::entry(|| $module, $on_load)
        }
    };
}
