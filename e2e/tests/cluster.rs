//! The lab's Kubernetes does what tests of the operator rely on: pods run, have names, are balanced, and reach what
//! stands beside the cluster.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use stoker_e2e::{Cluster, Lab, Namespace, eventually};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Two pods, each of which tells whoever connects what it is called, and their Service.
const PODS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: stoker.local/busybox:1
        command: [sh, -c, "while true; do cat /etc/hostname | nc -l -p 7000; done"]
        readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: LoadBalancer
  selector: {app: echo}
  ports: [{port: 7, targetPort: 7000}]
"#;

async fn names(at: &Namespace) -> Result<BTreeSet<String>> {
    let pods = at.kubectl(&["get", "pods", "--output=json"], "").await?.json()?;
    let items = pods["items"].as_array().context("no pods")?;
    Ok(items.iter().filter_map(|pod| Some(pod["metadata"]["name"].as_str()?.to_owned())).collect())
}

/// Two pods that are ready, and a namespace for them.
async fn begin(test: &str) -> Result<Namespace> {
    let at = Cluster::of_variables()?.namespace(test).await?;
    at.apply(PODS).await?.done()?;
    let wait = ["wait", "--for=condition=Available", "deployment/echo", "--timeout=25s"];
    match at.kubectl(&wait, "").await?.done() {
        Ok(_) => Ok(at),
        Err(error) => {
            at.end(Err(error)).await?;
            anyhow::bail!("pods that never became ready were taken for ready")
        }
    }
}

/// What is said to whoever connects; nothing when nobody listens just now.
async fn heard(address: SocketAddr) -> Option<String> {
    let mut said = String::new();
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.read_to_string(&mut said).await.ok()?;
    (!said.is_empty()).then(|| said.trim().to_owned())
}

#[tokio::test]
async fn a_load_balancer_has_an_address_and_leads_to_all_pods() -> Result<()> {
    let at = begin("balanced").await?;
    let outcome = async {
        let address: Ipv4Addr = eventually("an address", async || {
            let service = at.kubectl(&["get", "service/echo", "--output=json"], "").await?.json()?;
            let address = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
            Ok(address.as_str().map(str::parse).transpose()?)
        })
        .await?;
        let names = names(&at).await?;
        ensure!(names.len() == 2, "{names:?}");
        let found = RefCell::new(BTreeSet::new());
        eventually("both pods answer", async || {
            let name = heard((address, 7).into()).await;
            found.borrow_mut().extend(name);
            Ok((*found.borrow() == names).then_some(()))
        })
        .await
    };
    let outcome = outcome.await;
    at.end(outcome).await
}

#[tokio::test]
async fn pods_find_services_by_name_and_reach_what_stands_beside_the_cluster() -> Result<()> {
    let at = begin("reached").await?;
    let outcome = async {
        let lab = Lab::of_variables()?;
        let service = at.kubectl(&["get", "service/echo", "--output=json"], "").await?.json()?;
        let address = service["spec"]["clusterIP"].as_str().context("no address")?;
        let name = format!("echo.{}.svc.cluster.local", at.name);
        let looked = at.kubectl(&["exec", "deployment/echo", "--", "nslookup", &name], "").await?.done()?;
        ensure!(looked.contains(address), "{address} is not in: {looked}");
        let broker = lab.amqp.rsplit('@').next().and_then(|rest| rest.split('/').next());
        let broker = broker.context("the broker has no address")?.to_owned();
        for beside in lab.cassandra.iter().chain([&broker]) {
            let (host, port) = beside.rsplit_once(':').context("no port")?;
            let reach = format!("nc -w 5 {host} {port} </dev/null");
            at.kubectl(&["exec", "deployment/echo", "--", "sh", "-c", &reach], "")
                .await?
                .done()
                .with_context(|| format!("a pod does not reach {beside}"))?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    at.end(outcome).await
}

#[tokio::test]
async fn a_pod_that_ends_is_replaced_and_says_what_it_said() -> Result<()> {
    let at = begin("replaced").await?;
    let outcome = async {
        let before = names(&at).await?;
        let one = before.first().context("no pod")?;
        at.kubectl(&["delete", "pod", one], "").await?.done()?;
        eventually("another pod is ready in its place", async || {
            let deployment = at.kubectl(&["get", "deployment/echo", "--output=json"], "").await?.json()?;
            let now = names(&at).await?;
            let whole = deployment["status"]["readyReplicas"] == 2;
            Ok((whole && now.len() == 2 && !now.contains(one)).then_some(()))
        })
        .await?;
        let run =
            ["run", "said", "--image=stoker.local/busybox:1", "--restart=Never", "--", "sh", "-c", "echo so"];
        at.kubectl(&run, "").await?.done()?;
        eventually("the log of a pod", async || {
            let log = at.kubectl(&["logs", "said"], "").await?;
            Ok((log.code == 0 && log.out == "so\n").then_some(()))
        })
        .await
    };
    let outcome = outcome.await;
    at.end(outcome).await
}
