//! Resources that get in each other's way. The oldest is meant.

use stoker_crds::CoreShardSpec;

use super::{CASSANDRA_DIFFERS, Refusal};
use crate::wanted::{Resource, Spec};

pub(super) fn refusal(of: &Resource<'_>, all: &[Resource<'_>]) -> Option<Refusal> {
    let mut older =
        all.iter().take_while(|other| other.id != of.id).filter(|other| other.id.kind == of.id.kind);
    match of.spec {
        Spec::CoreShard(spec) => {
            let first = older.next()?;
            let Spec::CoreShard(meant) = first.spec else { return None };
            elsewhere(spec, meant).map(|what| {
                Refusal::new(
                    CASSANDRA_DIFFERS,
                    format!(
                        "cassandra.{what} is another than that of CoreShard {}, which is older: all CoreShards of a \
                         platform keep their data in one place; name the same, or use another namespace",
                        first.id.name
                    ),
                )
            })
        }
        Spec::Notifier(_) => older.next().map(|first| {
            Refusal::new(
                "OneIsEnough",
                format!(
                    "Notifier {} is older and takes all there is to tell: raise its replicas in place of making \
                     another, and delete this one",
                    first.id.name
                ),
            )
        }),
        Spec::Gateway(spec) => taken(&spec.hostname, older),
        Spec::Portal(spec) => taken(&spec.hostname, older),
    }
}

/// What of the place of data differs. Contact points may: they are some of the nodes.
fn elsewhere(this: &CoreShardSpec, meant: &CoreShardSpec) -> Option<&'static str> {
    let (this, meant) = (&this.cassandra, &meant.cassandra);
    if this.keyspace != meant.keyspace {
        Some("keyspace")
    } else if this.datacenter != meant.datacenter {
        Some("datacenter")
    } else {
        None
    }
}

fn taken<'a, 'b: 'a>(hostname: &str, mut older: impl Iterator<Item = &'a Resource<'b>>) -> Option<Refusal> {
    let first = older.find(|other| match other.spec {
        Spec::Gateway(spec) => spec.hostname == hostname,
        Spec::Portal(spec) => spec.hostname == hostname,
        Spec::CoreShard(_) | Spec::Notifier(_) => false,
    })?;
    Some(Refusal::new(
        "HostnameTaken",
        format!(
            "{} is older and has the hostname {hostname}, which leads to one address: raise its replicas in place \
             of making another, or give another hostname",
            first.id
        ),
    ))
}
