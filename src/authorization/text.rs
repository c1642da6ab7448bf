//! Secrets within a text that is sealed as a whole.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, de::DeserializeOwned};
use subtle::ConstantTimeEq;

use crate::secret::{ExposeSecret, SecretString};

/// Writes JSON that is itself a secret.
pub(super) fn write(value: &impl Serialize) -> SecretString {
    // Plain structs with string keys do not fail to be written.
    serde_json::to_string(value).unwrap_or_default().into()
}

pub(super) fn read<T: DeserializeOwned>(text: &SecretString) -> Option<T> {
    serde_json::from_str(text.expose_secret()).ok()
}

/// Serializes a secret, for `#[serde(with)]`.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::secret::{ExposeSecret, SecretString};

    pub(in super::super) fn serialize<S: Serializer>(
        secret: &SecretString,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.expose_secret().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretString, D::Error> {
        String::deserialize(deserializer).map(SecretString::from)
    }
}

/// Serializes an optional secret, for `#[serde(with)]`.
pub(super) mod optional_secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::secret::{ExposeSecret, SecretString};

    pub(in super::super) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = secret.as_ref().map(ExposeSecret::expose_secret);
        text.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        Option::<String>::deserialize(deserializer).map(|text| text.map(SecretString::from))
    }
}

/// A time in seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Compares two secrets in constant time.
pub(super) fn is_same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret()
        .as_bytes()
        .ct_eq(b.expose_secret().as_bytes())
        .into()
}
