//! The world of one case: its devices, listeners and receivers, and what it knows.

mod ask;

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, Error, Result, anyhow};
use serde_json::{Value, json};
use stoker_e2e::{Clients, Connack, Connect, Device, Hook, Listener, WebhookSink, Will};
use tokio::time::{Instant, timeout_at};

use super::{Platform, Trouble};
use crate::expect::{Difference, differences, like};
use crate::model::{
    Caller, Connects, Hears, Keep, Listens, MakeDevice, Publishes, Receives, Step, Subscribes, Told,
};
use crate::names::{self, Known};

/// Devices keep their connections for longer than any case takes.
const KEEP_ALIVE_S: u16 = 60;
/// A token that nobody was given.
const STRANGE_TOKEN: &str = "stk_nobody-was-ever-given-this-one";

type Taken = Result<(), Trouble>;

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// That something is so, or that it is not.
fn is(expected: impl Into<Value>, observed: impl Into<Value>, what: &str) -> Taken {
    let (expected, observed) = (expected.into(), observed.into());
    if expected == observed {
        return Ok(());
    }
    let difference =
        Difference { at: what.to_owned(), expected: expected.to_string(), observed: Some(observed.clone()) };
    Err(Trouble::Differs { differences: vec![difference], observed })
}

/// That what was observed is as expected, if it is expected to be like anything.
fn fits(expected: Option<&Value>, observed: &Value) -> Taken {
    let differences = expected.map(|expected| differences(expected, observed)).unwrap_or_default();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Trouble::Differs { differences, observed: observed.clone() })
}

/// One connection of a device.
struct Connection {
    device: Device,
    /// Messages that came while another was waited for.
    kept: Vec<Value>,
}

