//! By what they are about.

mod certificates;
mod degraded;
mod rolling;
mod slots;
mod wholes;
mod wrong;
