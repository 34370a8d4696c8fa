//! Stories, cases and their steps. The kinds of steps are a small closed set; `docs/usecases.md` lists them.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What somebody wants of the platform, and the cases in which it is seen.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// The name of its file without `.yaml`, by which it is chosen.
    #[serde(skip)]
    pub id: String,
    /// What it is called.
    #[serde(rename = "story")]
    pub name: String,
    /// Who wants what, and why.
    pub text: String,
    /// In the order in which they are told. They do not build on each other.
    pub cases: Vec<Case>,
}

impl Story {
    /// What one of its cases is called among those of all stories.
    #[must_use]
    pub fn calls(&self, case: &Case) -> String {
        format!("{}: {}", self.id, case.name)
    }
}

/// One use case. It makes what it needs itself, so it runs beside others and on a platform that is in use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is promised.
    #[serde(rename = "case")]
    pub name: String,
    /// How it is before.
    #[serde(default)]
    pub given: Vec<Step>,
    /// What is done.
    pub when: Vec<Step>,
    /// What comes of it.
    pub then: Vec<Step>,
}

/// Which part of a case a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// How it is before.
    Given,
    /// What is done.
    When,
    /// What comes of it.
    Then,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Given => "Given",
            Self::When => "When",
            Self::Then => "Then",
        })
    }
}

impl Case {
    /// All steps in their order.
    pub fn steps(&self) -> impl Iterator<Item = (Phase, &Step)> {
        let phases = [(Phase::Given, &self.given), (Phase::When, &self.when), (Phase::Then, &self.then)];
        phases.into_iter().flat_map(|(phase, steps)| steps.iter().map(move |step| (phase, step)))
    }
}

/// One step. Its first word, which is its kind, names who or what it is about.
#[derive(Debug, Clone)]
pub enum Step {
    /// A device is made.
    Device(MakeDevice),
    /// A device connects.
    Connects(Connects),
    /// A device subscribes.
    Subscribes(Subscribes),
    /// A device publishes, and hears what comes of it.
    Publishes(Publishes),
    /// A device gets a message.
    Receives(Receives),
    /// A device says goodbye.
    Disconnects(Disconnects),
    /// A device's connection is cut without a word.
    Cut(Cut),
    /// The platform closes a device's connection.
    Closed(Closed),
    /// A request to the HTTP API.
    Asks(Asks),
    /// Somebody begins to listen to the live feed.
    Listens(Listens),
    /// A listener hears something.
    Hears(Hears),
    /// A receiver of webhooks is set up.
    Receiver(Receiver),
    /// A receiver of webhooks is told something.
    Told(Told),
}

/// Values to remember for later steps: name to JSON pointer into what was observed.
pub(crate) type Keep = BTreeMap<String, String>;

/// `device: NAME` makes a device, which then is `{NAME}`; its token is `{NAME.token}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeDevice {
    /// Its name within the case.
    #[serde(rename = "device")]
    pub name: String,
    /// More of what `POST /devices` takes.
    #[serde(default)]
    pub with: serde_json::Map<String, Value>,
}

/// `connects: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connects {
    /// Which connection; the device of that name, unless `as` says another.
    #[serde(rename = "connects")]
    pub name: String,
    /// Whose credentials it shows.
    #[serde(rename = "as")]
    pub device: Option<String>,
    /// 4 is MQTT 3.1.1.
    #[serde(default = "five")]
    pub version: u8,
    /// A user name in place of the token.
    pub user: Option<String>,
    /// A password.
    pub password: Option<String>,
    /// What is to be said when the connection ends without a goodbye.
    pub will: Option<Said>,
    /// The reason code of CONNACK.
    #[serde(default)]
    pub answered: u8,
}

/// A message.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Its topic.
    pub topic: String,
    /// JSON, or a text that goes as it stands.
    pub payload: Value,
}

/// `subscribes: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribes {
    /// Which connection.
    #[serde(rename = "subscribes")]
    pub name: String,
    /// The filter.
    pub to: String,
    /// The QoS that is asked for.
    #[serde(default = "one")]
    pub qos: u8,
    /// The reason code of SUBACK; that of `qos` unless given.
    pub answered: Option<u8>,
}

