//! What arguments are made of, and what is read instead of standing in one.

use std::fs;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::value::RawValue;
use stoker_domain::{AlarmId, CommandId, DeviceId, SiteId, SubscriptionId};

use super::failure::Failure;

/// The form of ids that users choose.
const ID: &str = "an id is 1 to 128 of A-Z a-z 0-9 . _ : - and begins with a letter or digit";

/// A device's id.
pub(crate) fn device(text: &str) -> Result<DeviceId, String> {
    text.parse().map_err(|_| ID.to_owned())
}

/// A site.
pub(crate) fn site(text: &str) -> Result<SiteId, String> {
    text.parse().map_err(|_| ID.to_owned())
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
    text.parse().map_err(|_| ID.to_owned())
}

/// A short text for people, as models, tags and names are.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if !(1..=128).contains(&text.chars().count()) {
        return Err("it has 1 to 128 characters".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it has no line breaks or other control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// How many items, where --all gives all.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    at_least_one(text).map_err(|why| why + "; --all gives all")
}

/// How many items.
pub(crate) fn at_least_one(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("a whole number from 1 on".to_owned()),
    }
}

fn seconds(text: &str, most: u32, what: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds) if (1..=most).contains(&seconds) => Ok(seconds),
        _ => Err(format!("whole seconds from 1 to {most}, which is {what}")),
    }
}

/// How often a device should send something.
pub(crate) fn interval(text: &str) -> Result<u32, String> {
    seconds(text, 31_536_000, "a year")
}

/// How long a command may take.
pub(crate) fn expiry(text: &str) -> Result<u32, String> {
    seconds(text, 604_800, "a week")
}

/// A point in time, as the API takes it: RFC 3339, milliseconds since the epoch, a date, or so long ago.
pub(crate) fn moment(text: &str) -> Result<String, String> {
    const FORM: &str = "a time is RFC 3339 (2026-11-21T10:15:30Z), a date (2026-11-21, in UTC), milliseconds \
         since the epoch, or how long ago (90s, 15m, 2h, 7d)";
    if let Ok(at) = text.parse::<i64>() {
        return Timestamp::from_millisecond(at).map(|_| text.to_owned()).map_err(|_| FORM.to_owned());
    }
    // Tables show times with a blank in place of the T, and what they show is good to be given back.
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.to_string());
    }
    if let Ok(date) = text.parse::<Date>()
        && date.to_string() == text
    {
        return Ok(format!("{date}T00:00:00Z"));
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
    Timestamp::from_millisecond(at).map(|_| at.to_string()).map_err(|_| FORM.to_owned())
}

/// JSON, or `-` for JSON on standard input. It is passed on letter by letter.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    /// As it was given.
    Given(String),
    /// To be read.
    StandardInput,
}

/// The text of a JSON value, without what stands around it.
fn whole_json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => Ok(raw.get().to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

/// Checks that it is JSON.
pub(crate) fn json(text: &str) -> Result<Json, String> {
    match text {
        "-" => Ok(Json::StandardInput),
        _ => whole_json(text)
            .map(Json::Given)
            .map_err(|error| format!("{error}; mind the shell's quotes, as in '{{\"value\":55}}'")),
    }
}

impl Json {
    pub(crate) fn read(self) -> Result<String, Failure> {
        match self {
            Self::Given(text) => Ok(text),
            Self::StandardInput => whole_json(&standard_input()?)
                .map_err(|error| Failure::Use(format!("standard input is {error}"))),
        }
    }
}

/// A key with its value in JSON, `KEY=JSON`.
pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = key_value(text)?;
    match whole_json(&value) {
        Ok(null) if null == "null" => {
            Err("null stands for no value; `stoker attribute remove` removes".to_owned())
        }
        Ok(value) => Ok((key, value)),
        Err(_) => Err(format!(
            "{value:?} is not JSON; a text goes with --text {key}=…, or in two kinds of quotes: '{key}=\"…\"'"
        )),
    }
}

/// A key with its value in text, `KEY=TEXT`, as JSON.
pub(crate) fn text_attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = key_value(text)?;
    Ok((key, serde_json::Value::from(value).to_string()))
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((self::key(key)?, value.to_owned())),
        None => Err("it has the form KEY=VALUE".to_owned()),
    }
}

/// The key of an attribute.
pub(crate) fn key(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a key has 1 to 128 bytes".to_owned())
    }
}

/// The most that is read of what goes into one request.
const LARGEST: u64 = 1024 * 1024;

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("failed to read standard input: {error}")))?;
    if text.len() as u64 > LARGEST {
        return Err(Failure::failed(format!("standard input has more than {LARGEST} bytes")));
    }
    Ok(text)
}

/// A secret out of a file, or of standard input for `-`: an argument would be seen by everybody on the machine.
pub(crate) fn secret(file: &Path) -> Result<String, Failure> {
    let text = if file.as_os_str() == "-" {
        standard_input()?
    } else {
        let failed = |error| Failure::failed(format!("failed to read {}: {error}", file.display()));
        let mut text = String::new();
        fs::File::open(file).and_then(|file| file.take(LARGEST).read_to_string(&mut text)).map_err(failed)?;
        text
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
        for (text, at) in [
            ("1700000000000", "1700000000000"),
            ("2026-11-21T10:15:30Z", "2026-11-21T10:15:30Z"),
            ("2026-11-21 10:15:30.007Z", "2026-11-21T10:15:30.007Z"),
            ("2026-11-21T10:15:30+01:00", "2026-11-21T09:15:30Z"),
            ("2026-11-21", "2026-11-21T00:00:00Z"),
        ] {
            assert_eq!(moment(text).as_deref(), Ok(at));
        }
        let before: i64 = moment("1h").unwrap().parse().unwrap();
        let now = Timestamp::now().as_millisecond();
        assert!((3_599_000..=3_601_000).contains(&(now - before)), "{before}");
        for text in
            ["", "h", "1w", "yesterday", "-1h", "1.5h", "ü", "2026-11", "99999999999999999", "4000000000d"]
        {
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
    fn attributes_are_typed_and_texts_need_no_quotes_when_they_say_so() {
        for (text, value) in [
            ("a=55", "55"),
            ("a=1.50", "1.50"),
            ("a=true", "true"),
            ("a=\"x\"", "\"x\""),
            ("a={\"b\":[1]}", "{\"b\":[1]}"),
            ("a= 7 ", "7"),
        ] {
            assert_eq!(attribute(text), Ok(("a".to_owned(), value.to_owned())));
        }
        assert_eq!(text_attribute("a=b=\"c\""), Ok(("a".to_owned(), r#""b=\"c\"""#.to_owned())));
        assert_eq!(text_attribute("a="), Ok(("a".to_owned(), "\"\"".to_owned())));
        for (text, says) in
            [("a=eco", "--text a="), ("a=null", "remove"), ("a", "KEY=VALUE"), ("=1", "key"), ("a=", "JSON")]
        {
            assert!(attribute(text).unwrap_err().contains(says), "{text}");
        }
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
