//! Logs, metrics, health and the private port: the same in every service.

mod clock;
mod logs;
mod private;
mod supervisor;

pub use clock::Clock;
pub use logs::{LogFormat, init_logs};
pub use private::{PrivatePort, PrivatePortError};
pub use supervisor::{Health, Supervisor, TaskDied};

pub use prometheus_client as metrics;
