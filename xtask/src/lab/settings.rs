//! What a lab consists of, and where it listens.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::kube::{Kube, network};

/// One process of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Erlang's register of names, which RabbitMQ needs: one of the lab's own.
    Epmd,
    RabbitMq,
    /// By number, from 1.
    Cassandra(u8),
    /// A part of Kubernetes.
    Kube(Kube),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epmd => f.write_str("epmd"),
            Self::RabbitMq => f.write_str("rabbitmq"),
            Self::Cassandra(number) => write!(f, "cassandra-{number}"),
            Self::Kube(part) => f.write_str(part.name()),
        }
    }
}

/// What a lab keeps to until it is purged: its nodes know one another by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) name: String,
    /// How many nodes of Cassandra: 1 or 3.
    pub(super) cassandra: u8,
    pub(super) ports: Ports,
    /// Whether it has Kubernetes, whose pods reach Cassandra and RabbitMQ too.
    #[serde(default)]
    pub(super) kubernetes: bool,
}

/// The ports of a lab. The nodes of Cassandra share theirs: each has an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ports {
    /// Where clients of Cassandra connect.
    pub(super) cassandra: u16,
    /// Where its nodes speak to one another.
    pub(super) storage: u16,
    /// Where clients of RabbitMQ connect.
    pub(super) amqp: u16,
    /// Where its command line connects.
    pub(super) distribution: u16,
    pub(super) epmd: u16,
}

impl Ports {
    /// Those that everybody expects; epmd's is the next one, for the usual one may be that of the whole machine.
    pub(super) const USUAL: Self =
        Self { cassandra: 9042, storage: 7000, amqp: 5672, distribution: 25672, epmd: 4370 };
    /// How many a lab takes from a base on.
    pub(super) const COUNT: u16 = 5;

    pub(super) fn from_base(base: u16) -> Result<Self> {
        if base == 0 || base.checked_add(Self::COUNT - 1).is_none() {
            bail!("there are no {} ports from {base} on", Self::COUNT);
        }
        let [cassandra, storage, amqp, distribution, epmd] = [0, 1, 2, 3, 4].map(|offset| base + offset);
        Ok(Self { cassandra, storage, amqp, distribution, epmd })
    }

