//! What is done to the platform, and when: decided by nothing but the seed.

use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::run::several::{Role, Who};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// A core.
    Core(usize),
    /// All nodes of Cassandra.
    Store,
    /// RabbitMQ.
    Broker,
}

/// What happens to the packets between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Loss {
    /// None comes through.
    Cut,
    /// None comes through from who dialled.
    There,
    /// None comes through to who dialled.
    Back,
    /// Many have to be sent again.
    Slow,
}

/// One thing that is done to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL; started again after that time.
    Kill(Who, Duration),
    /// SIGTERM; started again once it has ended.
    End(Who),
    /// SIGSTOP, and SIGCONT after that time.
    Freeze(Who, Duration),
    /// The network between two, for that time. In the middle of it another process may be killed.
    Lose { who: Who, peers: Vec<Peer>, loss: Loss, lasts: Duration, killed: Option<Who> },
    /// A node of Cassandra, from 0 on, is stopped, and started after that time.
    StopNode(usize, Duration),
    /// RabbitMQ is stopped, and started after that time.
    StopBroker(Duration),
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) cores: usize,
    pub(super) gateways: usize,
    pub(super) notifiers: usize,
    pub(super) portals: usize,
    /// Of Cassandra.
    pub(super) nodes: usize,
}

/// The kinds of acts. Each comes once before any comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub(super) enum Kind {
    KillCore,
    KillGateway,
    KillNotifier,
    KillPortal,
    EndCore,
    EndGateway,
    FreezeCore,
    FreezeGateway,
    CutCores,
    CutGateway,
    CutStore,
    CutBroker,
    Slow,
    OneWayThere,
    OneWayBack,
    StopNode,
    StopBroker,
}

/// Between two acts, and how long a process is away or a fault lasts.
const AWAY: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3));
const LASTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(12));
/// Every so many acts on the network have somebody killed in the middle.
const KILLED_OF: u64 = 3;

/// All acts of a run, one after the other.
pub(super) struct Plan {
    random: Random,
    counts: Counts,
    kinds: Vec<Kind>,
    /// What is to come before any comes again.
    deck: Vec<Kind>,
    frozen: Duration,
}

