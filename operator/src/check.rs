//! `--check`: whether an operator has here what it needs, and whether one is at work. For `helm test`, and for people.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease as LeaseObject;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use stoker_crds::{CoreShard, Gateway, Notifier, Portal};
use tokio::time::{Instant, sleep, timeout};

use crate::failure::explained;
use crate::{Lease, Settings};

/// For one question to the API server.
const WITHIN: Duration = Duration::from_secs(10);
/// Who leads renews every ten seconds, and may have to be elected first.
const RENEWS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The group and the kind by which Prometheus is told what to scrape, and how its definition is found.
const MONITORS: [&str; 2] = ["monitoring.coreos.com", "apiextensions.k8s.io"];

/// Group, resource, the one name that it is about, and verbs: those of docs/operator.md.
type Right = (&'static str, &'static str, &'static str, &'static [&'static str]);

const RIGHTS: [Right; 29] = [
    ("stoker.dev", "gateways", "", &["list", "watch"]),
    ("stoker.dev", "coreshards", "", &["list", "watch"]),
    ("stoker.dev", "notifiers", "", &["list", "watch"]),
    ("stoker.dev", "portals", "", &["list", "watch"]),
    ("stoker.dev", "gateways/status", "", &["patch"]),
    ("stoker.dev", "coreshards/status", "", &["patch"]),
    ("stoker.dev", "notifiers/status", "", &["patch"]),
    ("stoker.dev", "portals/status", "", &["patch"]),
    ("stoker.dev", "gateways/finalizers", "", &["update"]),
    ("stoker.dev", "coreshards/finalizers", "", &["update"]),
    ("stoker.dev", "notifiers/finalizers", "", &["update"]),
    ("stoker.dev", "portals/finalizers", "", &["update"]),
    ("apps", "deployments", "", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "configmaps", "", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "services", "", &["get", "list", "watch", "create", "patch"]),
    ("", "serviceaccounts", "", &["get", "list", "watch", "create", "patch"]),
    ("networking.k8s.io", "networkpolicies", "", &["get", "list", "watch", "create", "patch"]),
    ("policy", "poddisruptionbudgets", "", &["get", "list", "watch", "create", "patch"]),
    ("", "pods", "", &["list", "watch"]),
    ("", "secrets", "", &["list", "watch", "create"]),
    ("", "secrets", "stoker-admin", &["patch"]),
    ("", "secrets", "stoker-ca", &["patch"]),
    ("", "secrets", "stoker-core-tls", &["patch"]),
    ("", "secrets", "stoker-gateway-tls", &["patch"]),
    ("", "secrets", "stoker-notifier-tls", &["patch"]),
    ("", "secrets", "stoker-portal-tls", &["patch"]),
    ("", "secrets", "stoker-ca", &["get"]),
    ("events.k8s.io", "events", "", &["create", "patch"]),
    ("monitoring.coreos.com", "servicemonitors", "", &["get", "create", "patch"]),
];
/// What is the whole cluster's.
const DEFINITIONS: Right = ("apiextensions.k8s.io", "customresourcedefinitions", "", &["list", "watch"]);
/// In the namespace of the Lease.
const LEASES: Right = ("coordination.k8s.io", "leases", "", &["get", "create", "patch"]);

/// Asks the API server whether whoever calls may do all that an operator has to, whether it knows the custom resources, and
/// whether an operator renews the Lease. Prints what is as it is to be.
///
/// # Errors
/// Everything that may not be done, or the first other thing that is not as it is to be, with the way out.
pub async fn check(client: &Client, settings: &Settings) -> Result<()> {
    let scope = settings.namespace.as_deref();
    let lease = settings.lease.as_ref();
    let wanted = RIGHTS.iter().map(|right| (right, scope));
    let cluster = settings.service_monitors.then_some((&DEFINITIONS, None));
    let leases = lease.map(|lease| (&LEASES, Some(lease.namespace.as_str())));
    let mut refused = Vec::new();
    let mut count = 0;
    for (right, namespace) in wanted.chain(cluster).chain(leases) {
        if !settings.service_monitors && MONITORS.contains(&right.0) {
            continue;
        }
        for verb in right.3 {
            count += 1;
            if !may(client, right, verb, namespace).await? {
                refused.push(said(right, verb, namespace));
            }
        }
    }
    if !refused.is_empty() {
        bail!(
            "not allowed to {}: give the ServiceAccount the rules of docs/operator.md, as the chart does",
            refused.join("; ")
        );
    }
    println!("the API server allows all {count} things that an operator has to do");
    known::<Gateway>(client, scope).await?;
    known::<CoreShard>(client, scope).await?;
    known::<Notifier>(client, scope).await?;
    known::<Portal>(client, scope).await?;
    println!("it knows Gateway, CoreShard, Notifier and Portal");
    if let Some(lease) = lease {
        let leader = leads(client, lease).await?;
        println!("{leader} leads, and renews the Lease {}/{}", lease.namespace, lease.name);
    }
    Ok(())
}

fn said((group, resource, name, _): &Right, verb: &str, namespace: Option<&str>) -> String {
    let mut text = format!("{verb} {resource}");
    // A String takes all that is written to it.
    let _ = match (group.is_empty(), name.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => write!(text, " {name}"),
        (false, _) => write!(text, ".{group}"),
    };
    text + &namespace.map_or_else(String::new, |namespace| format!(" in {namespace}"))
}

async fn may(client: &Client, right: &Right, verb: &str, namespace: Option<&str>) -> Result<bool> {
    let (group, resource, name, _) = right;
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: some(group),
                resource: some(resource),
                subresource: some(part),
                name: some(name),
                verb: some(verb),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let what = "ask the API server what is allowed";
    let answer = asked(what, api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The definition is there, in this version.
async fn known<K>(client: &Client, namespace: Option<&str>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned,
    K: std::fmt::Debug,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let what = format!("list {}.{}, whose definition comes with the chart", K::plural(&()), K::group(&()));
    asked(&what, api.list_metadata(&ListParams::default().limit(1))).await.map(drop)
}

/// Who renews the Lease: whoever is seen to have done so twice.
async fn leads(client: &Client, lease: &Lease) -> Result<String> {
    let api: Api<LeaseObject> = Api::namespaced(client.clone(), &lease.namespace);
    let until = Instant::now() + RENEWS_WITHIN;
    let mut before = None;
    loop {
        let there = asked("get the Lease", api.get_opt(&lease.name)).await?;
        let spec = there.and_then(|there| there.spec).unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        let now = holder.zip(spec.renew_time);
        match (&before, now) {
            (Some((_, renewed)), Some((holder, time))) if *renewed != time => return Ok(holder),
            (None, now) => before = now,
            _ => {}
        }
        if Instant::now() > until {
            let who = before.map_or_else(|| "nobody".to_owned(), |(holder, _)| holder);
            bail!(
                "{who} holds the Lease {}/{}, and has not renewed it within {} s: see the log of the operator's pods",
                lease.namespace,
                lease.name,
                RENEWS_WITHIN.as_secs()
            );
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn asked<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match timeout(WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => bail!("failed to {what}: {}", explained(&error)),
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", WITHIN.as_secs()))
            .with_context(|| format!("failed to {what}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_rights_are_those_of_the_page() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator.md");
        let page = std::fs::read_to_string(page).unwrap();
        let list = |line: &str| -> Vec<String> {
            let items = line.split(['[', ']']).nth(1).unwrap_or_default().split(", ");
            items.map(|item| item.trim_matches('"').to_owned()).collect()
        };
        let (mut groups, mut resources, mut names) = (Vec::new(), Vec::new(), vec![String::new()]);
        let mut written = BTreeSet::new();
        for line in page.lines().map(str::trim) {
            if line.starts_with("- apiGroups:") {
                (groups, names) = (list(line), vec![String::new()]);
            } else if line.starts_with("resources:") {
                resources = list(line);
            } else if line.starts_with("resourceNames:") {
                names = list(line);
            } else if line.starts_with("verbs:") {
                for (group, resource, name) in all(&groups, &resources, &names) {
                    written.extend(
                        list(line)
                            .into_iter()
                            .map(|verb| (group.clone(), resource.clone(), name.clone(), verb)),
                    );
                }
            }
        }
        let rights =
            RIGHTS.iter().chain([&DEFINITIONS, &LEASES]).flat_map(|(group, resource, name, verbs)| {
                verbs.iter().map(|verb| {
                    ((*group).to_owned(), (*resource).to_owned(), (*name).to_owned(), (*verb).to_owned())
                })
            });
        assert_eq!(rights.collect::<BTreeSet<_>>(), written);
    }

    fn all<'a>(
        groups: &'a [String],
        resources: &'a [String],
        names: &'a [String],
    ) -> impl Iterator<Item = (&'a String, &'a String, &'a String)> {
        groups.iter().flat_map(move |group| {
            resources.iter().flat_map(move |resource| names.iter().map(move |name| (group, resource, name)))
        })
    }

    #[test]
    fn what_is_not_allowed_is_said_in_full() {
        assert_eq!(said(&RIGHTS[12], "patch", Some("a")), "patch deployments.apps in a");
        assert_eq!(said(&RIGHTS[20], "patch", None), "patch secrets stoker-admin");
    }
}
