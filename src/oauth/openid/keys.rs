//! The keys of a provider (RFC 7517), and what is signed with them (RFC 7515, RFC 7518).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    oauth::{
        error::{Error, ErrorKind},
        http::{Absent, Http},
    },
    signing_algorithm::SigningAlgorithm as Algorithm,
};

/// The most keys that are read: providers have two or three at a time.
const KEYS: usize = 64;

/// The keys of a provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point of P-256.
    Ec(Vec<u8>),
    Ed(Vec<u8>),
}

/// The search for a key that found none, or more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoKey;

#[derive(Deserialize)]
struct Listed {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Fetches the keys of a provider.
    ///
    /// # Errors
    /// As for any document.
    pub(crate) async fn fetch(http: &Http, url: &Url) -> Result<Self, Error> {
        let found = http.document("the provider's list of keys", url).await?;
        let found: Listed = found.map_err(|Absent(answer)| {
            let text = "the provider has no list of keys where its metadata say";
            Error::new(ErrorKind::BadResponse, text).saying(answer)
        })?;
        Ok(Self::read(found))
    }

    /// Those of a list as it is answered.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn of_list(list: &[u8]) -> Self {
        crate::oauth::tolerated::object(list).map_or_else(Self::default, Self::read)
    }

    /// Those of a list that can be used; a list also has keys for other purposes.
    fn read(listed: Listed) -> Self {
        let keys = listed.keys.into_iter().take(KEYS);
        let keys = keys.filter_map(|key| Key::read(serde_json::from_value(key).ok()?));
        Self(keys.collect())
    }

    /// Checks a signature by the key of this id; without one, by the only key that fits.
    ///
    /// `Err` if there is no such key, which may be newer than these; `Ok(false)` if the signature is
    /// wrong.
    pub(super) fn verify(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, NoKey> {
        let is_named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let mut fitting = self
            .0
            .iter()
            .filter(is_named)
            .filter(|key| key.is_for(algorithm));
        let (Some(key), None) = (fitting.next(), fitting.next()) else {
            return Err(NoKey);
        };
        Ok(key.material.verify(algorithm, message, signature))
    }
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        if jwk
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let bytes = |text: &Option<String>| {
            let text = text.as_deref()?;
            BASE64_URL_SAFE_NO_PAD.decode(text).ok()
        };
        let material = match (&*jwk.kty, jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: bytes(&jwk.n)?,
                e: bytes(&jwk.e)?,
            },
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
                let is_point = x.len() == 32 && y.len() == 32;
                is_point.then(|| Material::Ec([&[4][..], &x, &y].concat()))?
            }
            ("OKP", Some("Ed25519")) => Material::Ed(bytes(&jwk.x)?),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid,
            algorithm: jwk.alg,
            material,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let is_kind = matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Material::Ec(_), Algorithm::Es256)
                | (Material::Ed(_), Algorithm::EdDsa)
        );
        let named = self.algorithm.as_deref();
        is_kind && named.is_none_or(|named| named == algorithm.name())
    }
}

