//! Logs, metrics, health and the private port: the same in every service.

mod chain;
mod clock;
mod crash;
mod expose;
mod histogram;
mod logs;
mod private;
mod process;
mod supervisor;
pub mod trace;

pub use chain::chain;
pub use clock::Clock;
pub use crash::{CrashConfig, Crashes};
pub use expose::{Exposition, Labels, Of};
pub use histogram::{Histogram, HistogramBatch, HistogramSnapshot, LATENCY, SIZES, STAGES};
pub use logs::{LogFormat, init_logs, init_logs_and_traces};
pub use private::{PrivatePort, PrivatePortError};
pub use process::ProcessMetrics;
pub use supervisor::{Health, Supervisor, TaskDied};
pub use trace::{OtlpConfig, TraceError, TraceExport, TraceStats};

pub use prometheus_client as metrics;
