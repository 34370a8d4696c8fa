//! What is done to a platform on Kubernetes, and when it is over.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tokio::time::sleep;

use super::certificate::Door;
use super::kube::Kube;
use super::look::{Kind, Look, Pod};
use super::node;
use crate::device::Login;
use crate::lab;
use crate::random::Random;

/// Between two looks at the cluster: each is a process, on the machine that is measured.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is shown of what keeps an act from being over.
const EXAMPLES: usize = crate::report::EXAMPLES;
/// Without anything being done: what the other acts are compared with.
const NOTHING: Duration = Duration::from_secs(20);

/// How long a part of the lab is away.
const AWAY: Duration = Duration::from_secs(60);

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Act {
    /// A roll-out of the Gateway
    Gateway,
    /// A roll-out of the CoreShard
    Core,
    /// Twice as many gateways, and as many as before
    Scale,
    /// One pod of each kind is evicted
    Evict,
    /// The operator is ended, once at rest and then amid a roll-out
    Operator,
    /// Another certificate for the listener of protocol Mqtts
    Certificate,
    /// The process of one pod of each kind is killed; this machine has to be their node
    Kill,
    /// RabbitMQ is away for a minute; it has to be that of a lab (--lab)
    Broker,
    /// The node's kubelet is away for a minute; it has to be that of a lab (--lab)
    Kubelet,
    /// The API server is away for a minute; it has to be that of a lab (--lab)
    ApiServer,
}

/// What can be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Broker,
    Kubelet,
    ApiServer,
}

impl Part {
    /// What the lab calls it.
    fn in_the_lab(self) -> &'static str {
        match self {
            Self::Broker => "rabbitmq",
            Self::Kubelet => "kubelet",
            Self::ApiServer => "kube-apiserver",
        }
    }
}

impl Act {
    /// What is done unless something else is asked for.
    pub(super) const USUAL: [Self; 6] =
        [Self::Gateway, Self::Core, Self::Scale, Self::Evict, Self::Operator, Self::Certificate];
}

/// One thing that is done, and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Roll(Kind),
    Scale(u64),
    Evict(Kind),
    Operator,
    OperatorAmidRoll,
    Certificate,
    Kill(Kind),
    Away(Part),
}

impl Step {
    /// It is planned: who stays connected is answered as fast as ever, and devices go only where their gateway does.
    pub(super) fn is_planned(self) -> bool {
        !matches!(self, Self::Kill(_) | Self::Away(_))
    }
}

/// What comes one after the other, of a Gateway with so many pods.
pub(super) fn steps(acts: &[Act], replicas: u64) -> Vec<Step> {
    const EACH: [Kind; 4] = [Kind::Gateway, Kind::CoreShard, Kind::Portal, Kind::Notifier];
    let of = |act: &Act| match act {
        Act::Gateway => vec![Step::Roll(Kind::Gateway)],
        Act::Core => vec![Step::Roll(Kind::CoreShard)],
        Act::Scale => vec![Step::Scale(replicas * 2), Step::Scale(replicas)],
        Act::Evict => EACH.map(Step::Evict).into(),
        Act::Operator => vec![Step::Operator, Step::OperatorAmidRoll],
        Act::Certificate => vec![Step::Certificate],
        Act::Kill => EACH.map(Step::Kill).into(),
        Act::Broker => vec![Step::Away(Part::Broker)],
        Act::Kubelet => vec![Step::Away(Part::Kubelet)],
        Act::ApiServer => vec![Step::Away(Part::ApiServer)],
    };
    [Step::Nothing].into_iter().chain(acts.iter().flat_map(of)).collect()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Roll(kind) => write!(f, "{kind} rolls"),
            Self::Scale(replicas) => write!(f, "{replicas} gateways"),
            Self::Evict(kind) => write!(f, "{kind}: eviction"),
            Self::Operator => f.write_str("operator ends"),
            Self::OperatorAmidRoll => f.write_str("operator ends amid roll"),
            Self::Certificate => f.write_str("certificate"),
            Self::Kill(kind) => write!(f, "{kind}: kill -9"),
            Self::Away(Part::Broker) => f.write_str("RabbitMQ away"),
            Self::Away(Part::Kubelet) => f.write_str("kubelet away"),
            Self::Away(Part::ApiServer) => f.write_str("API server away"),
        }
    }
}

