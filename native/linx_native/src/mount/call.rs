//! A call with a deadline, as a resource of the VM.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use linx_core::mounting::{self, Error};
use nif_entry::{Call, Done, ResourceType, Turn, Waiting, begin};
use rustler::{Atom, Decoder, Encoder, Env, NifResult, Term};

use super::failure::Failure;

mod atoms {
    rustler::atoms! { infinity }
}

static TYPE: ResourceType<Waiting<MountingCall>> = ResourceType::new();

/// The time when a call is given up. `None` means never.
pub(crate) struct Deadline(Option<Instant>);

/// Decodes milliseconds from now, or `:infinity`.
impl<'a> Decoder<'a> for Deadline {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if Atom::from_term(term).is_ok_and(|atom| atom == atoms::infinity()) {
            return Ok(Self(None));
        }
        let timeout = Duration::from_millis(u32::decode(term)?.into());
        Ok(Self(Instant::now().checked_add(timeout)))
    }
}

/// A call that runs on a thread.
struct MountingCall {
    /// `None` after the call was given up.
    pending: Option<mounting::Call>,
    deadline: Option<Instant>,
}

impl Call for MountingCall {
    fn wait(&mut self, turn: Duration) -> Option<impl Encoder> {
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let turn = left.map_or(turn, |left| left.min(turn));
        let result = match self.pending.as_mut()?.wait(turn) {
            Some(result) => result.map_err(Failure::Of),
            None if left.is_some_and(|left| left <= turn) => match self.pending.take()?.give_up() {
                true => Err(Failure::Timeout),
                false => Ok(()),
            },
            None => return None,
        };
        Some(Done(result))
    }

    fn resource_type() -> &'static ResourceType<Waiting<Self>> {
        &TYPE
    }
}

/// Begins a call and waits for its first turn.
pub(crate) fn run<'a>(
    env: Env<'a>,
    function: &'static CStr,
    Deadline(deadline): Deadline,
    start: impl FnOnce() -> Result<mounting::Call, Error>,
) -> NifResult<Turn<'a>> {
    begin(env, function, || {
        let pending = Some(start().map_err(Failure::Of)?);
        Ok::<_, Failure>(MountingCall { pending, deadline })
    })
}

/// Registers the resource type of the calls.
pub(crate) fn register(env: Env<'_>) -> bool {
    TYPE.register(env, "mounting", env!("LINX_LIBRARY_LAYOUT"))
}
