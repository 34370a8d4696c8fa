//! What the API server knows of all platforms, or of one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;
use stoker_plan::FIELD_MANAGER;
use tokio::time::timeout;

use crate::certificate::Certificate;
use crate::flags::{Flags, Status};
use crate::row::{self, Found, Row};

/// An answer that takes longer does not come.
const WITHIN: Duration = Duration::from_secs(30);

/// A row for each resource.
pub(crate) async fn rows(flags: &Flags, status: &Status) -> Result<Vec<Row>> {
    let mut config = config(flags).await?;
    config.connect_timeout = Some(Duration::from_secs(10));
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).context("failed to make a client of the API server")?;
    let namespace = match (&status.namespace, status.all_namespaces) {
        (_, true) => None,
        (Some(namespace), _) => Some(namespace.clone()),
        (None, _) => Some(client.default_namespace().to_owned()),
    };
    let from = From { client, namespace, server };
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
    let found = Found {
        core_shards: from.list(&ListParams::default()).await?,
        gateways: from.list(&ListParams::default()).await?,
        notifiers: from.list(&ListParams::default()).await?,
        portals: from.list(&ListParams::default()).await?,
        deployments: from.list::<Deployment>(&ours).await?,
    };
    let mut certificates = BTreeMap::new();
    for place in row::certificates(&found) {
        let certificate = from.certificate(&place).await;
        certificates.insert(place, certificate);
    }
    Ok(row::rows(&found, &certificates))
}

async fn config(flags: &Flags) -> Result<Config> {
    if flags.kubeconfig.is_none() && flags.context.is_none() {
        return Config::infer()
            .await
            .context("no way to the API server: give --kubeconfig, or set KUBECONFIG");
    }
    let kubeconfig = match &flags.kubeconfig {
        Some(file) => Kubeconfig::read_from(file)
            .with_context(|| format!("failed to read the kubeconfig {}", file.display()))?,
        None => Kubeconfig::read().context("failed to read the kubeconfig: give --kubeconfig")?,
    };
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig is of no use")
}

struct From {
    client: Client,
    namespace: Option<String>,
    server: String,
}

impl From {
    async fn list<K>(&self, parameters: &ListParams) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let plural = K::plural(&());
        match timeout(WITHIN, api.list(parameters)).await {
            Ok(Ok(list)) => Ok(list.items),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(anyhow!(
                "the API server does not know {plural}: install Stoker's custom resource definitions, by its Helm chart"
            )),
            Ok(Err(kube::Error::Api(status))) => Err(anyhow!("failed to list {plural}: {}", status.message)),
            Ok(Err(error)) => {
                Err(error).with_context(|| format!("failed to reach the API server {}", self.server))
            }
            Err(_) => {
                Err(anyhow!("the API server {} has not answered within {} s", self.server, WITHIN.as_secs()))
            }
        }
    }

    async fn certificate(&self, (namespace, name): &(String, String)) -> Certificate {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let now = Timestamp::now().as_second();
        match timeout(WITHIN, api.get_opt(name)).await {
            Ok(Ok(secret)) => Certificate::of(name, Ok(secret.as_ref()), now),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Certificate::of(name, Err("may not be read by you: `kubectl auth can-i get secrets`"), now)
            }
            Ok(Err(error)) => Certificate::of(name, Err(&format!("cannot be read: {error}")), now),
            Err(_) => Certificate::of(name, Err("cannot be read: no answer in time"), now),
        }
    }
}
