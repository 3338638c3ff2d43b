//! NIFs that wait for a thread in turns, so that a call that takes long does not hold a scheduler.
//!
//! A dirty I/O scheduler waits a few milliseconds for the thread. If the thread has not ended by then, the NIF schedules itself again
//! (`enif_schedule_nif`), behind the other work of these schedulers. So calls that hang, however many, take turns with the VM's file
//! I/O. Between two turns a caller can be killed: the VM then drops the resource, and the resource drops the call.

// The interface of the VM is C.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustler::codegen_runtime::{
    ErlNifEnv, ErlNifTerm, NifReturnable, NifReturned, handle_nif_result,
};
use rustler::{Encoder, Env, Error, NifResult, Term};

use crate::resource::{Resource, ResourceType};

/// The longest turn. It is longer than the kernel's tick (4 ms at 250 Hz). For a shorter turn the kernel sets the timer of the CPU again,
/// which took 4 of the 60 microseconds of an umount.
const TURN: Duration = Duration::from_millis(5);
/// The shortest turn. Each turn costs some microseconds.
const SHORTEST_TURN: Duration = Duration::from_micros(250);
/// The time for one turn of every waiting call. The VM has 10 dirty I/O schedulers by default (`+SDio`), so its other I/O waits for about
/// a tenth of this time.
const ALL_TURNS: Duration = Duration::from_millis(100);

/// A call on a thread of its own.
///
/// If it is dropped, the thread learns that no caller waits for it any more.
pub trait Call: Send + Sized + 'static {
    /// Waits for the result.
    fn wait(&mut self, timeout: Duration) -> Option<impl Encoder>;

    /// Returns the resource type for such calls, which the library registers when it is loaded.
    fn resource_type() -> &'static ResourceType<Waiting<Self>>;
}

/// A call, as the resource that the VM keeps between two turns.
pub struct Waiting<C> {
    function: &'static CStr,
    /// Locked during a turn. `None` before the call has begun, and after it has ended.
    call: Mutex<Option<(C, Counted)>>,
}

/// A waiting call in the count of waiting calls. It has a reference to the counter, because another instance of the library, with a
/// counter of its own, may take this call over and free it.
struct Counted(&'static AtomicU32);

static WAITING: AtomicU32 = AtomicU32::new(0);

impl Counted {
    fn new() -> Self {
        WAITING.fetch_add(1, Ordering::Relaxed);
        Self(&WAITING)
    }

    /// Returns the length of the next turn. The more calls wait, the shorter it is.
    fn turn(&self) -> Duration {
        let waiting = self.0.load(Ordering::Relaxed).max(1);
        let turn = ALL_TURNS.checked_div(waiting).unwrap_or(TURN);
        turn.clamp(SHORTEST_TURN, TURN)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of a NIF that waits in turns.
pub enum Turn<'a> {
    /// The call has ended with this result.
    Over(Term<'a>),
    /// The call needs another turn, with this resource.
    Again(Resume, Term<'a>),
}

/// The C function for further turns, and the name of the NIF.
pub struct Resume {
    function: unsafe extern "C" fn(*mut ErlNifEnv, i32, *const ErlNifTerm) -> ErlNifTerm,
    name: &'static CStr,
}

/// Begins a call and waits for its first turn.
///
/// * `function`: the name of the function that was called, for stack traces.
/// * `begin`: begins the call, or returns why that failed.
///
/// # Errors
/// `badarg`, which is only possible for a turn of a call that has ended.
pub fn begin<'a, C: Call, E: Encoder>(
    env: Env<'a>,
    function: &'static CStr,
    begin: impl FnOnce() -> Result<C, E>,
) -> NifResult<Turn<'a>> {
    let waiting = C::resource_type().allocate(Waiting {
        function,
        call: Mutex::new(None),
    });
    match begin() {
        Ok(call) => {
            *waiting.call.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((call, Counted::new()));
            waiting.turn(env, waiting.term(env))
        }
        Err(error) => Ok(Turn::Over(env.error_tuple(error))),
    }
}

impl<C: Call> Resource for Waiting<C> {}

impl<C: Call> Waiting<C> {
    fn turn<'a>(&self, env: Env<'a>, resource: Term<'a>) -> NifResult<Turn<'a>> {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        let (pending, counted) = call.as_mut().ok_or(Error::BadArg)?;
        let result = pending
            .wait(counted.turn())
            .map(|result| result.encode(env));
        Ok(match result {
            Some(result) => {
                *call = None;
                Turn::Over(result)
            }
            None => {
                let resume = Resume {
                    function: resume::<C>,
                    name: self.function,
                };
                Turn::Again(resume, resource)
            }
        })
    }
}

/// Runs the next turn of a call.
unsafe extern "C" fn resume<C: Call>(
    env: *mut ErlNifEnv,
    argc: i32,
    argv: *const ErlNifTerm,
) -> ErlNifTerm {
    // The lifetime of the environment is that of this local.
    let lifetime = ();
    // SAFETY: the VM made `env` for this call.
    let env = unsafe { Env::new(&lifetime, env) };
    let result = catch_unwind(AssertUnwindSafe(|| {
        if argc != 1 {
            return Err(Error::BadArg);
        }
        // SAFETY: `argc` is 1.
        let resource = unsafe { *argv };
        // SAFETY: an argument of this call, and so a term of its environment.
        let resource = unsafe { Term::new(env, resource) };
        C::resource_type().get(resource)?.turn(env, resource)
    }));
    // SAFETY: the terms belong to `env`.
    unsafe { handle_nif_result(result, env).apply(env) }
}

// SAFETY: the terms belong to the environment of the NIF call, and the function has the signature of a NIF.
unsafe impl NifReturnable for Turn<'_> {
    unsafe fn into_returned(self, _: Env<'_>) -> NifReturned {
        match self {
            Self::Over(term) => NifReturned::Term(term.as_c_arg()),
            Self::Again(Resume { function, name }, resource) => NifReturned::Reschedule {
                fun_name: name.to_owned(),
                flags: rustler::SchedulerFlags::DirtyIo,
                fun: function,
                args: vec![resource.as_c_arg()],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, SHORTEST_TURN, TURN};

    #[test]
    fn the_more_calls_wait_the_shorter_are_their_turns() {
        let call = Counted::new();
        assert_eq!(call.turn(), TURN);
        let many: Vec<_> = (0..99).map(|_| Counted::new()).collect();
        assert_eq!(call.turn(), TURN / 5);
        let more: Vec<_> = (0..999).map(|_| Counted::new()).collect();
        assert_eq!(call.turn(), SHORTEST_TURN);
        drop((many, more));
        assert_eq!(call.turn(), TURN);
    }
}
