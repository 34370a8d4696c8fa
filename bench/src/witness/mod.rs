//! What a platform that is mistreated said, to whom, and whether it was so.

mod judge;
mod watch;

pub(crate) use judge::Witness;
pub(crate) use watch::Watch;
