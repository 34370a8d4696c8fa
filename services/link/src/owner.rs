//! The straight way to the owner of a slot, as far as it is known. A core says with its answer who the owner is; whoever
//! asks remembers it, and asks there the next time. When nobody is reached there, nothing was done, and any core is asked; so it is
//! of what had not left this process when a core said goodbye.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;

use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use stoker_domain::model::Slot;
use stoker_proto::place::{Place, Placed};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{self, Uri};
use tonic::{Request, Status};
use tower::ServiceExt;

use crate::dial::{Leaving, dial, endpoint};
use crate::{Cores, Dial, NoConnection};

/// Said with an answer: the slot, and where its owner is reached, with a space between them.
const OWNER: &str = "stoker-owner";
/// Three digits, a space, the longest host name, a colon and a port.
const OWNER_MOST: usize = 3 + 1 + 253 + 1 + 5;

/// A connection may be ended by its core just when a request is put to it. So often it is put to another one.
const UNSENT_MOST: usize = 3;

/// Of a request that is one message: whose it is, when it is the owner's of a slot.
#[derive(Clone, Copy)]
pub(crate) struct Whole(Option<Slot>);

/// A request that goes to the owner of its slot, where a [channel to any core](crate::Link::to_any) knows it. It is asked again
/// when it was not sent.
pub fn to_owner<Q: Placed>(message: Q) -> Request<Q> {
    let slot = match message.place() {
        Place::At(slot) => Some(slot),
        Place::Anywhere => None,
    };
    let mut request = Request::new(message);
    request.extensions_mut().insert(Whole(slot));
    request
}

/// Says with an answer at which address the owner of its slot is reached.
pub fn name_owner(metadata: &mut MetadataMap, slot: Slot, address: &str) {
    if let Ok(owner) = MetadataValue::try_from(format!("{slot} {address}")) {
        metadata.insert(OWNER, owner);
    }
}

/// The owner that an answer names.
fn owner_in(headers: &HeaderMap) -> Option<(Slot, &str)> {
    let owner = headers.get(OWNER).filter(|owner| owner.len() <= OWNER_MOST)?;
    let (slot, address) = owner.to_str().ok()?.split_once(' ')?;
    Some((Slot(slot.parse().ok()?), address))
}

/// The connections to owners, one for each core that was asked so far.
#[derive(Clone)]
pub(crate) struct Owners {
    dial: Dial,
    cores: Cores,
    channels: Arc<Mutex<HashMap<Arc<str>, transport::Channel>>>,
}

impl Owners {
    pub(crate) fn new(dial: Dial, cores: Cores) -> Self {
        Self { dial, cores, channels: Arc::default() }
    }

    /// What an answer says of its owner is remembered, if it is a core that is known.
    pub(crate) fn learn(&self, headers: &HeaderMap) {
        if let Some((slot, address)) = owner_in(headers) {
            self.cores.owns(address, [slot]);
        }
    }

    /// The way to the owner of this slot; none when it is not known or of no use.
    fn hint(&self, slot: Slot) -> Option<Hint> {
        let address = self.cores.owner_of(slot)?;
        let channel = self.at(&address);
        Some(Hint { trial: Trial { hint: Some((self.cores.clone(), slot, address)) }, channel })
    }

    /// Asks the owner, as far as it is known. Only when the request was not sent is any core asked: all else might have been
    /// done.
    pub(crate) async fn ask(
        self,
        Whole(slot): Whole,
        request: http::Request<Body>,
        any: transport::Channel,
    ) -> Result<Response<Body>, StdError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = || http::Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
        let hinted = match slot.and_then(|slot| self.hint(slot)) {
            Some(hint) => Some(hint.ask(request()).await).filter(|answer| !unsent(answer, is_unsent)),
            None => None,
        };
        let response = match hinted {
            Some(answer) => answer?,
            None => ask_any(&any, request).await?,
        };
        self.learn(response.headers());
        Ok(response)
    }

    fn at(&self, address: &Arc<str>) -> transport::Channel {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return channel.clone();
        }
        channels.retain(|address, _| self.cores.is_known(address));
        let (dialing, cores, to) = (self.dial.clone(), self.cores.clone(), address.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let (dialing, cores, address) = (dialing.clone(), cores.clone(), to.to_string());
            async move {
                // Those that wait behind one that did not come through do not try it once more, one after the other.
                if cores.is_shunned(&address) {
                    return Err(NoConnection(io::Error::other(format!(
                        "{address} was not reached just now"
                    ))));
                }
                match dial(dialing, address.clone()).await {
                    Ok(wire) => Ok(TokioIo::new(Leaving::new(wire, cores.left(&address)))),
                    Err(error) => {
                        cores.shun(&address);
                        Err(NoConnection(error))
                    }
                }
            }
        });
        let channel = endpoint().connect_with_connector_lazy(connect);
        channels.insert(address.clone(), channel.clone());
        channel
    }
}

/// Asks any core, and another one when the first said goodbye just then. Where nobody was reached all were tried.
async fn ask_any(
    any: &transport::Channel,
    request: impl Fn() -> http::Request<Body>,
) -> Result<Response<Body>, transport::Error> {
    let mut left = UNSENT_MOST;
    loop {
        left -= 1;
        let answer = any.clone().oneshot(request()).await;
        if left == 0 || !unsent(&answer, is_unheard) {
            return answer;
        }
    }
}

/// What an error comes of, it itself first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// True when the core said goodbye before the request's turn came, or named it among those that it had not looked at.
fn is_unheard(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| {
        let canceled = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        let refused = |error: &h2::Error| {
            let why = error.reason();
            error.is_remote()
                && (error.is_go_away() && why == Some(h2::Reason::NO_ERROR)
                    || error.is_reset() && why == Some(h2::Reason::REFUSED_STREAM))
        };
        canceled || error.downcast_ref::<h2::Error>().is_some_and(refused)
    })
}

/// True also when this came of nobody having been reached.
fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    is_unheard(error) || causes(error).any(|error| error.is::<NoConnection>())
}

fn unsent<T>(
    answer: &Result<T, transport::Error>,
    is_unsent: impl FnOnce(&(dyn Error + 'static)) -> bool,
) -> bool {
    answer.as_ref().is_err_and(|error| is_unsent(error))
}

/// True when a call ended by something that kept it from being sent: nobody has done what was asked.
#[must_use]
pub fn was_not_sent(status: &Status) -> bool {
    // Of an error on the way to a connection nothing but its text comes through a channel.
    NoConnection::is_in(status) || is_unheard(status)
}

/// The way to a core that is likely to own a slot.
struct Hint {
    trial: Trial,
    channel: transport::Channel,
}

/// Forgets a hint, unless it was good: also when whoever asked does not wait any more.
struct Trial {
    hint: Option<(Cores, Slot, Arc<str>)>,
}

impl Trial {
    fn was_good(mut self) {
        self.hint = None;
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some((cores, slot, address)) = self.hint.take() {
            cores.owns_not(&address, slot);
        }
    }
}

impl Hint {
    async fn ask(self, request: http::Request<Body>) -> Result<Response<Body>, transport::Error> {
        let response = self.channel.oneshot(request).await?;
        // A core that refuses and names no owner has none to ask, where another may.
        let refused = response.headers().contains_key("grpc-status");
        if !refused || owner_in(response.headers()).is_some() {
            self.trial.was_good();
        }
        Ok(response)
    }
}