/// `publishes: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publishes {
    /// Which connection.
    #[serde(rename = "publishes")]
    pub name: String,
    /// Where to.
    pub topic: String,
    /// JSON, or a text that goes as it stands.
    pub payload: Value,
    /// The QoS.
    #[serde(default = "one")]
    pub qos: u8,
    /// The reason code of the acknowledgement.
    #[serde(default)]
    pub answered: u8,
}

/// `receives: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receives {
    /// Which connection.
    #[serde(rename = "receives")]
    pub name: String,
    /// The topic, with `*` for any run of characters.
    pub topic: String,
    /// What the payload is to be like.
    pub payload: Option<Value>,
    /// Of `topic`, `number` (the end of the topic) and `payload`.
    #[serde(default)]
    pub keep: Keep,
}

/// `disconnects: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disconnects {
    /// Which connection.
    #[serde(rename = "disconnects")]
    pub name: String,
}

/// `cut: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Which connection.
    #[serde(rename = "cut")]
    pub name: String,
}

/// `closed: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// Which connection.
    #[serde(rename = "closed")]
    pub name: String,
    /// The reason code of the DISCONNECT.
    pub code: Option<u8>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Caller {
    /// The holder of the token that the run was given.
    #[default]
    Administrator,
    /// Somebody without a token.
    Nobody,
    /// Somebody with a token that nobody was given.
    Stranger,
}

/// A method of HTTP that steps can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `get: PATH`
    Get,
    /// `post: PATH`
    Post,
    /// `patch: PATH`
    Patch,
    /// `delete: PATH`
    Delete,
}

impl Method {
    /// As HTTP spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// `get: PATH`, and so on; the path begins behind `/api/v1`.
#[derive(Debug, Clone)]
pub struct Asks {
    /// How.
    pub method: Method,
    /// Where.
    pub path: String,
    /// The rest.
    pub more: AsksMore,
}

/// What stands beside the path of a request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsksMore {
    /// Who asks.
    #[serde(default, rename = "as")]
    pub caller: Caller,
    /// A body of JSON.
    pub body: Option<Value>,
    /// A body of lines, each of JSON.
    pub lines: Option<Vec<Value>>,
    /// The status; any of success unless given.
    pub answers: Option<u16>,
    /// What the answer is to be like.
    pub gives: Option<Value>,
    /// It is asked again until it is so: for what comes of something that is not waited for otherwise.
    #[serde(default)]
    pub eventually: bool,
    /// Of the answer.
    #[serde(default)]
    pub keep: Keep,
}

/// `listens: NAME`; where it began then is `{NAME.position}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listens {
    /// What the listener is called.
    #[serde(rename = "listens")]
    pub name: String,
    /// Who listens.
    #[serde(default, rename = "as")]
    pub caller: Caller,
    /// The parameters, as in `devices={boiler}&types=alarm`.
    #[serde(default)]
    pub with: String,
    /// The status when it is not let in.
    pub refused: Option<u16>,
}

/// `hears: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hears {
    /// Which listener.
    #[serde(rename = "hears")]
    pub name: String,
    /// The type of the frame.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the frame is to be like. Other frames may come before.
    pub gives: Option<Value>,
    /// Of the frame.
    #[serde(default)]
    pub keep: Keep,
}

/// `receiver: NAME`; its URL then is `{NAME}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// What it is called.
    #[serde(rename = "receiver")]
    pub name: String,
    /// What the first requests are answered; then 204.
    #[serde(default)]
    pub answering: Vec<u16>,
}

/// `told: NAME`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// Which receiver.
    #[serde(rename = "told")]
    pub name: String,
    /// What a request is to be like: `headers` and `body`.
    pub gives: Value,
    /// Of the request.
    #[serde(default)]
    pub keep: Keep,
}

fn one() -> u8 {
    1
}

fn five() -> u8 {
    5
}
