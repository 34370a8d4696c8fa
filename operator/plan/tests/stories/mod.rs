//! By what they are about.

mod rolling;
mod slots;
mod wholes;
mod wrong;
