//! Use cases as data: one YAML file a story, each case in Given, When and Then. The same data is documentation
//! ([`mod@print`], [`graph`]), is held against everything that is public ([`Coverage`]), and is tried on a platform
//! ([`run`]) by its public interface alone, with clients that nobody here wrote.

mod coverage;
mod decode;
mod expect;
pub mod graph;
mod model;
mod names;
pub mod print;
pub mod run;
mod surface;
mod words;

pub use coverage::{Coverage, Missing};
pub use decode::{Unreadable, read, read_all, shipped};
pub use expect::{Difference, differences};
pub use model::{Caller, Case, Phase, Step, Story};
pub use surface::{Item, Route, Surface};
