//! By what they are about.

mod certificates;
mod rolling;
mod slots;
mod wholes;
mod wrong;
