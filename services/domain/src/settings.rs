//! What can be configured about decisions. Every default is the documented one.

/// Limits and delays that the machines decide by. Milliseconds and bytes unless the name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// After this time a session that ended without a goodbye is silence.
    pub silence_after_ms: i64,
    /// The same for a session that ended by our hand.
    pub silence_grace_ms: i64,
    /// Commands of one device that may be open at once: a device that is away for a week must not fill the store.
    pub max_open_commands: usize,
    /// A command's `expires_in_s` when none is given.
    pub command_expires_in_s: u32,
    /// The greatest `expires_in_s`.
    pub command_expires_in_max_s: u32,
    /// Bytes of a command's `params`.
    pub command_params_max: usize,
    /// Active alarms of one device: a controller that invents codes must not fill the store.
    pub max_active_alarms: usize,
    /// Attributes of one device and scope.
    pub max_attributes: usize,
    /// Bytes of all keys and values of one device and scope: all of it is one row, written whole at each change.
    pub max_attribute_bytes: usize,
    /// Devices on the whole platform that one slot takes.
    pub max_devices_per_slot: usize,
    /// A notification is given up this long after it was made.
    pub notification_give_up_ms: i64,
    /// An attempt of which nothing was heard for so long is handed out again.
    pub attempt_timeout_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            silence_after_ms: 10_000,
            silence_grace_ms: 60_000,
            max_open_commands: 100,
            command_expires_in_s: 60,
            command_expires_in_max_s: 604_800,
            command_params_max: 32 * 1024,
            max_active_alarms: 256,
            max_attributes: 1_024,
            max_attribute_bytes: 256 * 1024,
            max_devices_per_slot: 20_000,
            notification_give_up_ms: 24 * 3_600_000,
            attempt_timeout_ms: 120_000,
        }
    }
}
