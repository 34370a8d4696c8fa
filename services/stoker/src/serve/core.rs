//! `stoker core`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stoker_core::{Core, CoreConfig, CoreStats, Membership};
use stoker_domain::ownership::SlotRange;
use stoker_domain::ports::store::StoreError;
use stoker_link::{Answering, Incoming, WINDOW};
use stoker_store::{CassandraError, CassandraOptions, CassandraStore, TransferError};
use stoker_telemetry::Health;
use tonic::transport::Server;

use super::{
    Late, Process, Role, Wanted, began, bus_config, bus_numbers, host, join_bus, keep_bus, link,
    private_port, tls, waiting,
};
use crate::config::{self, Configuration};
use crate::listen::{self, open};
use crate::metrics::Metrics;
use crate::parts::{cassandra_options, settings};

const LISTEN: &str = "0.0.0.0:7400";
const LISTENS: (&str, &str) = ("cores and their clients", "core.listen");
/// Open requests may take so long to end at the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Where the others reach this core.
fn advertised(core: &config::Core, listens: SocketAddr) -> Result<String> {
    match &core.advertise {
        Some(address) => Ok(address.clone()),
        None if listens.ip().is_unspecified() => bail!(
            "core.advertise is not configured: core listens on {listens}, which tells nobody where it is; give an \
             address that the other services reach, such as 10.0.0.7:7400, in the file of --config, or by \
             STOKER__CORE__ADVERTISE"
        ),
        None => Ok(listens.to_string()),
    }
}

/// Says now what would otherwise be found out only once Cassandra and RabbitMQ are there.
fn check(core: &config::Core, listen: &str) -> Result<()> {
    listen::check(LISTENS.0, LISTENS.1, listen)?;
    match (&core.advertise, listen.parse()) {
        (Some(address), _) if !address.contains(':') => {
            bail!("core.advertise: {address:?} is no address such as core-1:7400")
        }
        (None, Ok(listens)) => advertised(core, listens).map(drop),
        // Where a name is, is seen when it is listened on.
        _ => Ok(()),
    }
}

/// Opens the store, whenever the nodes are there.
async fn open_store(options: CassandraOptions, health: &Health) -> Result<Arc<CassandraStore>> {
    let wanted =
        || Wanted { thing: "store", what: format!("Cassandra at {}", options.contact_points.join(", ")) };
    let opened = waiting::for_it(wanted(), health, CassandraError::may_come, async || {
        CassandraStore::open(options.clone()).await
    });
    let store = opened.await.context("Cassandra could not be opened")?;
    let whole = waiting::for_it(wanted(), health, may_answer, async || store.holds_no_half().await);
    whole.await.map_err(not_whole)?;
    Ok(Arc::new(store))
}

/// Whether Cassandra may yet tell of imports: what fails is its answer, not what it says.
fn may_answer(error: &TransferError) -> bool {
    matches!(error, TransferError::Store { source, .. } if !matches!(source, StoreError::Corrupt(_)))
}

fn not_whole(error: TransferError) -> anyhow::Error {
    let what = match &error {
        TransferError::Unfinished { .. } => "the keyspace is not whole",
        _ => "Cassandra does not tell whether the keyspace is whole",
    };
    anyhow::Error::from(error).context(what)
}

