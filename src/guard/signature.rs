//! Signatures of questions to a webhook.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::hex::hex;

/// The header that has the signature.
pub(super) const HEADER: &str = "x-mcp-signature";

/// The signature of `body`, sent so many seconds after 1970: HMAC-SHA256 (RFC 2104) over the seconds in
/// decimal, a dot, and the body. The time is signed so that a receiver can refuse what somebody sends
/// again later. `None` cannot be: HMAC takes keys of any length.
pub(super) fn signature(secret: &str, seconds: u64, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let mac = hex(&mac.finalize().into_bytes());
    Some(format!("t={seconds},v1={mac}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec
        assert_eq!(
            signature("whsec", 1_700_000_000, br#"{"a":1}"#).unwrap(),
            "t=1700000000,v1=8ad37ba156048ae0e0a5533c75cdf26fee88b07f93cb57ee4c80adb053012032"
        );
    }
}
