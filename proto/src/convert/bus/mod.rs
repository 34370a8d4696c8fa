//! Messages of `stoker.bus.v1` to domain types and back. They are whole: unlike what people see, they carry secrets,
//! because a notifier signs with them.

mod activity;
mod gateway;
mod parts;
mod work;

pub use activity::*;
pub use gateway::*;
pub use work::*;
