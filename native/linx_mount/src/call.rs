//! A call in another mount namespace, as a resource of the VM.

use std::time::Duration;

use linx_core::mount;
use nif_entry::{Call, Done, ResourceType, Waiting};
use rustler::{Encoder, Env};

use crate::failure::Failure;

static TYPE: ResourceType<Waiting<MountCall>> = ResourceType::new();

/// A mount, an unmount or a change of root that runs on a thread.
pub(crate) struct MountCall(pub(crate) mount::Call);

impl Call for MountCall {
    fn wait(&mut self, timeout: Duration) -> Option<impl Encoder> {
        let result = self.0.wait(timeout)?;
        Some(Done(result.map_err(Failure)))
    }

    fn resource_type() -> &'static ResourceType<Waiting<Self>> {
        &TYPE
    }
}

/// Registers the resource type of the calls.
pub(crate) fn register(env: Env<'_>) -> bool {
    TYPE.register(env, "call", env!("LINX_LIBRARY_LAYOUT"))
}
