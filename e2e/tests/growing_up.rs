//! From a try-out to services: what `stoker up` held is what the services answer.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connect, Device, Foreign, Grown, Options, Platform, Services, WebhookSink, eventually, topic};

/// More than one page of answers and than one block of a file.
const READINGS: i64 = 3_000;

/// Long enough that nobody is missed in this test.
const SILENCE: &str = "silence: {after: 300s, grace: 300s}\n";
