//! A fleet against a server of a few lines, over pipes and with a paused clock: hours pass in moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use stoker_protocol::codec::{
    Ack, ConnAck, Packet, PacketId, Properties, Publish, Qos, ReasonCode, ReasonList, SubAck, Version,
};
use tokio::io::DuplexStream;

use super::*;
use crate::fault::FaultPlan;
use crate::link::{Link, LinkError, keep_last, next_packet};

/// What the server is to do; by default what a server should.
#[derive(Clone, Default)]
struct Script {
    refuse: bool,
    /// Takes everything and says nothing after the CONNACK.
    silent: bool,
    /// Cuts each connection at so many publishes, the last of them without a PUBACK.
    cut_at: Option<usize>,
    /// Sent to each device once it has subscribed.
    orders: Vec<(u64, &'static str)>,
}

#[derive(Default)]
struct Seen {
    users: BTreeSet<String>,
    /// Payloads by client and topic.
    messages: BTreeMap<(String, String), Vec<Value>>,
    goodbyes: usize,
}

impl Seen {
    fn of(&self, client: &str, topic: &str) -> Vec<Value> {
        let key = (client.to_owned(), format!("v1/devices/me/{topic}"));
        self.messages.get(&key).cloned().unwrap_or_default()
    }
}

#[derive(Clone)]
struct Server {
    script: Script,
    version: Version,
    seen: Arc<Mutex<Seen>>,
}

impl Dial for Server {
    type Stream = DuplexStream;

    async fn dial(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = self.clone();
        tokio::spawn(async move {
            // Any end will do.
            let _ = server.serve(ours).await;
        });
        Ok(theirs)
    }
}

impl Server {
    async fn serve(self, stream: DuplexStream) -> Result<(), LinkError> {
        let mut link = Link::new(stream, self.version);
        let (mut input, mut client, mut publishes) = (Vec::new(), String::new(), 0);
        loop {
            link.exchange(&mut input).await?;
            let mut rest = input.as_slice();
            while let Some(packet) = next_packet(self.version, &mut rest)? {
                if let Packet::Connect(connect) = packet {
                    client = connect.client_id.to_owned();
                    self.seen.lock().users.insert(connect.user_name.unwrap_or_default().to_owned());
                    let reason =
                        if self.script.refuse { ReasonCode::NotAuthorized } else { ReasonCode::Success };
                    let properties = Properties::EMPTY;
                    link.send(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }))?;
                    continue;
                }
                if self.script.silent {
                    continue;
                }
                match packet {
                    Packet::Subscribe(subscribe) => {
                        link.send(&Packet::SubAck(SubAck {
                            packet_id: subscribe.packet_id,
                            properties: Properties::EMPTY,
                            reasons: ReasonList::from_bytes(&[1]),
                        }))?;
                        self.order(&mut link)?;
                    }
                    Packet::Publish(publish) => {
                        publishes += 1;
                        let payload = serde_json::from_slice(publish.payload).unwrap();
                        let key = (client.clone(), publish.topic.to_owned());
                        self.seen.lock().messages.entry(key).or_default().push(payload);
                        if self.script.cut_at == Some(publishes) {
                            return Ok(());
                        }
                        link.send(&Packet::PubAck(Ack::success(publish.packet_id.unwrap())))?;
                    }
                    Packet::PubAck(_) => {}
                    Packet::PingReq => link.send(&Packet::PingResp)?,
                    Packet::Disconnect(_) => self.seen.lock().goodbyes += 1,
                    other => panic!("{other:?}"),
                }
            }
            let left = rest.len();
            keep_last(&mut input, left);
        }
    }

    fn order(&self, link: &mut Link<DuplexStream>) -> Result<(), LinkError> {
        for (position, (number, payload)) in self.script.orders.iter().enumerate() {
            link.send(&Packet::Publish(Publish {
                dup: false,
                qos: Qos::AtLeastOnce,
                retain: false,
                topic: &format!("v1/devices/me/rpc/request/{number}"),
                packet_id: PacketId::new(u16::try_from(position).unwrap() + 1),
                properties: Properties::EMPTY,
                payload: payload.as_bytes(),
            }))?;
        }
        Ok(())
    }
}