pub(super) async fn run(configuration: Configuration) -> Result<()> {
    let mut process = Process::begin("core", &configuration)?;
    let of_core = &configuration.core;
    let slots = match &of_core.slots {
        Some(slots) => slots.parse::<SlotRange>().context("core.slots is wrong")?,
        None => SlotRange::ALL,
    };
    let listen = of_core.listen.as_deref().unwrap_or(LISTEN);
    let options = cassandra_options(&configuration.cassandra)?;
    let bus = bus_config(&process, &configuration, Role::Core)?;
    check(of_core, listen)?;
    let tls = tls(&configuration)?;
    let link = link(tls.as_ref());
    let (stats, joined) = (Arc::new(CoreStats::default()), Late::default());
    let opened = Late::<Arc<CassandraStore>>::default();
    let counted = Arc::clone(&opened);
    let counted = move || counted.get().map(|store| store.stats()).unwrap_or_default();
    let metrics = Metrics::of_core(stats.clone(), counted, bus_numbers(&joined), link.stats());
    let private = private_port(&mut process, &configuration, metrics, "slots").await?;
    let health = process.health.clone();
    let both = async { tokio::try_join!(open_store(options, &health), join_bus(bus, &health, &joined)) };
    let Some((store, (bus, driver))) = process.prepare(Box::pin(both)).await? else {
        return process.give_up().await;
    };
    let _first = opened.set(Arc::clone(&store));
    keep_bus(&mut process, &bus, driver);
    // Not before, or callers would wait for a core that itself waits.
    let (listener, address) = open(LISTENS.0, LISTENS.1, listen).await?;
    let advertised = advertised(of_core, address)?;
    let calls = link.stats().clone();
    let shard = of_core.shard.as_deref().map(|shard| format!("{shard}/")).unwrap_or_default();
    let config = CoreConfig {
        store: store.clone(),
        bus: Arc::new(bus.clone()),
        clock: process.clock,
        settings: settings(&configuration),
        member: process.member.clone(),
        membership: Membership::Shared {
            slots,
            address: advertised.clone(),
            host: format!("{shard}{}", host()),
            link,
        },
        health: process.health.clone(),
        stats,
    };
    let starting = Core::start(config, process.front_end());
    let starting = async { starting.await.context("core could not start") };
    let Some(core) = process.prepare(starting).await? else {
        bus.close();
        store.close();
        return process.give_up().await;
    };
    let end = process.back_end();
    let serving = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .layer(Answering::new(calls))
        .add_routes(core.services().by_role())
        .serve_with_incoming_shutdown(Incoming::new(listener, tls), async move { end.cancelled().await });
    // Until the slots are handed on, requests are still passed to their new owners.
    let end = process.back_end();
    process.back("grpc", async move {
        tokio::select! {
            served = serving => served,
            // Whoever waits for the end of a command may do so for a minute: another core's answer comes sooner.
            () = async { end.cancelled().await; tokio::time::sleep(GOODBYE).await } => Ok(()),
        }
    });
    process.front("core", core.run());
    began(
        Role::Core,
        &process.member,
        &format!("{address} for slots {slots}, reached at {advertised}"),
        private,
    );
    // Requests that are still passed on look in the store for who owns their slot by now.
    process.run(move || bus.close(), async move { store.close() }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_nobody_could_reach_is_told_so_before_it_waits_for_anybody() {
        let said = |listen: &str, advertise: Option<&str>| {
            let core =
                config::Core { advertise: advertise.map(ToOwned::to_owned), ..config::Core::default() };
            check(&core, listen).map_err(|error| error.to_string())
        };
        assert_eq!(said("10.0.0.7:7400", None), Ok(()));
        assert_eq!(said("core-1:7400", None), Ok(()));
        assert_eq!(said(LISTEN, Some("core-1:7400")), Ok(()));
        for (listen, advertise, says) in [
            (LISTEN, None, "core.advertise is not configured"),
            ("[::]:7400", None, "core.advertise is not configured"),
            (LISTEN, Some("core-1"), "core.advertise"),
            ("7400", Some("core-1:7400"), "core.listen"),
        ] {
            assert!(said(listen, advertise).unwrap_err().contains(says), "{listen}");
        }
    }

    #[test]
    fn a_database_that_does_not_answer_is_waited_for_and_not_called_half_imported() {
        let away = StoreError::Failed("no node".to_owned());
        let away = TransferError::Store { action: "look for an import that was cut off", source: away };
        let half = TransferError::Unfinished { keyspace: "k".to_owned(), checksum: "c".to_owned() };
        let wrong = StoreError::Corrupt("a row".to_owned());
        let wrong = TransferError::Store { action: "look for an import that was cut off", source: wrong };
        for (error, waits, says) in [(away, true, false), (half, false, true), (wrong, false, false)] {
            assert_eq!(may_answer(&error), waits, "{error}");
            assert_eq!(not_whole(error).to_string() == "the keyspace is not whole", says);
        }
    }
}
