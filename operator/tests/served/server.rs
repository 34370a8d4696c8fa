//! An API server as far as the operator needs one: objects with versions, lists, watches, patches, and rules by which
//! writes are refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Longer than anything takes: it is there to end what hangs.
const WITHIN: Duration = Duration::from_secs(60);

type Answer = Response<UnsyncBoxBody<Bytes, kube::Error>>;

/// What is asked for: `collection` is such as `/apis/apps/v1/namespaces/a/deployments`.
struct Path {
    collection: String,
    name: Option<String>,
    status: bool,
}

impl Path {
    fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        // `/api/v1/…` or `/apis/GROUP/VERSION/…`, then `namespaces/NAMESPACE` or not.
        let mut at = if parts[1] == "api" { 3 } else { 4 };
        if parts.get(at) == Some(&"namespaces") {
            at += 2;
        }
        let name = parts.get(at + 1).map(|name| (*name).to_owned());
        Self { collection: parts[..=at].join("/"), name, status: parts.get(at + 2) == Some(&"status") }
    }

    fn plural(&self) -> &str {
        self.collection.rsplit('/').next().unwrap()
    }
}

/// Calls that contain this text, such as `PATCH deployments/edge-`, are answered so.
#[derive(Debug, Clone)]
struct Rule {
    call: String,
    code: u16,
    message: String,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    /// What watches are told: the version, the collection, and the event.
    log: Vec<(u64, String, Value)>,
    calls: Vec<String>,
    rules: Vec<Rule>,
    /// So many more writes may change something; those after them are never answered.
    writes_left: Option<u32>,
    /// One was not answered.
    cut: bool,
}

