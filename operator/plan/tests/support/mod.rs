//! A platform, and a cluster that is only numbers.

pub(crate) mod cluster;
pub(crate) mod platform;
pub(crate) mod scene;
