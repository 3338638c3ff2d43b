//! `entry`: prints the entry of a NIF library, which it asks for as the VM does.

#![allow(
    unsafe_code,
    reason = "a library is opened and asked over the C interface"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::slice;

use crate::Outcome;
use crate::lifetime::say;

/// Prints the module of the library, its NIF version, and its functions with their scheduling, sorted.
pub(crate) fn run(library: &str) -> Outcome {
    let entry = open(library)?;
    say(&format!("module {}", text(entry.module)?))?;
    say(&format!("nif {}.{}", entry.major, entry.minor))?;
    let mut functions = functions(entry)?
        .iter()
        .map(describe)
        .collect::<Result<Vec<_>, _>>()?;
    functions.sort();
    functions.iter().try_for_each(|function| say(function))?;
    Ok(())
}

/// The start of the `ErlNifEntry` of erl_nif.h.
#[repr(C)]
struct Entry {
    major: c_int,
    minor: c_int,
    module: *const c_char,
    count: c_int,
    functions: *const Function,
}

/// The `ErlNifFunc` of erl_nif.h.
#[repr(C)]
struct Function {
    name: *const c_char,
    arity: c_uint,
    code: *const c_void,
    flags: c_uint,
}

/// Opens the library for good.
fn open(library: &str) -> Result<&'static Entry, String> {
    let library = CString::new(library).map_err(|error| error.to_string())?;
    // SAFETY: a C string. What the library runs when it is opened is what it runs in a VM.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() {
        return Err(loader_error());
    }
    // SAFETY: a handle that is open, and a C string.
    let init = unsafe { libc::dlsym(handle, c"nif_init".as_ptr()) };
    if init.is_null() {
        return Err(loader_error());
    }
    // SAFETY: the type that erl_nif.h gives this function.
    let init = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> *const Entry>(init) };
    // SAFETY: NULL, or an entry that lives as long as the library is open.
    unsafe { init().as_ref() }.ok_or_else(|| "nif_init returned NULL".into())
}

fn loader_error() -> String {
    // SAFETY: called after a call of dl* failed, on the only thread.
    let message = unsafe { libc::dlerror() };
    text(message).unwrap_or_else(|error| error)
}

fn functions(entry: &Entry) -> Result<&[Function], String> {
    let count = usize::try_from(entry.count).map_err(|error| error.to_string())?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: the entry says that so many are there.
    Ok(unsafe { slice::from_raw_parts(entry.functions, count) })
}

fn describe(function: &Function) -> Result<String, String> {
    if function.code.is_null() {
        return Err("a function without code".into());
    }
    let scheduling = match function.flags {
        0 => "normal",
        1 => "dirty_cpu",
        2 => "dirty_io",
        other => return Err(format!("unknown flags {other}")),
    };
    let name = text(function.name)?;
    Ok(format!("{name}/{} {scheduling}", function.arity))
}

fn text(string: *const c_char) -> Result<String, String> {
    if string.is_null() {
        return Err("NULL in place of a string".into());
    }
    // SAFETY: not NULL, hence a C string by its type's contract.
    let string = unsafe { CStr::from_ptr(string) };
    Ok(string.to_string_lossy().into_owned())
}

/// The functions of the VM that the libraries use. The linker names any that is missing here.
macro_rules! functions_of_the_vm {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() {
                not_a_vm(stringify!($name))
            }
        )*
    };
}

functions_of_the_vm! {
    enif_alloc
    enif_alloc_env
    enif_alloc_resource
    enif_free
    enif_free_env
    enif_get_int
    enif_get_list_cell
    enif_get_resource
    enif_get_tuple
    enif_get_uint
    enif_get_ulong
    enif_inspect_binary
    enif_inspect_iolist_as_binary
    enif_is_atom
    enif_is_current_process_alive
    enif_is_empty_list
    enif_is_exception
    enif_is_list
    enif_is_ref
    enif_make_atom
    enif_make_atom_len
    enif_make_badarg
    enif_make_binary
    enif_make_copy
    enif_make_int
    enif_make_list_from_array
    enif_make_new_binary
    enif_make_resource
    enif_make_string
    enif_make_tuple
    enif_make_tuple_from_array
    enif_make_uint
    enif_make_ulong
    enif_monitor_process
    enif_open_resource_type_x
    enif_raise_exception
    enif_release_resource
    enif_schedule_nif
    enif_select
    enif_self
    enif_thread_create
    enif_thread_join
}

fn not_a_vm(function: &str) -> ! {
    eprintln!("linx_harness: a library called {function} before it was loaded");
    std::process::abort()
}
