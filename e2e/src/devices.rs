//! A device: one foreign MQTT client.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::driver::Clients;
use crate::tls::ClientCertificate;
use crate::wait::WITHIN;

/// How a device connects.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Where to.
    pub address: SocketAddr,
    /// 4 is MQTT 3.1.1, 5 is MQTT 5.
    pub version: u8,
    /// The user name: mostly the access token.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// In seconds; 0 is none.
    pub keep_alive_s: u16,
    /// What is said when the connection ends without a goodbye.
    pub will: Option<Will>,
    /// By WebSocket.
    pub websocket: bool,
    /// The certificate that the server shows must come from this file: TLS.
    pub ca: Option<PathBuf>,
    /// The client's own certificate.
    pub certificate: Option<ClientCertificate>,
    /// PUBACK is sent by [`Device::acknowledge`] only. Paho only.
    pub manual_ack: bool,
    /// Every message is answered by a PUBACK of this reason. MQTT.js with MQTT 5 only.
    pub ack_reason: u8,
}

/// A will.
#[derive(Debug, Clone)]
pub struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Its QoS.
    pub qos: u8,
}

impl Connect {
    /// By an access token, without TLS.
    #[must_use]
    pub fn token(address: SocketAddr, version: u8, token: &str) -> Self {
        Self {
            address,
            version,
            user_name: Some(token.to_owned()),
            password: None,
            keep_alive_s: 60,
            will: None,
            websocket: false,
            ca: None,
            certificate: None,
            manual_ack: false,
            ack_reason: 0,
        }
    }
}

/// How CONNECT was answered: 0 is a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack(pub u8);

/// A message to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Its QoS.
    pub qos: u8,
    /// The client's number for it, to acknowledge it by.
    pub mid: u64,
}

impl Down {
    /// The payload as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.payload).with_context(|| format!("no JSON: {}", self.payload))
    }

    /// The number at the end of the topic.
    ///
    /// # Errors
    /// There is none.
    pub fn number(&self) -> Result<u64> {
        let (_, number) = self.topic.rsplit_once('/').context("no number in the topic")?;
        Ok(number.parse()?)
    }
}

/// One client of a foreign kind.
#[derive(Debug)]
pub struct Device {
    clients: Clients,
    name: String,
    happenings: mpsc::Receiver<Value>,
    /// Taken from the queue while something else was waited for.
    kept: Vec<Value>,
}

fn byte(value: &Value) -> Result<u8> {
    let number = value.as_u64().with_context(|| format!("no number: {value}"))?;
    Ok(u8::try_from(number)?)
}

impl Device {
    pub(crate) fn new(clients: Clients, name: String, happenings: mpsc::Receiver<Value>) -> Self {
        Self { clients, name, happenings, kept: Vec::new() }
    }

    async fn ask(&self, mut request: Value) -> Result<Value> {
        request["client"] = json!(self.name);
        let answer = self.clients.ask(request.clone()).await?;
        if answer["ok"] != true {
            bail!("{:?} failed in {}: {answer}", self.clients.kind(), request["op"]);
        }
        Ok(answer)
    }

    /// Connects; a refusal is an answer, too.
    ///
    /// # Errors
    /// There was no CONNACK.
    pub async fn connect(&mut self, connect: &Connect) -> Result<Connack> {
        let will = connect.will.as_ref();
        let will = will.map(|will| json!({"topic": will.topic, "payload": will.payload, "qos": will.qos}));
        let certificate = connect.certificate.as_ref();
        let answer = self
            .ask(json!({
                "op": "connect", "host": connect.address.ip().to_string(), "port": connect.address.port(),
                "version": connect.version, "user": connect.user_name, "password": connect.password,
                "keepalive": connect.keep_alive_s, "will": will,
                "websocket": connect.websocket, "ca": connect.ca,
                "cert": certificate.map(|one| &one.certificate), "key": certificate.map(|one| &one.key),
                "manual_ack": connect.manual_ack, "ack_reason": connect.ack_reason,
            }))
            .await?;
        Ok(Connack(byte(&answer["code"])?))
    }

    /// Connects, which is to succeed.
    ///
    /// # Errors
    /// It was refused.
    pub async fn enter(&mut self, connect: &Connect) -> Result<()> {
        match self.connect(connect).await? {
            Connack(0) => Ok(()),
            Connack(code) => bail!("CONNACK {code:#04x}"),
        }
    }