    fn all(&self) -> [u16; 5] {
        [self.cassandra, self.storage, self.amqp, self.distribution, self.epmd]
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cassandra, storage, amqp, distribution, epmd } = self;
        write!(
            f,
            "{cassandra} (Cassandra), {storage} (storage), {amqp} (AMQP), {distribution} (distribution), {epmd} (epmd)"
        )
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(plain) {
            bail!("`{}` is no name for a lab: up to 32 of a-z, 0-9 and -", self.name);
        }
        let mut ports = self.ports.all();
        ports.sort_unstable();
        if ports[0] == 0 || ports.windows(2).any(|pair| pair[0] == pair[1]) {
            bail!("a lab needs five ports that differ, not {ports:?}");
        }
        Ok(())
    }

    /// All parts, in the order in which they are to be started.
    pub(super) fn parts(&self) -> Vec<Part> {
        let kubernetes = Kube::ALL.into_iter().filter(|_| self.kubernetes).map(Part::Kube);
        let others =
            [Part::Epmd, Part::RabbitMq].into_iter().chain((1..=self.cassandra).map(Part::Cassandra));
        others.chain(kubernetes).collect()
    }

    /// The part of this name.
    pub(super) fn part(&self, name: &str) -> Result<Part> {
        let parts = self.parts();
        match parts.iter().find(|part| part.to_string() == name) {
            Some(part) => Ok(*part),
            None => {
                let names: Vec<String> = parts.iter().map(ToString::to_string).collect();
                bail!("this lab has no part `{name}`, but {}", names.join(", "))
            }
        }
    }

    /// Where clients of a part connect.
    pub(super) fn address(&self, part: Part) -> SocketAddr {
        // Drivers of Cassandra dial what its nodes say of themselves, so pods need an address that is theirs and ours.
        let clients = |number| {
            if self.kubernetes { network::host(number) } else { Ipv4Addr::new(127, 0, 0, number) }
        };
        match part {
            Part::Epmd => (Ipv4Addr::LOCALHOST, self.ports.epmd).into(),
            Part::RabbitMq => (clients(1), self.ports.amqp).into(),
            Part::Cassandra(number) => (clients(number), self.ports.cassandra).into(),
            Part::Kube(part) => part.address(),
        }
    }

    /// Where a node of Cassandra hears the others.
    pub(super) fn storage_address(&self, number: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, number), self.ports.storage).into()
    }

    /// All that a part listens on.
    fn listeners(&self, part: Part) -> Vec<SocketAddr> {
        let mut all = vec![self.address(part)];
        match part {
            Part::Epmd => {}
            Part::RabbitMq => all.push((Ipv4Addr::LOCALHOST, self.ports.distribution).into()),
            Part::Cassandra(number) => all.push(self.storage_address(number)),
            Part::Kube(part) => all.extend(part.health_address()),
        }
        all
    }

    /// The addresses of a part that somebody else listens on.
    pub(super) fn taken(&self, part: Part) -> Vec<SocketAddr> {
        self.listeners(part).into_iter().filter(|address| TcpListener::bind(address).is_err()).collect()
    }

    /// For the tests: the nodes of Cassandra, divided by commas.
    pub(super) fn cassandra_nodes(&self) -> String {
        let nodes: Vec<String> =
            (1..=self.cassandra).map(|number| self.address(Part::Cassandra(number)).to_string()).collect();
        nodes.join(",")
    }

    /// For the tests: RabbitMQ with the account and virtual host that it has from the start.
    pub(super) fn amqp_url(&self) -> String {
        let (name, password) = super::amqp::ACCOUNT;
        format!("amqp://{name}:{password}@{}/%2f", self.address(Part::RabbitMq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(ports: Ports) -> Settings {
        Settings { name: "dev".to_owned(), cassandra: 3, ports, kubernetes: false }
    }

    #[test]
    fn two_labs_from_bases_apart_share_no_port() {
        let (one, other) = (Ports::from_base(19_000).unwrap(), Ports::from_base(19_005).unwrap());
        assert!(one.all().iter().all(|port| !other.all().contains(port)));
        assert!(Ports::from_base(u16::MAX - 3).is_err() && Ports::from_base(0).is_err());
        assert_eq!(Ports::from_base(u16::MAX - 4).unwrap().epmd, u16::MAX);
    }

    #[test]
    fn names_and_ports_are_checked() {
        settings(Ports::USUAL).check().unwrap();
        assert!(settings(Ports { amqp: 9042, ..Ports::USUAL }).check().is_err());
        for name in ["", "Dev", "a/b", "..", &"x".repeat(33)] {
            assert!(Settings { name: name.to_owned(), ..settings(Ports::USUAL) }.check().is_err(), "{name}");
        }
    }

    #[test]
    fn parts_are_found_by_name() {
        let settings = settings(Ports::USUAL);
        assert_eq!(settings.part("cassandra-3").unwrap(), Part::Cassandra(3));
        let error = settings.part("cassandra-4").unwrap_err().to_string();
        assert!(error.contains("epmd, rabbitmq, cassandra-1, cassandra-2, cassandra-3"), "{error}");
    }

    #[test]
    fn addresses_are_as_clients_write_them() {
        let settings = settings(Ports::from_base(19_000).unwrap());
        assert_eq!(settings.cassandra_nodes(), "127.0.0.1:19000,127.0.0.2:19000,127.0.0.3:19000");
        assert_eq!(settings.amqp_url(), "amqp://guest:guest@127.0.0.1:19002/%2f");
    }

    #[test]
    fn with_kubernetes_clients_connect_where_pods_can() {
        let settings = Settings { kubernetes: true, ..settings(Ports::from_base(19_000).unwrap()) };
        assert_eq!(settings.cassandra_nodes(), "198.18.0.1:19000,198.18.0.2:19000,198.18.0.3:19000");
        assert_eq!(settings.amqp_url(), "amqp://guest:guest@198.18.0.1:19002/%2f");
        assert_eq!(settings.storage_address(2).to_string(), "127.0.0.2:19001");
        assert_eq!(settings.part("kubelet").unwrap(), Part::Kube(Kube::Kubelet));
    }

    #[test]
    fn a_lab_that_was_written_down_before_there_was_kubernetes_has_none() {
        let old = r#"{"name":"a","cassandra":1,"ports":{"cassandra":1,"storage":2,"amqp":3,"distribution":4,"epmd":5}}"#;
        assert!(!serde_json::from_str::<Settings>(old).unwrap().kubernetes);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = Ports { epmd: other.local_addr().unwrap().port(), ..Ports::USUAL };
        assert_eq!(settings(ports).taken(Part::Epmd), [other.local_addr().unwrap()]);
    }
}