/// The API server.
pub(crate) struct Server {
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

impl Server {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), version: watch::Sender::new(0) })
    }

    pub(crate) fn client(self: &Arc<Self>) -> Client {
        let server = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move { server.call(request).await }
        });
        Client::new(service, "a")
    }

    /// Waits until it is so. It is looked at after each call.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut version = self.version.subscribe();
        let waits = async {
            loop {
                version.borrow_and_update();
                if is(self) {
                    return;
                }
                version.changed().await.unwrap();
            }
        };
        let ends = tokio::time::timeout(WITHIN, waits).await;
        assert!(ends.is_ok(), "it never came to this: {what}; calls: {:#?}", self.state.lock().calls);
    }

    /// From now on these calls are answered so.
    pub(crate) fn refuse(&self, call: &str, code: u16, message: &str) {
        let rule = Rule { call: call.to_owned(), code, message: message.to_owned() };
        self.state.lock().rules.push(rule);
    }

    /// After so many writes that have changed something the next is never answered: whoever makes it may be killed then.
    pub(crate) fn cut_after(&self, writes: u32) {
        let mut state = self.state.lock();
        (state.writes_left, state.cut) = (Some(writes), false);
    }

    /// Whether somebody waits for an answer that does not come.
    pub(crate) fn is_cut(&self) -> bool {
        self.state.lock().cut
    }

    /// All calls are answered as usual again.
    pub(crate) fn take_all(&self) {
        let mut state = self.state.lock();
        state.rules.clear();
        state.writes_left = None;
    }

    /// How many of the calls contain this text.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.state.lock().calls.iter().filter(|of| of.contains(call)).count()
    }

    /// An object, by `PLURAL/NAME`; of several whose name begins so, the first.
    pub(crate) fn find(&self, plural: &str, name: &str) -> Option<Value> {
        let state = self.state.lock();
        let found = state
            .objects
            .iter()
            .find(|((of, called), _)| of.ends_with(&format!("/{plural}")) && called.starts_with(name));
        found.map(|(_, object)| object.clone())
    }

    /// Somebody writes an object, whole.
    pub(crate) fn put(&self, collection: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.state.lock().store((collection.to_owned(), name), object);
        self.tell();
    }

    /// Somebody changes an object, that has to be there.
    pub(crate) fn change(&self, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock();
        let key =
            state.objects.keys().find(|(of, called)| of.ends_with(&format!("/{plural}")) && called == name);
        let key = key.unwrap().clone();
        let mut object = state.objects[&key].clone();
        change(&mut object);
        state.store(key, object);
        drop(state);
        self.tell();
    }

    /// Somebody deletes an object.
    pub(crate) fn delete(&self, plural: &str, name: &str) {
        let mut state = self.state.lock();
        let key = state.objects.keys().find(|(of, is)| of.ends_with(&format!("/{plural}")) && is == name);
        let key = key.unwrap().clone();
        state.remove(&key);
        drop(state);
        self.tell();
    }

    fn tell(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    async fn call(self: Arc<Self>, request: Request<Body>) -> Result<Answer, kube::Error> {
        let (head, body) = request.into_parts();
        let path = Path::of(head.uri.path());
        let query = head.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await?.to_bytes();
        let watches = query.contains("watch=true");
        let verb = if watches { "WATCH" } else { head.method.as_str() };
        let part = if path.status { "/status" } else { "" };
        let call = format!("{verb} {}/{}{part}", path.plural(), path.name.as_deref().unwrap_or_default());
        let is_write = head.method != Method::GET && path.plural() != "events";
        let is_cut = {
            let mut state = self.state.lock();
            let is_cut = is_write && state.writes_left == Some(0);
            state.cut |= is_cut;
            is_cut
        };
        if is_cut {
            self.tell();
            std::future::pending::<()>().await;
        }
        let rule = {
            let mut state = self.state.lock();
            state.calls.push(call.clone());
            state.rules.iter().find(|rule| call.contains(&rule.call)).cloned()
        };
        let answer = match rule {
            Some(rule) => failure(rule.code, &rule.message),
            None if watches => return Ok(Arc::clone(&self).watched(path.collection, &query)),
            None => self.answer(&head.method, &path, &query, &body),
        };
        self.tell();
        Ok(answer)
    }

    fn answer(&self, method: &Method, path: &Path, query: &str, body: &[u8]) -> Answer {
        let mut state = self.state.lock();
        let before = state.version;
        let answer = Self::answered(&mut state, method, path, query, body);
        if state.version != before {
            state.writes_left = state.writes_left.map(|left| left.saturating_sub(1));
        }
        answer
    }

    fn answered(state: &mut State, method: &Method, path: &Path, query: &str, body: &[u8]) -> Answer {
        let given = || serde_json::from_slice::<Value>(body).unwrap();
        let key = |name: &str| (path.collection.clone(), name.to_owned());
        match (method.as_str(), path.name.as_deref()) {
            ("GET", None) => {
                let of = state.objects.iter().filter(|((collection, _), object)| {
                    *collection == path.collection && is_selected(object, query)
                });
                let items: Vec<&Value> = of.map(|(_, object)| object).collect();
                let version = state.version.to_string();
                json_answer(
                    200,
                    &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            ("GET", Some(name)) => match state.objects.get(&key(name)) {
                Some(object) => json_answer(200, object),
                None => failure(404, "not found"),
            },
            ("POST", None) if path.plural() == "events" => {
                let event = given();
                let (reason, about) = (event["reason"].as_str(), event["regarding"]["name"].as_str());
                state.calls.push(format!("EVENT {} of {}", reason.unwrap(), about.unwrap()));
                json_answer(201, &event)
            }
            ("POST", None) => {
                let object = given();
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                if state.objects.contains_key(&key(&name)) {
                    return failure(409, "it is there");
                }
                json_answer(201, &state.store(key(&name), object))
            }
            ("PATCH", Some(name)) if path.status => match state.objects.get(&key(name)).cloned() {
                Some(mut object) => {
                    object["status"] = given()["status"].clone();
                    json_answer(200, &state.store(key(name), object))
                }
                None => failure(404, "not found"),
            },
            ("PATCH", Some(name)) => {
                let (given, there) = (given(), state.objects.get(&key(name)));
                let based_on = &given["metadata"]["resourceVersion"];
                if !based_on.is_null()
                    && there.is_none_or(|there| there["metadata"]["resourceVersion"] != *based_on)
                {
                    return failure(409, "it has changed");
                }
                let object = applied(there, given);
                json_answer(200, &state.store(key(name), object))
            }
            ("DELETE", Some(name)) => {
                state.remove(&key(name));
                json_answer(200, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            other => panic!("nobody is to call {other:?} of {}", path.collection),
        }
    }

    fn watched(self: Arc<Self>, collection: String, query: &str) -> Answer {
        let from = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let last: u64 = from.unwrap().parse().unwrap();
        let begin = (last, self.version.subscribe(), query.to_owned());
        let events = stream::unfold(begin, move |(last, mut version, query)| {
            let (server, collection) = (Arc::clone(&self), collection.clone());
            async move {
                loop {
                    version.borrow_and_update();
                    let next = {
                        let state = server.state.lock();
                        let plural = collection.rsplit('/').next().unwrap();
                        let call = format!("WATCH {plural}/");
                        if state.rules.iter().any(|rule| rule.call == call) {
                            return None;
                        }
                        let mut log = state.log.iter();
                        log.find(|(version, of, event)| {
                            *version > last && *of == collection && is_selected(&event["object"], &query)
                        })
                        .map(|(version, _, event)| (*version, event.clone()))
                    };
                    if let Some((at, event)) = next {
                        let line = Bytes::from(format!("{event}\n"));
                        return Some((Ok(Frame::data(line)), (at, version, query)));
                    }
                    version.changed().await.ok()?;
                }
            }
        });
        Response::new(BodyExt::boxed_unsync(StreamBody::new(events)))
    }
}

impl State {
    /// Keeps an object, unless it is as it was, and returns it as it is now.
    fn store(&mut self, key: (String, String), mut object: Value) -> Value {
        let before = self.objects.get(&key);
        let meta = before.map_or(&Value::Null, |before| &before["metadata"]).clone();
        if before.is_some() {
            for of in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
                object["metadata"][of] = meta[of].clone();
            }
            if before == Some(&object) {
                return object;
            }
        }
        let spec_before = before.map_or(Value::Null, |before| before["spec"].clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.version += 1;
        let generation = meta["generation"].as_u64().unwrap_or(0);
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(self.version.to_string());
        if kind == "ADDED" {
            meta["uid"] = json!(format!("uid-{}", self.version));
            meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let changed = u64::from(object["spec"] != spec_before);
        object["metadata"]["generation"] = json!(generation + changed);
        self.log.push((self.version, key.0.clone(), json!({"type": kind, "object": object})));
        self.objects.insert(key, object.clone());
        object
    }

    fn remove(&mut self, key: &(String, String)) {
        let Some(mut object) = self.objects.remove(key) else { return };
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((self.version, key.0.clone(), json!({"type": "DELETED", "object": object})));
    }
}

/// What the operator makes is looked for by its label.
fn is_selected(object: &Value, query: &str) -> bool {
    !query.contains("labelSelector=")
        || object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "stoker-operator"
}

/// Fields that are not given stay: the operator applies objects whole, and status is another's.
fn applied(before: Option<&Value>, mut given: Value) -> Value {
    let Some(before) = before else { return given };
    if let Some(status) = before.get("status") {
        given["status"] = status.clone();
    }
    if given.get("kind").is_none() {
        let mut object = before.clone();
        merge(&mut object, &given);
        return object;
    }
    given
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                    continue;
                }
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn failure(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "Because" };
    json_answer(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}),
    )
}

fn json_answer(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    Response::builder().status(code).body(body.boxed_unsync()).unwrap()
}
