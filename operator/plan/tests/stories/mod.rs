//! By what they are about.

mod certificates;
mod degraded;
mod devices;
mod rolling;
mod slots;
mod wholes;
mod wrong;
