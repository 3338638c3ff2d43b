//! Resources: values of Rust that the VM owns, and frees when no process has the term any more.
//!
//! rustler's own cannot be taken over by a new instance of the library, so that a module could not be loaded again.

// The VM's side of the edge is C.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustler::sys::{
    ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType,
    ErlNifResourceTypeInit, enif_alloc_resource, enif_get_resource, enif_make_resource,
    enif_open_resource_type_x, enif_release_resource,
};
use rustler::{Env, Error, NifResult, Term};

/// A type of resources whose values are of type `T`.
pub struct ResourceType<T> {
    registered: AtomicPtr<ErlNifResourceType>,
    values: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> ResourceType<T> {
    /// Not registered yet.
    #[must_use]
    pub const fn new() -> Self {
        // The VM aligns the memory of a resource as `malloc` does.
        const { assert!(align_of::<T>() <= align_of::<usize>()) };
        Self {
            registered: AtomicPtr::new(ptr::null_mut()),
            values: PhantomData,
        }
    }

    /// Registers the type, or takes it over from an older instance of this library with the resources there are. For the
    /// time that a library is loaded.
    ///
    /// * `kind`, `layout`: see [`type_name`].
    pub fn register(&self, env: Env<'_>, kind: &str, layout: &str) -> bool {
        let callbacks = ErlNifResourceTypeInit {
            dtor: destroy::<T> as *const _,
            stop: ptr::null(),
            down: never_down as *const _,
        };
        let Some(name) = type_name::<T>(kind, layout) else {
            return false;
        };
        let open = |flags| {
            let mut tried = flags;
            // SAFETY: called while the library is loaded; the VM copies name and callbacks, of which `destroy` has the
            // signature that it asks for.
            unsafe {
                enif_open_resource_type_x(
                    env.as_c_arg(),
                    name.as_ptr(),
                    &raw const callbacks,
                    flags,
                    &raw mut tried,
                )
            }
        };
        let mut found = open(ErlNifResourceFlags::ERL_NIF_RT_TAKEOVER);
        if found.is_null() {
            found = open(ErlNifResourceFlags::ERL_NIF_RT_CREATE);
        }
        self.registered.store(found.cast_mut(), Ordering::Release);
        !found.is_null()
    }

    /// Makes a resource of a value.
    ///
    /// At the beginning of a call: a purge of the module kills the callers of its functions, but does not wait for the
    /// calls, and the VM frees a type without resources then.
    pub fn make<'a>(&self, env: Env<'a>, value: T) -> Term<'a> {
        // SAFETY: the type was registered when the library was loaded, and the size is that of what is written below.
        let memory =
            unsafe { enif_alloc_resource(self.registered.load(Ordering::Acquire), size_of::<T>()) };
        // SAFETY: new memory of that size, aligned (see `new`).
        unsafe { memory.cast::<T>().write(value) };
        // SAFETY: a resource that this function has a reference to.
        let term = unsafe { enif_make_resource(env.as_c_arg(), memory) };
        // SAFETY: the reference that `enif_alloc_resource` gave; the term has its own.
        unsafe { enif_release_resource(memory) };
        // SAFETY: a term that was just made in `env`.
        unsafe { Term::new(env, term) }
    }

    /// Returns the value of a resource, which lives as long as the environment of its term.
    ///
    /// # Errors
    /// `badarg` for any other term.
    pub fn get<'a>(&self, term: Term<'a>) -> NifResult<&'a T> {
        let mut object: *const c_void = ptr::null();
        // SAFETY: `term` is of this environment, and `object` is set where the call says so.
        let found = unsafe {
            enif_get_resource(
                term.get_env().as_c_arg(),
                term.as_c_arg(),
                self.registered.load(Ordering::Acquire),
                &raw mut object,
            )
        };
        if found == 0 {
            return Err(Error::BadArg);
        }
        // SAFETY: a resource of this type, which the term keeps alive for as long as its environment lasts.
        Ok(unsafe { &*object.cast::<T>() })
    }
}

impl<T: Send + Sync + 'static> Default for ResourceType<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns what a type of resources whose values are of type `T` is called.
///
/// The VM gives an instance of the library the resources of an older one if their types have the same name, so it names all
/// that the layout of a value depends on. An older instance with another name keeps its type: its callbacks go on to free
/// its resources, as its code stays mapped, and to this instance these resources are `badarg`.
///
/// * `kind`: one for each type of a library.
/// * `layout`: `env!("LINX_LIBRARY_LAYOUT")` of the library: its sources and compiler.
#[must_use]
pub fn type_name<T>(kind: &str, layout: &str) -> Option<CString> {
    let version = env!("CARGO_PKG_VERSION");
    let (size, alignment) = (size_of::<T>(), align_of::<T>());
    CString::new(format!("{kind} {version} {layout} {size}/{alignment}")).ok()
}

/// Never called, as no process is monitored.
///
/// Every type has this callback all the same. While a type is taken over, the VM gives it one of its own for the time
/// (OTP 24 and later), and `enif_alloc_resource` asks twice whether there is one: for the size, and to initialise what it
/// is for. If a dirty scheduler makes a resource at that moment and the answers differ, the VM writes behind the memory.
unsafe extern "C" fn never_down(
    _: *mut ErlNifEnv,
    _: *mut c_void,
    _: *const ErlNifPid,
    _: *const ErlNifMonitor,
) {
}

/// Nobody has the term any more.
unsafe extern "C" fn destroy<T>(_: *mut ErlNifEnv, object: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the last use of what `make` wrote.
        unsafe { object.cast::<T>().drop_in_place() };
    }));
}

#[cfg(test)]
mod tests {
    use super::type_name;

    #[test]
    fn a_type_is_taken_over_only_by_one_of_the_same_layout() {
        let name = type_name::<u64>("call", "sources").unwrap();
        assert_eq!(type_name::<u64>("call", "sources"), Some(name.clone()));
        let others = [
            type_name::<u64>("socket", "sources"),
            type_name::<u64>("call", "other sources"),
            type_name::<u32>("call", "sources"),
            type_name::<[u32; 2]>("call", "sources"),
        ];
        assert!(others.into_iter().flatten().all(|other| other != name));
    }
}
