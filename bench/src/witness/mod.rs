//! What a platform that is mistreated said, to whom, and whether it was so.

mod judge;
mod presence;
mod watch;

pub(crate) use judge::Witness;
pub(crate) use presence::not_in_state;
pub(crate) use watch::{Orders, Watch};