/// Does it.
pub(super) struct Hands {
    pub(super) kube: Kube,
    pub(super) door: Option<Door>,
    /// Devices that connect by TLS, for the certificate.
    pub(super) by_tls: Vec<Login>,
    pub(super) random: Random,
    /// How long an act may take.
    pub(super) within: Duration,
    pub(super) begun: Instant,
    /// How long it took until a certificate was shown to all.
    pub(super) certified: Option<Duration>,
    /// Who lost a connection to a new certificate.
    pub(super) lost: Vec<String>,
    /// How many processes were killed.
    pub(super) killed: u64,
    /// The folder of the lab of which a part goes away.
    pub(super) lab: Option<String>,
    said: HashMap<String, String>,
    /// Of each pod, how often it had been started again when it was seen first, and last.
    restarts: HashMap<String, (u64, u64)>,
}

impl Hands {
    /// At a platform that stands so.
    pub(super) fn new(kube: Kube, look: &Look, door: Option<Door>, random: Random, within: Duration) -> Self {
        let first = |restarts| (restarts, restarts);
        let restarts = look.pods.iter().map(|pod| (pod.uid.clone(), first(pod.restarts))).collect();
        Self {
            kube,
            door,
            by_tls: Vec::new(),
            random,
            within,
            begun: Instant::now(),
            certified: None,
            lost: Vec::new(),
            killed: 0,
            lab: None,
            said: HashMap::new(),
            restarts,
        }
    }

