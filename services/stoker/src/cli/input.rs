//! What arguments are made of, and what is read instead of standing in one.

use std::fs;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde_json::value::RawValue;
use stoker_domain::{AlarmId, CommandId, DeviceId, SiteId, SubscriptionId};

use super::failure::Failure;

/// A device's id.
pub(crate) fn device(text: &str) -> Result<DeviceId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A site.
pub(crate) fn site(text: &str) -> Result<SiteId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A command's id.
pub(crate) fn command(text: &str) -> Result<CommandId, String> {
    text.parse().map_err(|_| "the id of a command looks like cmd-0a-12-ff".to_owned())
}

/// An alarm's id.
pub(crate) fn alarm(text: &str) -> Result<AlarmId, String> {
    text.parse().map_err(|_| "the id of an alarm looks like alm-0a-12-ff".to_owned())
}

/// A subscription's id.
pub(crate) fn subscription(text: &str) -> Result<SubscriptionId, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// A point in time, as the API takes it: RFC 3339, milliseconds since the epoch, or so long ago.
pub(crate) fn moment(text: &str) -> Result<String, String> {
    const FORM: &str = "a time is RFC 3339 (2026-11-21T10:15:30Z), milliseconds since the epoch, or how long ago (90s, 15m, 2h, 7d)";
    if text.parse::<i64>().is_ok() || text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(FORM)?;
    let second = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(FORM.to_owned()),
    };
    let ago = number.parse::<u32>().map_err(|_| FORM)?;
    let at = Timestamp::now().as_millisecond() - i64::from(ago) * second * 1_000;
    Ok(at.to_string())
}

/// JSON, or `-` for JSON on standard input. It is passed on letter by letter.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    /// As it was given.
    Given(String),
    /// To be read.
    StandardInput,
}

/// Checks that it is JSON.
pub(crate) fn json(text: &str) -> Result<Json, String> {
    if text == "-" {
        return Ok(Json::StandardInput);
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => Ok(Json::Given(raw.get().to_owned())),
        Err(error) => Err(format!("not JSON ({error}); mind the shell's quotes, as in '{{\"value\":55}}'")),
    }
}

impl Json {
    pub(crate) fn read(self) -> Result<String, Failure> {
        match self {
            Self::Given(text) => Ok(text),
            Self::StandardInput => {
                let text = standard_input()?;
                match json(text.trim()) {
                    Ok(Self::Given(text)) => Ok(text),
                    Ok(Self::StandardInput) => Err(Failure::Use("standard input holds no JSON".to_owned())),
                    Err(error) => Err(Failure::Use(format!("standard input: {error}"))),
                }
            }
        }
    }
}

/// The most that is read of what goes into one request.
const LARGEST: u64 = 1024 * 1024;

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("failed to read standard input: {error}")))?;
    Ok(text)
}

/// A secret out of a file, or of standard input for `-`: an argument would be seen by everybody on the machine.
pub(crate) fn secret(file: &Path) -> Result<String, Failure> {
    let text = if file.as_os_str() == "-" {
        standard_input()?
    } else {
        fs::read_to_string(file)
            .map_err(|error| Failure::failed(format!("failed to read {}: {error}", file.display())))?
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Failure::failed(format!("{} is empty", file.display())));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        for text in ["1700000000000", "2026-11-21T10:15:30Z", "2026-11-21T10:15:30+01:00"] {
            assert_eq!(moment(text).as_deref(), Ok(text));
        }
        let before: i64 = moment("1h").unwrap().parse().unwrap();
        let now = Timestamp::now().as_millisecond();
        assert!((3_599_000..=3_601_000).contains(&(now - before)), "{before}");
        for text in ["", "h", "1w", "yesterday", "-1h", "1.5h", "ü"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_is_passed_on_letter_by_letter() {
        let Ok(Json::Given(text)) = json(r#"{"value":55.00,"n":12345678901234567890}"#) else { panic!() };
        assert_eq!(text, r#"{"value":55.00,"n":12345678901234567890}"#);
        assert!(json("{value:55}").unwrap_err().contains("quotes"));
    }

    #[test]
    fn a_secrets_file_may_end_in_a_line_break() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "se cret \r\n").unwrap();
        assert_eq!(secret(file.path()).unwrap(), "se cret ");
        fs::write(file.path(), "\n").unwrap();
        assert!(secret(file.path()).is_err());
    }
}
