//! Simulated boilers, thousands in one process: for the demo, tests and load.
//!
//! * [`Boiler`] is the model: pure, and the same for the same seed and number;
//! * [`Sim`] lets a fleet of them speak MQTT as real controllers do: it connects over time, spreads its readings evenly
//!   over the interval, sends faults as events, carries out commands (once, however often they come) and connects again
//!   after a jittered pause;
//! * [`SimStats`] counts while it runs, and a [`Ledger`] keeps what was acknowledged, so that tests can look for it.
//!
//! The devices must exist: [`SimConfig::import_line`] gives what `POST /api/v1/devices:import` takes, with the token of
//! each derived by [`token_for`] from one secret.

mod command;
mod config;
mod device;
mod fault;
mod ledger;
mod link;
mod model;
mod pace;
mod random;
mod session;
mod sim;
mod stats;

pub use command::execute;
pub use config::{ConfigError, Credentials, MODEL, SimConfig, Version, token_for};
pub use fault::{
    FAULTS, FILTER_CLOGGED, FLAME_LOST, Fault, FaultChange, FaultPlan, LOW_PRESSURE, SENSOR_DRIFT,
};
pub use ledger::{AckedEvent, LEDGER_MAX, Ledger, LedgerEntry, SessionSpan};
pub use model::{Boiler, Readings, SETPOINT_RANGE};
pub use sim::{Sim, SimError};
pub use stats::{Latency, SimStats, StatsSnapshot};
