//! The straight way to the owner of a slot, as far as it is known. A core says with its answer who the owner is; whoever
//! asks remembers it, and asks there the next time. When nobody is reached there, nothing was done, and any core is asked.

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
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{self, Uri};
use tower::ServiceExt;

use crate::dial::{Leaving, dial, endpoint};
use crate::{Cores, Dial, NoConnection};

/// Said with an answer: the slot, and where its owner is reached, with a space between them.
const OWNER: &str = "stoker-owner";
/// Three digits, a space, the longest host name, a colon and a port.
const OWNER_MOST: usize = 3 + 1 + 253 + 1 + 5;

/// A request that goes to the owner of its slot, where a [channel to any core](crate::Link::to_any) knows it.
pub fn to_owner<Q: Placed>(message: Q) -> Request<Q> {
    let place = message.place();
    let mut request = Request::new(message);
    if let Place::At(slot) = place {
        request.extensions_mut().insert(slot);
    }
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
    pub(crate) fn hint(&self, slot: Slot) -> Option<Hint> {
        let address = self.cores.owner_of(slot)?;
        let channel = self.at(&address);
        Some(Hint { owners: self.clone(), slot, address, channel })
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

/// True when this came of nobody having been reached.
fn is_no_connection(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<NoConnection>())
}

/// The way to a core that is likely to own a slot.
pub(crate) struct Hint {
    owners: Owners,
    slot: Slot,
    address: Arc<str>,
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
    /// Asks there. Only when nobody was reached there is any core asked: all else might have been done.
    pub(crate) async fn ask(
        self,
        request: http::Request<Body>,
        any: transport::Channel,
    ) -> Result<Response<Body>, StdError> {
        let Self { owners, slot, address, channel } = self;
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = || http::Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
        let trial = Trial { hint: Some((owners.cores.clone(), slot, address)) };
        let response = match channel.oneshot(request()).await {
            Ok(response) => {
                // A core that refuses and names no owner has none to ask, where another may.
                let refused = response.headers().contains_key("grpc-status");
                if !refused || owner_in(response.headers()).is_some() {
                    trial.was_good();
                }
                response
            }
            Err(error) if is_no_connection(&error) => {
                drop(trial);
                any.oneshot(request()).await?
            }
            Err(error) => return Err(error.into()),
        };
        owners.learn(response.headers());
        Ok(response)
    }
}