    /// Publishes and waits for the acknowledgement: its reason code, 0 for one without. QoS 0 is only handed over.
    ///
    /// # Errors
    /// The connection ended first.
    pub async fn publish(&self, topic: &str, payload: &str, qos: u8) -> Result<u8> {
        let answer =
            self.ask(json!({"op": "publish", "topic": topic, "payload": payload, "qos": qos})).await?;
        byte(&answer["code"])
    }

    /// Publishes without waiting.
    ///
    /// # Errors
    /// The process of the client is over.
    pub async fn publish_only(&self, topic: &str, payload: &str, qos: u8) -> Result<()> {
        let request =
            json!({"op": "publish", "client": self.name, "topic": topic, "payload": payload, "qos": qos});
        drop(self.clients.begin(request).await?);
        Ok(())
    }

    /// Subscribes; what SUBACK says.
    ///
    /// # Errors
    /// There was none.
    pub async fn subscribe(&self, filter: &str, qos: u8) -> Result<u8> {
        let answer = self.ask(json!({"op": "subscribe", "filter": filter, "qos": qos})).await?;
        byte(&answer["code"])
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// There was no UNSUBACK.
    pub async fn unsubscribe(&self, filter: &str) -> Result<()> {
        self.ask(json!({"op": "unsubscribe", "filter": filter})).await.map(drop)
    }

    /// Acknowledges a message by hand.
    ///
    /// # Errors
    /// The client cannot.
    pub async fn acknowledge(&self, message: &Down) -> Result<()> {
        self.ask(json!({"op": "ack", "mid": message.mid, "qos": message.qos})).await.map(drop)
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The process of the client is over.
    pub async fn disconnect(&self) -> Result<()> {
        self.ask(json!({"op": "disconnect"})).await.map(drop)
    }

    /// Ends the TCP connection by a reset, without a word.
    ///
    /// # Errors
    /// The process of the client is over.
    pub async fn cut(&self) -> Result<()> {
        self.ask(json!({"op": "cut"})).await.map(drop)
    }

    /// Keeps the connection open, but reads and says nothing any more, not even pings.
    ///
    /// # Errors
    /// The process of the client is over.
    pub async fn hang(&self) -> Result<()> {
        self.ask(json!({"op": "hang"})).await.map(drop)
    }

    async fn happening(&mut self, event: &str) -> Result<Value> {
        if let Some(at) = self.kept.iter().position(|kept| kept["event"] == event) {
            return Ok(self.kept.remove(at));
        }
        let wait = async {
            loop {
                let next = self.happenings.recv().await.context("the process of the client has ended")?;
                if next["event"] == event {
                    return Ok(next);
                }
                self.kept.push(next);
            }
        };
        timeout(WITHIN, wait).await.with_context(|| format!("no {event} within {} s", WITHIN.as_secs()))?
    }

    /// The next message, as soon as it is there.
    ///
    /// # Errors
    /// None comes in time.
    pub async fn message(&mut self) -> Result<Down> {
        down(&self.happening("message").await?)
    }

    /// All messages that are there, and that come before the answer to a question that the platform answers itself:
    /// what was on its way is in.
    ///
    /// # Errors
    /// The question is not answered.
    pub async fn messages_so_far(&mut self) -> Result<Vec<Down>> {
        self.subscribe("v1/devices/me/rpc/response/+", 1).await?;
        let ask = r#"{"method":"getCurrentTime","params":{}}"#;
        self.publish("v1/devices/me/rpc/request/999999", ask, 1).await?;
        let mut before = Vec::new();
        loop {
            let next = self.message().await?;
            if next.topic == "v1/devices/me/rpc/response/999999" {
                return Ok(before);
            }
            before.push(next);
        }
    }

    /// The end of the connection: the reason code of a DISCONNECT, or none when it was only closed.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self) -> Result<Option<u8>> {
        let ended = self.happening("ended").await?;
        if ended["code"].is_null() { Ok(None) } else { byte(&ended["code"]).map(Some) }
    }

    /// The next message, if one comes within that time. For what is to come again only if something is wrong, use
    /// [`Device::messages_so_far`].
    ///
    /// # Errors
    /// The process of the client is over.
    pub async fn message_within(&mut self, within: Duration) -> Result<Option<Down>> {
        match timeout(within, self.happening("message")).await {
            Ok(message) => down(&message?).map(Some),
            Err(_) => Ok(None),
        }
    }
}

fn down(message: &Value) -> Result<Down> {
    let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
    let mid = message["mid"].as_u64().unwrap_or_default();
    Ok(Down { topic: text("topic"), payload: text("payload"), qos: byte(&message["qos"])?, mid })
}
