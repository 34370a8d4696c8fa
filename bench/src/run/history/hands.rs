//! Does to the platform what the plan says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stoker_e2e::{Loss as Lost, Network, Service, Services, Way};
use tokio::time::sleep;

use super::plan::{Act, Loss, Peer};
use crate::lab::Lab;
use crate::run::several::{Role, Who};

/// Of a hundred packets. TCP gets through, after many an attempt.
const SLOW: u8 = 30;

/// The platform, and the means to do something to it.
pub(super) struct Hands<'a> {
    pub(super) services: &'a mut Services,
    pub(super) network: Network,
    pub(super) lab: &'a Lab,
    /// Packets that were lost on purpose.
    pub(super) lost: u64,
    /// From the signal to the end of those that were told to end.
    pub(super) ends: Vec<Duration>,
}

impl Hands<'_> {
    fn service(&mut self, who: Who) -> Result<&mut Service> {
        who.of(self.services)
    }

    fn way(&mut self, who: Who, to: SocketAddr) -> Result<Way> {
        let from = self.service(who)?.user.context("it has no user id of its own")?;
        Ok(Way { from, to })
    }

    /// The ways between two: of cores each dials the other.
    fn ways(&mut self, who: Who, peer: Peer) -> Result<Vec<Way>> {
        match peer {
            Peer::Core(index) => {
                let other = Who { role: Role::Core, index };
                let to = self.service(other)?.address;
                let mut ways = vec![self.way(who, to)?];
                if who.role == Role::Core {
                    let back = self.service(who)?.address;
                    ways.push(self.way(other, back)?);
                }
                Ok(ways)
            }
            Peer::Store => self.lab.cassandra.clone().into_iter().map(|node| self.way(who, node)).collect(),
            Peer::Broker => Ok(vec![self.way(who, self.lab.broker()?)?]),
        }
    }

    /// The packets to lose, said of each way. One-way means one direction between two processes, whoever of them dialled.
    fn losses(&mut self, who: Who, peers: &[Peer], loss: Loss) -> Result<Vec<(Way, Lost)>> {
        let mut losses = Vec::new();
        for peer in peers {
            for (index, way) in self.ways(who, *peer)?.into_iter().enumerate() {
                let dialled_back = matches!(peer, Peer::Core(_)) && index == 1;
                let lost = match (loss, dialled_back) {
                    (Loss::Cut, _) => Lost::Cut,
                    (Loss::Slow, _) => Lost::Some(SLOW),
                    (Loss::There, false) | (Loss::Back, true) => Lost::There,
                    (Loss::There, true) | (Loss::Back, false) => Lost::Back,
                };
                losses.push((way, lost));
            }
        }
        Ok(losses)
    }

    /// Does it. When this returns it is over: all processes run, nothing is lost any more, all parts of the lab run.
    pub(super) async fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Kill(who, away) => {
                self.service(*who)?.kill9()?;
                sleep(*away).await;
                self.service(*who)?.start()
            }
            Act::End(who) => {
                let begun = Instant::now();
                let status = self.service(*who)?.terminate().await?;
                ensure!(status.success(), "{who} ended by {status}");
                self.ends.push(begun.elapsed());
                self.service(*who)?.start()
            }
            Act::Freeze(who, lasts) => {
                self.service(*who)?.signal("STOP")?;
                sleep(*lasts).await;
                self.service(*who)?.signal("CONT")
            }
            Act::Lose { who, peers, loss, lasts, killed } => {
                let losses = self.losses(*who, peers, *loss)?;
                self.network.lose(&losses)?;
                sleep(*lasts / 2).await;
                if let Some(killed) = killed {
                    self.service(*killed)?.kill9()?;
                    self.service(*killed)?.start()?;
                }
                sleep(*lasts / 2).await;
                self.lost += self.network.lost()?;
                self.network.lose(&[])
            }
            Act::StopNode(node, away) => {
                let part = format!("cassandra-{}", node + 1);
                self.lab.stop(&part).await?;
                sleep(*away).await;
                self.lab.start(&part).await
            }
            Act::StopBroker(away) => {
                self.lab.stop("rabbitmq").await?;
                sleep(*away).await;
                self.lab.start("rabbitmq").await
            }
        }
    }
}
