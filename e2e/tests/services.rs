//! The platform in processes of their own: the main job, and the same promises when one of them goes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use stoker_e2e::{
    Api, Clients, Connect, Device, Foreign, MailFate, Metrics, Service, Services, SmtpSink, eventually, topic,
};

const NIGHT: &str = "night@example.org";

/// Devices that are gone are missed soon, and those that have only lost their process have a grace.
fn config(mail: &SmtpSink) -> Value {
    json!({"notifier": mail.email(), "silence": {"after": "5s", "grace": "20s"}})
}

/// A device that obeys and reports.
struct Boiler {
    id: String,
    device: Device,
    connect: Connect,
    reported: u64,
}

impl Boiler {
    async fn enter(
        services: &Services,
        clients: &Clients,
        api: &Api,
        gateway: usize,
        id: &str,
    ) -> Result<Self> {
        let token = api.make_device(id).await?;
        let connect = Connect::token(services.gateways[gateway].address, 5, &token);
        let mut device = clients.device()?;
        device.enter(&connect).await?;
        ensure!(device.subscribe(topic::COMMANDS, 1).await? == 1, "the subscription was not granted");
        Ok(Self { id: id.to_owned(), device, connect, reported: 0 })
    }

    /// Comes again, at another gateway.
    async fn come_again(&mut self, services: &Services, clients: &Clients, gateway: usize) -> Result<()> {
        self.connect.address = services.gateways[gateway].address;
        self.device = clients.device()?;
        self.device.enter(&self.connect).await?;
        ensure!(self.device.subscribe(topic::COMMANDS, 1).await? == 1, "the subscription was not granted");
        Ok(())
    }

    /// Reports the next number, and has it acknowledged.
    async fn report(&mut self) -> Result<()> {
        let next = self.reported + 1;
        let code = self.device.publish(topic::TELEMETRY, &format!("{{\"n\":{next}}}"), 1).await?;
        ensure!(code == 0, "the reading was answered by {code:#04x}");
        self.reported = next;
        Ok(())
    }

    async fn fault(&self, code: &str, cleared: bool) -> Result<()> {
        let event = json!({"kind": "fault", "code": code, "severity": "critical", "text": "flame lost", "cleared": cleared});
        let answer = self.device.publish(topic::EVENTS, &event.to_string(), 1).await?;
        ensure!(answer == 0, "the event was answered by {answer:#04x}");
        Ok(())
    }

    /// Gets a command by one portal and does it; the other portal says how it ended.
    async fn obey(&mut self, asked: &Api, told: &Api) -> Result<()> {
        let body = json!({"method": "reset", "expires_in_s": 60});
        let command = asked.post(&format!("/devices/{}/commands", self.id), &body).await?.expect(202)?;
        let order = self.device.message().await?;
        let reply = format!("v1/devices/me/rpc/response/{}", order.number()?);
        ensure!(self.device.publish(&reply, "{\"done\":true}", 1).await? == 0, "the reply was refused");
        let id = command["id"].as_str().context("a command without an id")?;
        let ended = told.get(&format!("/commands/{id}?wait_s=20")).await?.expect(200)?;
        ensure!(ended["state"] == "succeeded", "{}: {ended}", self.id);
        Ok(())
    }

    /// Everything that was acknowledged is there, once.
    async fn check(&self, api: &Api) -> Result<()> {
        let values = api.values(&self.id, "n").await?;
        let wanted: Vec<Value> = (1..=self.reported).map(Value::from).collect();
        ensure!(values == wanted, "{} has {values:?}", self.id);
        Ok(())
    }
}

