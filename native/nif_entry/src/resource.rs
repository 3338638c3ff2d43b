//! Resources: values of Rust that the VM owns, and frees when no process has the term any more.
//!
//! rustler's own cannot be taken over by a new instance of the library, so that a module could not be loaded again.

// The VM's side of the edge is C.
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

/// A value that the VM can own, and what it tells of the value. The value is dropped when no process has the term any more.
pub trait Resource: Send + Sync + Sized + 'static {
    /// The process that [`Allocated::monitor`] was given has ended.
    fn down(&self, _env: Env<'_>) {}

    /// The VM does not look at a descriptor any more: see `enif_select`.
    fn stop(&self) {}
}

/// A type of resources whose values are of type `T`.
pub struct ResourceType<T> {
    registered: AtomicPtr<ErlNifResourceType>,
    values: PhantomData<fn() -> T>,
}

impl<T: Resource> ResourceType<T> {
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
    /// Every type has a `down` callback, also if it monitors no process. While a type is taken over, the VM gives it one of
    /// its own for the time (OTP 24 and later), and `enif_alloc_resource` asks twice whether there is one: for the size, and
    /// to initialise what it is for. If a dirty scheduler makes a resource at that moment and the answers differ, the VM
    /// writes behind the memory.
    ///
    /// * `kind`: one for each type of a library.
    /// * `layout`: `env!("LINX_LIBRARY_LAYOUT")` of the library: its sources and compiler.
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
            // SAFETY: called while the library is loaded; the VM copies name and callbacks, which have the signatures that
            // it asks for.
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
    /// Before anything that may take long: a purge of the module kills the callers of its functions, but does not wait for
    /// the calls, and the VM frees a type without resources then.
    pub fn allocate(&self, value: T) -> Allocated<T> {
        // SAFETY: the type was registered when the library was loaded, and the size is that of what is written below.
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

impl<T: Resource> Default for ResourceType<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A reference to a resource, which need not have a term yet.
pub struct Allocated<T: Resource>(*mut T);

impl<T: Resource> Allocated<T> {
    /// Makes a term of it, which keeps it alive too.
    #[must_use]
    pub fn term<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: a resource that `self` has a reference to; the term gets its own.
        let term = unsafe { enif_make_resource(env.as_c_arg(), self.0.cast()) };
        // SAFETY: a term that was just made in `env`.
        unsafe { Term::new(env, term) }
    }

    /// Has [`Resource::down`] called when a process ends. `false` if it has ended.
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

/// Returns what a type of resources whose values are of type `T` is called.
///
/// The VM gives an instance of the library the resources of an older one if their types have the same name, so it names all
/// that the layout of a value depends on. An older instance with another name keeps its type: its callbacks go on to free
/// its resources, as its code stays mapped, and to this instance these resources are `badarg`.
fn type_name<T>(kind: &str, layout: &str) -> Option<CString> {
    let version = env!("CARGO_PKG_VERSION");
    let (size, alignment) = (size_of::<T>(), align_of::<T>());
    CString::new(format!("{kind} {version} {layout} {size}/{alignment}")).ok()
}

/// Nobody has the term any more.
unsafe extern "C" fn destroy<T: Resource>(_: *mut ErlNifEnv, object: *mut c_void) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the last use of what `allocate` wrote.
        unsafe { object.cast::<T>().drop_in_place() };
    }));
}

/// The VM does not look at a descriptor of the resource any more.
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

/// The monitored process ended.
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
