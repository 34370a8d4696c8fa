//! Payloads of the device API.
