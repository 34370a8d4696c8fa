//! What is kept of objects: only what plans are made from. Values of Secrets become digests before anything keeps them.

use std::fmt::Write;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use sha2::{Digest, Sha256};

use crate::certificates::slimmed;

/// Of objects whose metadata alone count, and of resources.
pub(super) fn metadata<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

pub(super) fn deployment(object: &mut Deployment) {
    metadata(object);
    if let Some(spec) = &mut object.spec {
        spec.template = PodTemplateSpec::default();
    }
}

pub(super) fn pod(object: &mut Pod) {
    bare(&mut object.metadata);
    object.spec = None;
}

pub(super) fn service(object: &mut Service) {
    metadata(object);
}

/// Annotations go as well: `kubectl apply` leaves all of the values there. Of the certificates that the operator makes all is
/// kept that is public.
pub(super) fn secret(object: &mut Secret) {
    let ours = slimmed(object);
    bare(&mut object.metadata);
    object.string_data = None;
    if ours.is_some() {
        object.data = ours;
        return;
    }
    for value in object.data.iter_mut().flat_map(|data| data.values_mut()) {
        *value = ByteString(digest(&value.0).into_bytes());
    }
}

fn bare(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    meta.annotations = None;
}

/// 32 letters that stand for `value`.
fn digest(value: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in Sha256::digest(value).iter().take(16) {
        // A String takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_of_what_a_secret_hides_is_kept() {
        let hidden = "amqp://user:opensesame@broker";
        let mut object = Secret {
            data: Some(BTreeMap::from([("url".to_owned(), ByteString(hidden.as_bytes().to_vec()))])),
            string_data: Some(BTreeMap::from([("url".to_owned(), hidden.to_owned())])),
            ..Secret::default()
        };
        object.metadata.annotations = Some(BTreeMap::from([("last-applied".to_owned(), hidden.to_owned())]));
        let mut other = object.clone();
        secret(&mut object);
        let kept = format!("{object:?}");
        assert!(!kept.contains("opensesame"), "{kept}");
        assert!(!String::from_utf8_lossy(&object.data.as_ref().unwrap()["url"].0).contains("opensesame"));
        other.data.as_mut().unwrap().insert("url".to_owned(), ByteString(b"other".to_vec()));
        secret(&mut other);
        assert_ne!(object.data, other.data, "another value has another digest");
    }
}
