//! Removing: each of what is named, whatever becomes of the others.

use super::api::Api;
use super::failure::Failure;
use super::output::Output;

/// Removes `ids` from a collection. One that is refused keeps none of the others back.
pub(super) async fn all<I: AsRef<str>>(
    api: &Api,
    output: &Output,
    collection: &str,
    ids: &[I],
) -> Result<(), Failure> {
    let mut refused = 0;
    for id in ids {
        let id = id.as_ref();
        match api.delete(api.url(&[collection, id])).await {
            Ok(()) => output.done(&format!("removed {id}"))?,
            Err(failure) if failure.is_refusal() && ids.len() > 1 => {
                refused += 1;
                // The code is that of all of them together.
                let _ = failure.about(id).report();
            }
            Err(failure) if failure.is_refusal() => return Err(failure.about(id)),
            Err(failure) => return Err(failure),
        }
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{refused} of {} were not removed", ids.len()))),
    }
}