impl Material {
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { n, e } => {
                let parameters = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            Self::Ec(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(keys: Value) -> Keys {
        Keys::read(serde_json::from_value(json!({"keys": keys})).unwrap())
    }

    /// RFC 8037 appendix A.
    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const SIGNATURE: &str =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    #[test]
    fn the_example_of_the_rfc_is_right_and_any_other_signature_is_wrong() {
        let keys = keys(json!([{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": ED}]));
        let mut signature = BASE64_URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();
        let verify =
            |id, signature: &[u8]| keys.verify(id, Algorithm::EdDsa, SIGNED.as_bytes(), signature);
        assert_eq!(verify(Some("a"), &signature), Ok(true));
        assert_eq!(verify(None, &signature), Ok(true));
        assert_eq!(verify(Some("b"), &signature), Err(NoKey));
        signature[0] ^= 1;
        assert_eq!(verify(Some("a"), &signature), Ok(false));
        assert_eq!(verify(Some("a"), b""), Ok(false));
    }

    #[test]
    fn a_key_is_used_for_what_it_is_for_only() {
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": ED});
        let with = |name: &str, value: &str| {
            let mut key = ed.clone();
            key[name] = value.into();
            key
        };
        let fits =
            |list: Value, algorithm| keys(list).verify(Some("a"), algorithm, b"", b"").is_ok();
        assert!(fits(json!([ed]), Algorithm::EdDsa));
        assert!(fits(json!([with("use", "sig")]), Algorithm::EdDsa));
        for (list, algorithm) in [
            (json!([ed]), Algorithm::Rs256),
            (json!([with("use", "enc")]), Algorithm::EdDsa),
            (json!([with("alg", "RS256")]), Algorithm::EdDsa),
            (json!([with("crv", "X25519")]), Algorithm::EdDsa),
            (json!([with("x", "!")]), Algorithm::EdDsa),
            (json!([with("kty", "oct")]), Algorithm::EdDsa),
            // Which of two is meant is not for us to guess.
            (json!([ed, ed]), Algorithm::EdDsa),
            (json!([7, null]), Algorithm::EdDsa),
        ] {
            assert!(!fits(list.clone(), algorithm), "{list}");
        }
        assert_eq!(Algorithm::named("none"), None);
        assert_eq!(Algorithm::named("HS256"), None);
    }

    /// Made with OpenSSL, of the text `head.claims`.
    const SIGNED_HERE: &[u8] = b"head.claims";
    const N: &str = "63gWXKT4WSETrYGQPsEHFV5IL2Am_fMfc4d0CbT4szOMSpJbTfAqumglIhUIa8i3il1HI_vDw1fpl3YYGpHzy8naFJh0ZMyNazaKeUEIqVBCWyD54qSSOiI_HdkKNyIkDV-tELIFW1i07mgZhnmEXHcUM_jzCUwPkgRmiuFRSZachDduzRJNNA839pv83jzzxoXObhuzTlCzWOAokkOb2EjANUmzsd2vDu_ljE2fNmoIOjgEvwCdpDQIEGn_0UGblhyZcodUyNXZMWQFTg-kMuv44wudVJYuAARHe6e3MNbJDh213Xhk8GuBCOrUzB8lhuZ0ZhelZJimX9S2V-lzhQ";
    const RS: &str = "PBDXVVS8kJSJdTWO9l4sL3S53FS66F8QpN2lDZFit-BJzQZReuwJE7teMq__z_x6IX30KmMA9uVw3L7pkFJgkCH_TIiMjH__T5XH3G_NPYXbSpLifeK9Ix-c4y0d-PM6AH7fBzeYbv1wV9fHBnjhvoON-NwLXgBWWJgr0E-f9dq6AItqOzuDFkNHNiUIaQgkduPTfYS7QDJg1kql4hn7BLLuMUiN53GVSYQqhrHRsYwLWJPSArlRKSDDtOyHxCt1nM6rWqhvu9fc15PxGItaPKIcoCNKeoccSbP-YkEGvMtSYsRUbYYdN8XwRhPv8kyIYxUEG8hc45T6ILeJu6zPzA";
    const PS: &str = "cA509FeSmXCn486WVBPjjbKoeD7bXWvEYvHsmd2nzq_YiSRFbb9CtjCOOEwWSHTdCL-TKuy6n2ctyMCAT_AUGlkoMmi3Kzmbpy_labEILlDMjdrMRhvRHXBHg0viB3QgSwovHtbYq74dCcqctVHOBMQXqCubB5aKX2vSC9zjzMU3Y5_iW5urA58hVGT29seFgQMrgkRfRnxhGusLsycD32orpTi6zBFWf2H-qDPRfyrpDMsFA2RNHQEZOURfEX3Ur_vaD1PH1hjJGV0Xd6S4xKZYTamAS4tUd9LT2AjdP9b5zKUxtSNV5m9VDeYetDl298terV6DNSP4ZN6PRqtCXA";
    const X: &str = "GFxB-AR-CoD__3IRe1KSn-MLjjAUgCp7y6-Z45Vh1u8";
    const Y: &str = "rTK4IYDbcWhLPQn-4Ygtai5DLoBUw_VG-A8Pn1Yv7cg";
    const ES: &str =
        "jIOqz-UIJuxY8wvwXjsX-iaoLwk71RpBwMrhhK3oy654ycpYJ2yNyBo6GNvV5RVrQxqLTTxMXHwD638PlMPcJw";

    #[test]
    fn each_algorithm_takes_its_own_signatures_only() {
        let rsa = json!({"kty": "RSA", "kid": "a", "n": N, "e": "AQAB"});
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": X, "y": Y});
        for (key, algorithm, signature, expected) in [
            (&rsa, Algorithm::Rs256, RS, true),
            (&rsa, Algorithm::Ps256, PS, true),
            (&rsa, Algorithm::Rs256, PS, false),
            (&rsa, Algorithm::Ps256, RS, false),
            (&ec, Algorithm::Es256, ES, true),
            (&ec, Algorithm::Es256, RS, false),
        ] {
            let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
            let verified = keys(json!([key])).verify(Some("a"), algorithm, SIGNED_HERE, &signature);
            assert_eq!(verified, Ok(expected), "{algorithm:?}");
            let other = keys(json!([key])).verify(Some("a"), algorithm, b"head.others", &signature);
            assert_eq!(other, Ok(false), "{algorithm:?}");
        }
    }
}