fn config(devices: u32) -> SimConfig {
    let mut config = SimConfig::new("mqtt://unused", devices, "secret").unwrap();
    config.faults = FaultPlan { per_hour: 0.0, mean_s: 60.0 };
    config.device_time = true;
    config.ledger = true;
    config
}

struct Outcome {
    counted: StatsSnapshot,
    seen: Arc<Mutex<Seen>>,
    ledger: Arc<Ledger>,
}

/// Runs a fleet for so long, by the paused clock.
async fn run(config: SimConfig, script: Script, lasts: Duration) -> Outcome {
    let server = Server { script, version: config.version, seen: Arc::default() };
    let seen = Arc::clone(&server.seen);
    let sim = Sim::new(config).unwrap();
    let (ledger, shutdown) = (sim.ledger().unwrap(), CancellationToken::new());
    let end = shutdown.clone();
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        end.cancel();
    });
    let counted = sim.run_over(server, shutdown).await.unwrap();
    assert_eq!(counted.connected, 0);
    assert_eq!(counted.protocol_errors, 0);
    assert_eq!(counted.acks_out_of_order, 0);
    Outcome { counted, seen, ledger }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn every_device_reports_once_an_interval_and_the_ledger_has_what_was_acknowledged() {
    for version in [Version::V311, Version::V5] {
        let mut config = config(20);
        config.version = version;
        let user = config.login("boiler-7").0;
        let outcome = run(config, Script::default(), 10 * MINUTE).await;
        let seen = outcome.seen.lock();
        assert_eq!((seen.users.len(), seen.goodbyes), (20, 20));
        assert!(seen.users.contains(&user));
        assert_eq!((outcome.counted.connects, outcome.counted.readings_unacked), (20, 0));
        for number in 1..=20 {
            let id = format!("boiler-{number}");
            let stored = seen.of(&id, "telemetry");
            assert!((59..=61).contains(&stored.len()), "{}", stored.len());
            let times: Vec<i64> = stored.iter().map(|message| message["ts"].as_i64().unwrap()).collect();
            assert!(times.is_sorted_by(|a, b| a < b), "each has a time of its own");
            let entry = outcome.ledger.entry(number).unwrap();
            assert_eq!((entry.readings as usize, &entry.reading_times), (stored.len(), &times));
            let [session] = entry.sessions[..] else { panic!("{:?}", entry.sessions) };
            assert!(session.ended.is_some_and(|ended| ended > session.begun));
            assert_eq!(seen.of(&id, "attributes").len(), 1, "it says what it is once");
        }
        assert_eq!(outcome.counted.readings_acked, outcome.counted.readings_published);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_alive_while_it_has_nothing_to_say() {
    let mut config = config(5);
    config.interval = 60 * MINUTE;
    let outcome = run(config, Script::default(), 600 * MINUTE).await;
    assert_eq!((outcome.counted.connects, outcome.counted.ended_by_timeout), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn every_fault_arrives_in_turn_though_connections_are_cut() {
    let mut config = config(10);
    config.faults = FaultPlan { per_hour: 20.0, mean_s: 60.0 };
    let script = Script { cut_at: Some(7), ..Script::default() };
    let outcome = run(config, script, 120 * MINUTE).await;
    assert!(outcome.counted.reconnects > 500, "{:?}", outcome.counted);
    assert!(outcome.counted.faults_raised > 200, "{:?}", outcome.counted);
    assert!(outcome.counted.readings_unacked > 0);
    assert_eq!(outcome.counted.events_dropped, 0);
    let sessions: Vec<_> = (1..=10).map(|number| outcome.ledger.sessions(number)).collect();
    assert_eq!(sessions.iter().map(Vec::len).sum::<usize>() as u64, outcome.counted.connects);
    for session in &sessions {
        assert!(session.is_sorted_by(|one, next| one.ended.is_some_and(|ended| ended <= next.begun)));
    }
    let mut repeated = 0;
    for number in 1..=10 {
        let sent = outcome.seen.lock().of(&format!("boiler-{number}"), "events");
        let mut distinct: Vec<Value> = Vec::new();
        for event in &sent {
            if distinct.contains(event) { repeated += 1 } else { distinct.push(event.clone()) }
        }
        let ids: BTreeSet<&str> = distinct.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), distinct.len(), "one id, one event");
        let cleared = distinct.iter().map(|event| event["cleared"].as_bool().unwrap());
        assert!(cleared.eq((0..distinct.len()).map(|n| n % 2 == 1)), "a fault comes before it goes");
        let entry = outcome.ledger.entry(number).unwrap();
        let acked: Vec<&str> = entry.events.iter().map(|event| event.id.as_str()).collect();
        assert!(acked.iter().all(|id| ids.contains(id)));
        // At the very end one may still wait for a connection.
        assert!(distinct.len() - acked.len() <= 2, "{} of {}", acked.len(), distinct.len());
    }
    assert!(repeated > 0, "what was not acknowledged is sent again under the same id");
}

#[tokio::test(start_paused = true)]
async fn a_command_is_carried_out_once_and_answered_each_time() {
    let setpoint = r#"{"method":"write_setpoint","params":{"value":55}}"#;
    let orders = vec![(7, setpoint), (8, r#"{"method":"dance"}"#), (7, setpoint)];
    let outcome = run(config(3), Script { orders, ..Script::default() }, MINUTE).await;
    for number in 1..=3 {
        let seen = outcome.seen.lock();
        let id = format!("boiler-{number}");
        let done = serde_json::json!({ "ok": true, "setpoint": 55 });
        assert_eq!(seen.of(&id, "rpc/response/7"), [done.clone(), done]);
        assert_eq!(seen.of(&id, "rpc/response/8"), [serde_json::json!({ "error": "unknown method dance" })]);
        assert_eq!(outcome.ledger.entry(number).unwrap().commands, [7, 8]);
        assert_eq!(seen.of(&id, "telemetry").last().unwrap()["values"]["t_setpoint"], 55.0);
    }
    assert_eq!((outcome.counted.commands_answered, outcome.counted.commands_repeated), (6, 3));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_refused_tries_again_in_its_own_time() {
    let outcome = run(config(10), Script { refuse: true, ..Script::default() }, 10 * MINUTE).await;
    assert_eq!((outcome.counted.connects, outcome.counted.connect_failures), (0, 0));
    // Pauses are from one to five seconds, three on average once they have grown.
    assert!((1_600..2_400).contains(&outcome.counted.connects_refused), "{:?}", outcome.counted);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_left_and_no_reading_counts_as_acknowledged() {
    let mut config = config(4);
    config.window = 2;
    config.interval = Duration::from_secs(2);
    let outcome = run(config, Script { silent: true, ..Script::default() }, 5 * MINUTE).await;
    assert!(outcome.counted.ended_by_timeout >= 4 * 8, "{:?}", outcome.counted);
    assert!(outcome.counted.readings_left_out > 100, "the window bounds what is under way");
    assert_eq!(outcome.counted.readings_acked, 0);
    assert_eq!(outcome.counted.readings_unacked, outcome.counted.readings_published);
    assert_eq!(outcome.ledger.entry(1).unwrap().readings, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_ends_at_once_when_it_is_told_before_it_has_connected() {
    let mut config = config(1_000);
    config.connect_rate = 1;
    let outcome = run(config, Script::default(), Duration::from_secs(3)).await;
    assert!((3..=4).contains(&outcome.counted.connects), "{:?}", outcome.counted);
}