    /// How often containers were started again.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts.values().map(|(first, last)| last.saturating_sub(*first)).sum()
    }

    /// Looks at everything, and says what has changed.
    pub(super) async fn look(&mut self) -> Result<Look> {
        let look = self.kube.look().await?;
        for of in &look.resources {
            let (name, now) = (format!("{} {}", of.kind, of.name), of.shown());
            if self.said.get(&name) != Some(&now) {
                eprintln!("{:7.1} s    {name}: {now}", self.begun.elapsed().as_secs_f64());
                self.said.insert(name, now);
            }
        }
        for pod in &look.pods {
            // One that is new was never started before.
            let (_, last) = self.restarts.entry(pod.uid.clone()).or_default();
            *last = pod.restarts.max(*last);
        }
        Ok(look)
    }

    /// Waits until nothing is left that `waits` names.
    async fn until(&mut self, waits: impl Fn(&Look) -> Vec<String>) -> Result<Look> {
        let begun = Instant::now();
        loop {
            // An API server that is asked in vain once may answer the next time.
            let left = match self.look().await {
                Ok(look) => match waits(&look) {
                    left if left.is_empty() => return Ok(look),
                    left => left,
                },
                Err(error) => vec![format!("{error:#}")],
            };
            if begun.elapsed() > self.within {
                let shown: Vec<String> = left.into_iter().take(EXAMPLES).collect();
                bail!("after {} s: {}", self.within.as_secs(), shown.join("; "));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until everything is as it is wished.
    pub(super) async fn settled(&mut self) -> Result<Look> {
        self.until(Look::unsettled).await
    }

    /// Does one thing, and waits until it is over.
    pub(super) async fn act(&mut self, step: Step) -> Result<Look> {
        let look = self.look().await?;
        match step {
            Step::Nothing => sleep(NOTHING).await,
            Step::Roll(kind) => self.kube.revise(kind, &look.first(kind)?.name).await?,
            Step::Scale(replicas) => {
                self.kube.scale(Kind::Gateway, &look.first(Kind::Gateway)?.name, replicas).await?;
            }
            Step::Evict(kind) => self.evict(&look, kind).await?,
            Step::Operator => self.end_operator().await?,
            Step::OperatorAmidRoll => {
                let name = &look.first(Kind::Gateway)?.name;
                self.kube.revise(Kind::Gateway, name).await?;
                self.until_progress(&["RollingOut", "Draining"]).await?;
                self.end_operator().await?;
                if self.until_progress(&["Draining"]).await? {
                    self.end_operator().await?;
                }
            }
            Step::Certificate => {
                let door = self.door.clone().context("no listener of protocol Mqtts")?;
                let (took, lost) = door.renew(&self.kube, &self.by_tls).await?;
                self.certified = Some(took);
                self.lost.extend(lost);
            }
            Step::Kill(kind) => self.kill(&look, kind).await?,
            Step::Away(part) => {
                let (folder, part) = (self.lab.clone().context("name the lab by --lab")?, part.in_the_lab());
                lab::run(&folder, &["stop", part]).await?;
                let back = Instant::now() + AWAY;
                while Instant::now() < back {
                    // What the resources say meanwhile is printed.
                    drop(self.look().await);
                    sleep(LOOK_EVERY).await;
                }
                lab::run(&folder, &["start", part]).await?;
            }
        }
        self.settled().await
    }

    /// Any pod of that kind.
    fn choose<'l>(&mut self, look: &'l Look, kind: Kind) -> Result<&'l Pod> {
        let pods = look.pods_of(look.first(kind)?);
        let count = u64::try_from(pods.len()).unwrap_or(u64::MAX);
        let chosen = usize::try_from(self.random.below(count)).unwrap_or(0);
        pods.get(chosen).copied().with_context(|| format!("the {kind} has no pod"))
    }

    /// Kills the process of a pod, and waits until it is known to have been started again.
    async fn kill(&mut self, look: &Look, kind: Kind) -> Result<()> {
        let Pod { name, uid, restarts, .. } = self.choose(look, kind)?;
        eprintln!("{:7.1} s    {name} is killed", self.begun.elapsed().as_secs_f64());
        node::kill(uid)?;
        self.killed += 1;
        let again = |pod: &Pod| pod.uid == *uid && pod.restarts > *restarts;
        let waits = || vec![format!("{name} is not started again")];
        self.until(|look| if look.pods.iter().any(again) { Vec::new() } else { waits() }).await.map(drop)
    }

    async fn evict(&mut self, look: &Look, kind: Kind) -> Result<()> {
        let pod = &self.choose(look, kind)?.name;
        eprintln!("{:7.1} s    {pod} is evicted", self.begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        while !self.kube.evict(pod).await? {
            if begun.elapsed() > self.within {
                bail!("the budget does not let {pod} go after {} s", self.within.as_secs());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until the Gateway's progress is one of these, or over; false when that is so.
    async fn until_progress(&mut self, reasons: &[&str]) -> Result<bool> {
        let is = |look: &Look| {
            let gateway = look.first(Kind::Gateway);
            gateway.is_ok_and(|of| reasons.iter().any(|reason| of.says("Progressing", reason)))
        };
        let look = self.until(|look| if is(look) { Vec::new() } else { look.unsettled() }).await?;
        Ok(is(&look))
    }

    /// Ends all pods of the operator, and waits until others are ready in their place.
    async fn end_operator(&mut self) -> Result<()> {
        eprintln!("{:7.1} s    the operator is ended", self.begun.elapsed().as_secs_f64());
        let before = self.kube.operators().await?;
        // One that is still ending since the last time is none to be replaced.
        let wished = before.iter().filter(|(_, ready)| *ready).count().max(1);
        self.kube.restart_operator().await?;
        let begun = Instant::now();
        loop {
            let now = self.kube.operators().await?;
            let is_new = |name: &String| before.iter().all(|(old, _)| old != name);
            let ready = now.iter().filter(|(name, ready)| *ready && is_new(name)).count();
            if ready >= wished {
                return Ok(());
            }
            if begun.elapsed() > self.within {
                bail!("{ready} of {wished} pods of the operator are ready again");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_act_becomes_its_steps_and_the_number_of_pods_is_what_it_was() {
        assert_eq!(steps(&[], 2), [Step::Nothing]);
        assert_eq!(steps(&[Act::Scale], 3), [Step::Nothing, Step::Scale(6), Step::Scale(3)]);
        let all = steps(&Act::USUAL, 2);
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|step| step.is_planned()));
        for kind in Kind::ALL {
            assert!(all.contains(&Step::Evict(kind)), "{kind}");
        }
    }
}
