//! The signature of Standard Webhooks: symmetric, over id, time and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// `v1,BASE64` of the HMAC-SHA256 over `id.timestamp.body`, the key being the secret's bytes.
pub(super) fn signature(secret: &str, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    // A key of any length is one to HMAC; there is no error to be had.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with
    /// `printf 'ntf-0a-1-7.1700000000.{"a":1}' | openssl dgst -sha256 -hmac 's3cret' -binary | base64`.
    #[test]
    fn the_signature_is_what_openssl_computes() {
        assert_eq!(
            signature("s3cret", "ntf-0a-1-7", 1_700_000_000, br#"{"a":1}"#),
            "v1,ITzm2WX1bppdgj84oWjhz9Dd//rUcyJYSRaAeu4oQE4="
        );
    }

    /// The key is longer than a block of SHA-256, and not ASCII; computed with Python's `hmac`.
    #[test]
    fn a_long_secret_is_taken_as_its_bytes() {
        assert_eq!(
            signature(&"ü".repeat(100), "ntf-0a-1-7", 0, b""),
            "v1,zx1SiSiOac5o4XEU7G52/r9Fu1RBMfyWUSGxx3eFqVE="
        );
    }
}