impl Plan {
    /// For so many processes, of these kinds; what is frozen is so for that time.
    pub(super) fn new(random: Random, counts: Counts, kinds: &[Kind], frozen: Duration) -> Self {
        Self { random, counts, kinds: kinds.to_vec(), deck: Vec::new(), frozen }
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(u64::try_from(count).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    fn some(&mut self, role: Role) -> Who {
        let count = match role {
            Role::Core => self.counts.cores,
            Role::Gateway => self.counts.gateways,
            Role::Notifier => self.counts.notifiers,
            Role::Portal => self.counts.portals,
        };
        Who { role, index: self.index(count) }
    }

    /// Who dials a core.
    fn client(&mut self) -> Who {
        let role = [Role::Core, Role::Gateway, Role::Notifier, Role::Portal][self.index(4)];
        self.some(role)
    }

    /// A core that `who` dials.
    fn core_of(&mut self, who: Who) -> Peer {
        let Who { index: core, .. } = self.some(Role::Core);
        let itself = who.role == Role::Core && who.index == core;
        Peer::Core(if itself { (core + 1) % self.counts.cores } else { core })
    }

    fn peer(&mut self, who: Who) -> Peer {
        match (self.index(4), who.role) {
            (0, Role::Core) => Peer::Store,
            (1, _) => Peer::Broker,
            _ => self.core_of(who),
        }
    }

    fn lose(&mut self, who: Who, peers: Vec<Peer>, loss: Loss) -> Act {
        let killed = (self.random.below(KILLED_OF) == 0).then(|| self.client()).filter(|killed| {
            *killed != who && peers.iter().all(|peer| *killed != Who { role: Role::Core, index: core(*peer) })
        });
        Act::Lose { who, peers, loss, lasts: self.random.between(LASTS.0, LASTS.1), killed }
    }

    /// The next act.
    pub(super) fn next(&mut self) -> Act {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            for last in (1..self.deck.len()).rev() {
                let other = self.index(last + 1);
                self.deck.swap(last, other);
            }
        }
        let kind = self.deck.pop().unwrap_or(Kind::KillCore);
        self.of(kind)
    }

    fn of(&mut self, kind: Kind) -> Act {
        let kill = |plan: &mut Self, role| {
            let who = plan.some(role);
            Act::Kill(who, plan.random.between(AWAY.0, AWAY.1))
        };
        match kind {
            Kind::KillCore => kill(self, Role::Core),
            Kind::KillGateway => kill(self, Role::Gateway),
            Kind::KillNotifier => kill(self, Role::Notifier),
            Kind::KillPortal => kill(self, Role::Portal),
            Kind::EndCore => Act::End(self.some(Role::Core)),
            Kind::EndGateway => Act::End(self.some(Role::Gateway)),
            Kind::FreezeCore => Act::Freeze(self.some(Role::Core), self.frozen),
            Kind::FreezeGateway => Act::Freeze(self.some(Role::Gateway), self.frozen),
            Kind::CutCores => {
                let who = self.some(Role::Core);
                let others = (0..self.counts.cores).filter(|core| *core != who.index);
                let peers = others.map(Peer::Core).collect();
                self.lose(who, peers, Loss::Cut)
            }
            Kind::CutGateway => {
                let who = self.some(Role::Gateway);
                // From all of them, or from one alone.
                let peers = if self.random.below(2) == 0 {
                    (0..self.counts.cores).map(Peer::Core).collect()
                } else {
                    vec![self.core_of(who)]
                };
                self.lose(who, peers, Loss::Cut)
            }
            Kind::CutStore => {
                let who = self.some(Role::Core);
                self.lose(who, vec![Peer::Store], Loss::Cut)
            }
            Kind::CutBroker => {
                let who = self.client();
                self.lose(who, vec![Peer::Broker], Loss::Cut)
            }
            Kind::Slow => self.lose_one(Loss::Slow),
            Kind::OneWayThere => self.lose_one(Loss::There),
            Kind::OneWayBack => self.lose_one(Loss::Back),
            Kind::StopNode => {
                let node = self.index(self.counts.nodes);
                Act::StopNode(node, self.random.between(AWAY.0, AWAY.1))
            }
            Kind::StopBroker => Act::StopBroker(self.random.between(AWAY.0, AWAY.1)),
        }
    }

    fn lose_one(&mut self, loss: Loss) -> Act {
        let who = self.client();
        let peer = self.peer(who);
        self.lose(who, vec![peer], loss)
    }
}

fn core(peer: Peer) -> usize {
    match peer {
        Peer::Core(index) => index,
        Peer::Store | Peer::Broker => usize::MAX,
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(index) => Who { role: Role::Core, index: *index }.fmt(f),
            Self::Store => f.write_str("Cassandra"),
            Self::Broker => f.write_str("RabbitMQ"),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: &Duration| time.as_secs_f64();
        match self {
            Self::Kill(who, away) => write!(f, "{who} is killed, and back after {:.1} s", seconds(away)),
            Self::End(who) => write!(f, "{who} is told to end, and started again"),
            Self::Freeze(who, lasts) => write!(f, "{who} stands still for {:.1} s", seconds(lasts)),
            Self::Lose { who, peers, loss, lasts, killed } => {
                let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
                let peers = peers.join(", ");
                match loss {
                    Loss::Cut => write!(f, "{who} is cut from {peers}")?,
                    Loss::There => write!(f, "{who} hears {peers}, but is not heard")?,
                    Loss::Back => write!(f, "{who} is heard by {peers}, but hears nothing")?,
                    Loss::Slow => write!(f, "{who} and {peers} lose many packets")?,
                }
                write!(f, " for {:.1} s", seconds(lasts))?;
                match killed {
                    Some(killed) => write!(f, "; in the middle {killed} is killed"),
                    None => Ok(()),
                }
            }
            Self::StopNode(node, away) => {
                write!(f, "cassandra-{} is stopped, and started after {:.1} s", node + 1, seconds(away))
            }
            Self::StopBroker(away) => {
                write!(f, "RabbitMQ is stopped, and started after {:.1} s", seconds(away))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::ValueEnum;

    use super::*;

    const COUNTS: Counts = Counts { cores: 3, gateways: 2, notifiers: 2, portals: 2, nodes: 3 };

    fn acts(seed: u64, count: usize) -> Vec<Act> {
        let mut plan = Plan::new(Random::new(seed), COUNTS, Kind::value_variants(), Duration::from_secs(20));
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        assert_eq!(acts(7, 100), acts(7, 100));
        assert_ne!(acts(7, 100), acts(8, 100));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        let mut plan = Plan::new(Random::new(3), COUNTS, Kind::value_variants(), Duration::ZERO);
        plan.next();
        let left = |plan: &Plan| plan.deck.iter().copied().collect::<HashSet<Kind>>().len();
        assert_eq!(left(&plan) + 1, Kind::value_variants().len());
        for _ in 0..plan.deck.len() {
            plan.next();
        }
        assert!(plan.deck.is_empty());
        plan.next();
        assert_eq!(left(&plan) + 1, Kind::value_variants().len());
    }

    #[test]
    fn nobody_is_cut_from_itself_and_all_exist() {
        let exists = |who: Who| match who.role {
            Role::Core => who.index < COUNTS.cores,
            Role::Gateway => who.index < COUNTS.gateways,
            Role::Notifier => who.index < COUNTS.notifiers,
            Role::Portal => who.index < COUNTS.portals,
        };
        for act in acts(11, 5_000) {
            match act {
                Act::Kill(who, _) | Act::End(who) | Act::Freeze(who, _) => assert!(exists(who)),
                Act::StopNode(node, _) => assert!(node < COUNTS.nodes),
                Act::StopBroker(_) => {}
                Act::Lose { who, peers, killed, .. } => {
                    assert!(exists(who) && killed.is_none_or(|killed| exists(killed) && killed != who));
                    assert!(!peers.is_empty());
                    for peer in peers {
                        let index = core(peer);
                        assert!(index == usize::MAX || index < COUNTS.cores);
                        assert_ne!(who, Who { role: Role::Core, index });
                        assert_ne!(killed, Some(Who { role: Role::Core, index }));
                        assert!(peer != Peer::Store || who.role == Role::Core);
                    }
                }
            }
        }
    }
}