/// The world of one case.
pub(super) struct World<'a> {
    platform: &'a Platform,
    clients: &'a Clients,
    http: reqwest::Client,
    known: Known,
    connections: BTreeMap<String, Connection>,
    listeners: BTreeMap<String, Listener>,
    receivers: BTreeMap<String, WebhookSink>,
    /// Paths of what is to be removed at the end.
    made: Vec<String>,
    /// What was asked to be made and is not answered.
    unanswered: Option<String>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        platform: &'a Platform,
        clients: &'a Clients,
        http: reqwest::Client,
        name: &str,
    ) -> Self {
        Self {
            platform,
            clients,
            http,
            known: Known::from([(names::CASE.to_owned(), Value::from(name))]),
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            receivers: BTreeMap::new(),
            made: Vec::new(),
            unanswered: None,
        }
    }

    /// Takes one step.
    pub(super) async fn take(&mut self, step: &Step, by: Instant) -> Taken {
        let late = |_| Trouble::Failed(anyhow!("nothing came of it in time"));
        match step {
            // These say themselves what they have seen so far.
            Step::Asks(asks) => self.asks(asks, by).await,
            Step::Hears(hears) => self.hears(hears, by).await,
            Step::Told(told) => self.told(told, by).await,
            Step::Device(device) => timeout_at(by, self.device(device)).await.map_err(late)?,
            Step::Connects(connects) => timeout_at(by, self.connects(connects)).await.map_err(late)?,
            Step::Subscribes(step) => timeout_at(by, self.subscribes(step)).await.map_err(late)?,
            Step::Publishes(step) => timeout_at(by, self.publishes(step)).await.map_err(late)?,
            Step::Receives(step) => timeout_at(by, self.receives(step)).await.map_err(late)?,
            Step::Listens(step) => timeout_at(by, self.listens(step)).await.map_err(late)?,
            Step::Disconnects(step) => {
                let goodbye = async { Ok(self.connection(&step.name)?.device.disconnect().await?) };
                timeout_at(by, goodbye).await.map_err(late)?
            }
            Step::Cut(step) => {
                let cut = async { Ok(self.connection(&step.name)?.device.cut().await?) };
                timeout_at(by, cut).await.map_err(late)?
            }
            Step::Closed(step) => {
                let ended = async { Ok::<_, Trouble>(self.connection(&step.name)?.device.ended().await?) };
                let code = timeout_at(by, ended).await.map_err(late)??;
                step.code.map_or(Ok(()), |expected| is(expected, code, "the reason code"))
            }
            Step::Receiver(step) => {
                let address: IpAddr = self.platform.receive.context("there is no address to receive at")?;
                let sink = WebhookSink::start_at(address).await?;
                sink.next(&step.answering);
                self.known.insert(step.name.clone(), Value::from(sink.url()));
                self.receivers.insert(step.name.clone(), sink);
                Ok(())
            }
        }
    }

    fn fill(&self, text: &str) -> Result<String> {
        names::fill(text, &self.known).map_err(Error::msg)
    }

    fn fill_all(&self, json: &Value) -> Result<Value> {
        names::fill_all(json, &self.known).map_err(Error::msg)
    }

    fn expected(&self, json: Option<&Value>) -> Result<Option<Value>> {
        json.map(|json| self.fill_all(json)).transpose()
    }

    /// Remembers what later steps use.
    fn keep(&mut self, keep: &Keep, observed: &Value) -> Taken {
        for (name, pointer) in keep {
            let Some(value) = observed.pointer(pointer) else {
                let expected = format!("something, to be kept as {name}");
                let difference = Difference { at: pointer.clone(), expected, observed: None };
                return Err(Trouble::Differs { differences: vec![difference], observed: observed.clone() });
            };
            self.known.insert(name.clone(), value.clone());
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Result<&str> {
        self.known.get(name).and_then(Value::as_str).with_context(|| format!("there is no {name}"))
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection> {
        self.connections.get_mut(name).with_context(|| format!("{name} has not connected"))
    }

    async fn device(&mut self, device: &MakeDevice) -> Taken {
        let id = format!("{}-{}", self.text(names::CASE)?, device.name);
        let mut body = json!({"id": id});
        for (key, value) in &device.with {
            body[key] = self.fill_all(value)?;
        }
        // Before it is answered: it may be made though nobody hears so.
        self.made.push(format!("/devices/{id}"));
        let (status, made) = self.request("POST", "/devices", Caller::Administrator, Some(&body)).await?;
        is(201, status, "the status").map_err(|_| anyhow!("a device was refused with {status}: {made}"))?;
        let token = [&made["token"], &body["token"]].into_iter().find(|token| token.is_string());
        self.known
            .insert(format!("{}.token", device.name), token.cloned().unwrap_or_else(|| Value::from("")));
        self.known.insert(device.name.clone(), Value::from(id));
        Ok(())
    }

    async fn connects(&mut self, connects: &Connects) -> Taken {
        let name = connects.device.as_ref().unwrap_or(&connects.name);
        let password = connects.password.as_ref().map(|password| self.fill(password)).transpose()?;
        let user = match &connects.user {
            Some(user) => self.fill(user)?,
            None if password.is_some() => self.text(name)?.to_owned(),
            None => self.text(&format!("{name}.token"))?.to_owned(),
        };
        let broker = &self.platform.broker;
        let mut connect = Connect::token(broker.address, connects.version, &user);
        connect.password = password;
        connect.keep_alive_s = KEEP_ALIVE_S;
        connect.websocket = broker.websocket;
        connect.ca.clone_from(&broker.ca);
        if let Some(will) = &connects.will {
            let payload = payload(&self.fill_all(&will.payload)?);
            connect.will = Some(Will { topic: self.fill(&will.topic)?, payload, qos: 1 });
        }
        let mut device = self.clients.device()?;
        let Connack(code) = device.connect(&connect).await?;
        self.connections.insert(connects.name.clone(), Connection { device, kept: Vec::new() });
        is(connects.answered, code, "the reason code of CONNACK")
    }

    async fn subscribes(&mut self, step: &Subscribes) -> Taken {
        let filter = self.fill(&step.to)?;
        let code = self.connection(&step.name)?.device.subscribe(&filter, step.qos).await?;
        is(step.answered.unwrap_or(step.qos), code, "the reason code of SUBACK")
    }

    async fn publishes(&mut self, step: &Publishes) -> Taken {
        let (topic, said) = (self.fill(&step.topic)?, payload(&self.fill_all(&step.payload)?));
        let code = self.connection(&step.name)?.device.publish(&topic, &said, step.qos).await?;
        is(step.answered, code, "the reason code of the acknowledgement")
    }

    /// The first message on such a topic is to be like that.
    async fn receives(&mut self, step: &Receives) -> Taken {
        let pattern = self.fill(&step.topic)?;
        let expected = self.expected(step.payload.as_ref())?;
        let connection = self.connection(&step.name)?;
        let meant = |message: &Value| message["topic"].as_str().is_some_and(|topic| like(&pattern, topic));
        let kept = connection.kept.iter().position(meant).map(|at| connection.kept.remove(at));
        let message = match kept {
            Some(message) => message,
            None => loop {
                let message = connection.device.message().await?;
                let payload = message.json().unwrap_or_else(|_| Value::from(message.payload.as_str()));
                let number = message.number().ok();
                let message = json!({"topic": message.topic, "number": number, "payload": payload});
                if meant(&message) {
                    break message;
                }
                connection.kept.push(message);
            },
        };
        fits(expected.as_ref(), &message["payload"])?;
        self.keep(&step.keep, &message)
    }

    async fn listens(&mut self, step: &Listens) -> Taken {
        let with = self.fill(&step.with)?;
        let with = if with.is_empty() { with } else { format!("?{with}") };
        let api = &self.platform.api;
        let headers = match step.caller {
            Caller::Administrator => json!({"authorization": format!("Bearer {}", api.admin_token())}),
            Caller::Nobody => json!({}),
            Caller::Stranger => json!({"authorization": format!("Bearer {STRANGE_TOKEN}")}),
        };
        let mut listener = Listener::dial_with(api, &with, &headers)?;
        let first = listener.next().await?;
        if let Some(status) = step.refused {
            return fits(Some(&json!({"refused": status})), &first);
        }
        fits(Some(&json!({"type": "hello", "position": {"$present": true}})), &first)?;
        self.known.insert(format!("{}.position", step.name), first["position"].clone());
        self.listeners.insert(step.name.clone(), listener);
        Ok(())
    }

    /// Some frame of that type is to be like that. When none is, the last of that type says why.
    async fn hears(&mut self, step: &Hears, by: Instant) -> Taken {
        let expected = self.expected(step.gives.as_ref())?;
        let name = &step.name;
        let listener = self.listeners.get_mut(name).with_context(|| format!("{name} does not listen"))?;
        let mut last: Option<Trouble> = None;
        let frame = loop {
            let Ok(frame) = timeout_at(by, listener.next()).await else {
                let none = || Trouble::Failed(anyhow!("no frame of type {:?} came in time", step.kind));
                return Err(last.unwrap_or_else(none));
            };
            let frame = frame?;
            if !frame["closed"].is_null() || !frame["error"].is_null() {
                return Err(Trouble::Failed(anyhow!("the live feed has ended: {frame}")));
            }
            if frame["type"] == step.kind.as_str() {
                match fits(expected.as_ref(), &frame) {
                    Ok(()) => break frame,
                    Err(trouble) => last = Some(trouble),
                }
            }
        };
        self.keep(&step.keep, &frame)
    }

    /// Some request is to be like that. When none is, the last one says why.
    async fn told(&mut self, step: &Told, by: Instant) -> Taken {
        let expected = self.fill_all(&step.gives)?;
        let name = &step.name;
        let sink = self.receivers.get(name).with_context(|| format!("there is no receiver {name}"))?;
        let mut pause = ask::Pause::default();
        let hook = loop {
            let hooks: Vec<Value> = sink.hooks().iter().map(shown).collect();
            let good = hooks.iter().find(|hook| differences(&expected, hook).is_empty());
            if let Some(good) = good {
                break good.clone();
            }
            if !pause.until(by).await {
                return match hooks.last() {
                    Some(last) => fits(Some(&expected), last),
                    None => Err(Trouble::Failed(anyhow!("nothing was told in time"))),
                };
            }
        };
        self.keep(&step.keep, &hook)
    }
}

/// A text goes as it stands, all else as JSON.
fn payload(json: &Value) -> String {
    match json {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown(hook: &Hook) -> Value {
    let body = hook.json().unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&hook.body).into_owned()));
    json!({"headers": hook.headers, "body": body})
}
