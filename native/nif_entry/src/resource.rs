//! Resources: Rust values that the VM owns, and frees when no process has their term any more.
//!
//! Not rustler's resources, because a new instance of the library could not take them over, and so the module could not be loaded again.

// The interface of the VM is C.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustler::sys::{
    ErlNifEnv, ErlNifMonitor, ErlNifPid, ErlNifResourceFlags, ErlNifResourceType,
    ErlNifResourceTypeInit, enif_alloc_resource, enif_get_resource, enif_make_resource,
    enif_monitor_process, enif_open_resource_type_x, enif_release_resource,
};
use rustler::{Env, Error, LocalPid, NifResult, Term};

/// A value that the VM can own, with its callbacks. The value is dropped when no process has the term any more.
pub trait Resource: Send + Sync + Sized + 'static {
    /// Is called when the process of [`Allocated::monitor`] has ended.
    fn down(&self, _env: Env<'_>) {}

    /// Is called when the VM has stopped watching a descriptor, see `enif_select`.
    fn stop(&self) {}
}

/// A resource type whose values have the type `T`.
pub struct ResourceType<T> {
    registered: AtomicPtr<ErlNifResourceType>,
    values: PhantomData<fn() -> T>,
}

impl<T: Resource> ResourceType<T> {
    /// Returns a type that is not registered yet.
    #[must_use]
    pub const fn new() -> Self {
        // The VM aligns the memory of a resource as `malloc` does.
        const { assert!(align_of::<T>() <= align_of::<usize>()) };
        Self {
            registered: AtomicPtr::new(ptr::null_mut()),
            values: PhantomData,
        }
    }

    /// Registers the type, or takes it over from an older instance of this library with its resources. Only to be called while the
    /// library is loaded.
    ///
    /// Every type has a `down` callback, also if it monitors no process. While a type is taken over, the VM gives it a `down` callback of
    /// its own for that time (OTP 24 and later). `enif_alloc_resource` asks twice whether there is one: for the size, and to initialise
    /// its data. If a dirty scheduler makes a resource at that moment and the two answers differ, the VM writes beyond the memory.
    ///
    /// * `kind`: a name for each type of a library.
    /// * `layout`: `env!("LINX_LIBRARY_LAYOUT")` of the library, which depends on its sources and compiler.
    pub fn register(&self, env: Env<'_>, kind: &str, layout: &str) -> bool {
        let callbacks = ErlNifResourceTypeInit {
            dtor: destroy::<T> as *const _,
            stop: stop::<T> as *const _,
            down: down::<T> as *const _,
        };
        let Some(name) = type_name::<T>(kind, layout) else {
            return false;
        };
        let open = |flags| {
            let mut tried = flags;
            // SAFETY: called while the library is loaded. The VM copies the name and the callbacks, which have the right signatures.
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
    /// Call this before anything that may take long: a purge of the module kills the callers of its functions, but does not wait for the
    /// calls, and the VM then frees a type without resources.
    pub fn allocate(&self, value: T) -> Allocated<T> {
        // SAFETY: the type was registered when the library was loaded, and the size is that of the value that is written below.
        let memory =
            unsafe { enif_alloc_resource(self.registered.load(Ordering::Acquire), size_of::<T>()) };
        let memory = memory.cast::<T>();
        // SAFETY: new memory of that size, aligned (see `new`).
        unsafe { memory.write(value) };
        Allocated(memory)
    }

    /// Returns the value of a resource, which lives as long as the environment of its term.
    ///
    /// # Errors
    /// `badarg` for any other term.
    pub fn get<'a>(&self, term: Term<'a>) -> NifResult<&'a T> {
        let mut object: *const c_void = ptr::null();
        // SAFETY: `term` belongs to this environment, and `object` is set if the call succeeds.
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
        // SAFETY: a resource of this type, which the term keeps alive as long as its environment exists.
        Ok(unsafe { &*object.cast::<T>() })
    }
}

impl<T: Resource> Default for ResourceType<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A reference to a resource, which may have no term yet.
pub struct Allocated<T: Resource>(*mut T);

impl<T: Resource> Allocated<T> {
    /// Returns a term of the resource, which keeps it alive too.
    #[must_use]
    pub fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: a resource that `self` has a reference to. The term gets its own reference.
        let term = unsafe { enif_make_resource(env.as_c_arg(), self.0.cast()) };
        // SAFETY: this term was just made in `env`.
        unsafe { Term::new(env, term) }
    }

    /// Makes the VM call [`Resource::down`] when a process ends. Returns `false` if it has ended already.
    #[must_use]
    pub fn monitor(&self, env: Env<'_>, process: LocalPid) -> bool {
        // SAFETY: a resource that `self` has a reference to, whose type has a `down` callback, and a process.
        let refused = unsafe {
            enif_monitor_process(
                env.as_c_arg(),
                self.0.cast(),
                process.as_c_arg(),
                ptr::null_mut(),
            )
        };
        refused == 0
    }
}

impl<T: Resource> Deref for Allocated<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written when it was allocated, and alive as long as `self`.
        unsafe { &*self.0 }
    }
}

impl<T: Resource> Drop for Allocated<T> {
    fn drop(&mut self) {
        // SAFETY: the reference that `enif_alloc_resource` gave.
        unsafe { enif_release_resource(self.0.cast()) };
    }
}

/// Returns the name of the resource type for values of type `T`.
///
/// If the resource types of two instances have the same name, the VM gives the resources of the older one to the newer one. So the name
/// contains everything that the layout of a value depends on. If the names differ, the older instance keeps its type: its callbacks
/// continue to free its resources, because its code stays mapped, and these resources are `badarg` for the newer instance.
fn type_name<T>(kind: &str, layout: &str) -> Option<CString> {
    let version = env!("CARGO_PKG_VERSION");
    let (size, alignment) = (size_of::<T>(), align_of::<T>());
    CString::new(format!("{kind} {version} {layout} {size}/{alignment}")).ok()
}

/// Drops the value, when no process has the term any more.
unsafe extern "C" fn destroy<T: Resource>(_: *mut ErlNifEnv, object: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the last use of the value that `allocate` wrote.
        unsafe { object.cast::<T>().drop_in_place() };
    }));
}

/// Calls [`Resource::stop`], when the VM has stopped watching a descriptor of the resource.
unsafe extern "C" fn stop<T: Resource>(
    _: *mut ErlNifEnv,
    object: *mut c_void,
    _: c_int,
    _is_direct_call: c_int,
) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of this type, alive during the callback.
        unsafe { &*object.cast::<T>() }.stop();
    }));
}

/// Calls [`Resource::down`], when the monitored process has ended.
unsafe extern "C" fn down<T: Resource>(
    env: *mut ErlNifEnv,
    object: *mut c_void,
    _: *const ErlNifPid,
    _: *const ErlNifMonitor,
) {
    let lifetime = ();
    // SAFETY: the VM made `env` for this callback.
    let env = unsafe { Env::new(&lifetime, env) };
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a resource of this type, alive during the callback.
        unsafe { &*object.cast::<T>() }.down(env);
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