async fn silent(api: &Api) -> Result<Vec<Value>> {
    let mut alarms = api.all("/alarms").await?;
    alarms.retain(|alarm| alarm["kind"] == "silence");
    Ok(alarms)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_is_done_by_processes_of_their_own() -> Result<()> {
    let mail = SmtpSink::start().await?;
    let services = Services::start([2, 2, 2, 2], &config(&mail)).await?;
    let (here, there) = (services.api(0)?, services.api(1)?);
    let deliver = json!([{"channel": "email", "to": NIGHT}]);
    let subscription = json!({"name": "Night shift", "match": {}, "deliver": deliver});
    here.post("/subscriptions", &subscription).await?.expect(201)?;
    for kind in [Foreign::Paho, Foreign::Js] {
        let clients = Clients::start(kind).await?;
        for gateway in [0, 1] {
            let id = format!("boiler-{kind:?}-{gateway}");
            let mut boiler = Boiler::enter(&services, &clients, &here, gateway, &id).await?;
            for _ in 0..3 {
                boiler.report().await?;
            }
            boiler.obey(&here, &there).await?;
            boiler.fault("E42", false).await?;
            boiler.fault("E42", true).await?;
            boiler.check(&there).await?;
            there.device_in(&id, "online").await?;
        }
    }
    let mails = mail.mails_once(8).await?;
    ensure!(mails.iter().filter(|mail| mail.subject().starts_with("[critical] boiler-")).count() == 4);
    ensure!(mails.iter().filter(|mail| mail.subject().starts_with("[cleared] boiler-")).count() == 4);
    let status = there.get("/status").await?.expect(200)?;
    ensure!(status["devices"] == 4, "{status}");
    counted(&services).await
}

/// The private ports have counted what was done: 12 readings, 4 commands, 8 mails.
async fn counted(services: &Services) -> Result<()> {
    let (cores, gateways) = (Sum::of(&services.cores).await?, Sum::of(&services.gateways).await?);
    let notifiers = Sum::of(&services.notifiers).await?;
    for of in [&cores, &gateways, &notifiers] {
        of.is("bus_connections", 4)?;
        for lost in ["bus_dead_lettered", "bus_unreadable", "bus_acknowledgements_lost", "bus_feed_lost"] {
            of.is(lost, 0)?;
        }
    }
    cores.is("store_points", 12)?;
    cores.at_least("store_connections", 2)?;
    cores.at_least("store_requests", 12)?;
    // Taking a slot over is one; alarms, commands and reports are others.
    cores.at_least("store_slot_commits", 12)?;
    cores.is("store_slot_sweeps", 0)?;
    // How many it takes is for the machine to say.
    for told in ["store_overloaded", "store_driver_timeouts"] {
        cores.at_least(told, 0)?;
    }
    cores.at_least("bus_publishes{lane=\"work\",result=\"confirmed\"}", 8)?;
    cores.at_least("bus_publishes{lane=\"orders\",result=\"confirmed\"}", 4)?;
    gateways.is("gateway_readings_stored", 12)?;
    gateways.is("gateway_commands_sent", 4)?;
    gateways.is("bus_consumers", 2)?;
    notifiers.is("notifier_attempts{channel=\"email\",result=\"sent\"}", 8)?;
    notifiers.is("bus_consumers", 2)
}

/// What the private ports of several processes say together.
struct Sum(Vec<Metrics>);

impl Sum {
    async fn of(services: &[Service]) -> Result<Self> {
        let mut all = Vec::new();
        for service in services {
            all.push(service.metrics().await?);
        }
        Ok(Self(all))
    }

    fn get(&self, name: &str) -> Result<u64> {
        self.0.iter().map(|metrics| metrics.get(name)).sum()
    }

    fn is(&self, name: &str, count: u64) -> Result<()> {
        let found = self.get(name)?;
        ensure!(found == count, "{name} is {found}, not {count}");
        Ok(())
    }

    fn at_least(&self, name: &str, count: u64) -> Result<()> {
        let found = self.get(name)?;
        ensure!(found >= count, "{name} is {found}, less than {count}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_that_dies_or_ends_takes_anything_with_it() -> Result<()> {
    let mut mail = SmtpSink::start().await?;
    let mut services = Services::start([2, 2, 2, 2], &config(&mail)).await?;
    let (here, there) = (services.api(0)?, services.api(1)?);
    let deliver = json!([{"channel": "email", "to": NIGHT}]);
    let subscription = json!({"name": "Night shift", "match": {}, "deliver": deliver});
    here.post("/subscriptions", &subscription).await?.expect(201)?;
    let clients = Clients::start(Foreign::Paho).await?;
    let mut boilers = Vec::new();
    for n in 0..8 {
        boilers.push(Boiler::enter(&services, &clients, &here, n % 2, &format!("boiler-{n}")).await?);
    }

    // A core is killed: its slots' devices go on as if nothing had been.
    services.cores[1].kill9()?;
    for boiler in &mut boilers {
        boiler.report().await?;
        boiler.obey(&here, &there).await?;
    }
    services.settled(8).await?;
    // It comes back and gets its share; then the other is told to end, and hands its own on.
    services.cores[1].start()?;
    services.cores[1].ready().await?;
    let status = services.cores[0].terminate().await?;
    ensure!(status.success(), "the core ended with {status}");
    for boiler in &mut boilers {
        boiler.report().await?;
        boiler.obey(&there, &here).await?;
    }
    services.settled(8).await?;
    services.cores[0].start()?;
    services.cores[0].ready().await?;

    // A gateway is killed: its devices come again at the other, and nobody has missed them.
    services.gateways[1].kill9()?;
    for boiler in boilers.iter_mut().skip(1).step_by(2) {
        boiler.come_again(&services, &clients, 0).await?;
    }
    for boiler in &mut boilers {
        boiler.report().await?;
        boiler.obey(&here, &there).await?;
    }
    services.settled(8).await?;

    // A notifier dies with a mail in its hands, of which nobody knows what became: it is sent again.
    mail.next(MailFate::Hung, 1).await?;
    boilers[0].fault("E42", false).await?;
    eventually("the mail server has the mail", || async { Ok((mail.turned_away() == 1).then_some(())) })
        .await?;
    for notifier in &mut services.notifiers {
        notifier.kill9()?;
    }
    services.notifiers[0].start()?;
    services.notifiers[0].ready().await?;

    // A portal is killed: the other answers.
    services.portals[0].kill9()?;
    for boiler in &mut boilers {
        boiler.report().await?;
        boiler.obey(&there, &there).await?;
        boiler.check(&there).await?;
    }
    assert_eq!(silent(&there).await?, Vec::<Value>::new());
    // The work that the dead one had goes to the other.
    let subject = "[critical] boiler-0: flame lost (E42)";
    let told = eventually("somebody is told", || async {
        Ok(mail.mails().iter().any(|mail| mail.subject() == subject).then_some(()))
    });
    told.await
}
