//! The private key of a client, which proves by signing who it is.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};

use crate::signing_algorithm::SigningAlgorithm::{self, EdDsa, Es256, Ps256, Rs256};

/// The least and the most bits of an RSA key: fewer are not safe (RFC 7518 section 3.3), and more
/// take a second for each signature.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A private key in PEM, as `openssl genpkey` writes it: RSA, P-256 or Ed25519, without a password.
///
/// `Debug` shows the algorithm alone.
///
/// ```
/// use mcp_layer::PrivateKey;
///
/// let refused = PrivateKey::parse(&"-----BEGIN CERTIFICATE-----".into(), None).unwrap_err();
/// assert!(refused.to_string().contains("is a certificate or a public key"));
/// ```
pub struct PrivateKey {
    pem: SecretString,
    pair: Pair,
    algorithm: SigningAlgorithm,
    id: Option<String>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl PrivateKey {
    /// Reads a key in PKCS #8 (or PKCS #1, or SEC 1), which signs by `algorithm`: by default RS256,
    /// ES256 or EdDSA, as the key is.
    ///
    /// # Errors
    /// [`InvalidPrivateKey`] if it is none of these, has a password, is too short, or cannot sign so.
    pub fn parse(
        pem: &SecretString,
        algorithm: Option<SigningAlgorithm>,
    ) -> Result<Self, InvalidPrivateKey> {
        let pair = Pair::parse(pem.expose_secret())?;
        let algorithm = algorithm.unwrap_or_else(|| pair.algorithm());
        match (&pair, algorithm) {
            (Pair::Rsa(_), Rs256 | Ps256) | (Pair::Ec(_), Es256) | (Pair::Ed(_), EdDsa) => {
                Ok(Self {
                    pem: pem.clone(),
                    pair,
                    algorithm,
                    id: None,
                })
            }
            _ => Err(InvalidPrivateKey::Algorithm),
        }
    }

    /// Sets the id by which the authorization server finds the public key (`kid`); default none,
    /// where it knows one key alone.
    #[must_use]
    pub fn with_id(mut self, id: Option<String>) -> Self {
        self.id = id;
        self
    }

    /// The id of the key, if it has one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The algorithm by which it signs.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The key as it was read.
    #[cfg(feature = "oauth")]
    pub(crate) fn pem(&self) -> &SecretString {
        &self.pem
    }

    /// Signs `message`; `None` where the system fails.
    #[cfg(feature = "oauth")]
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256},
        };

        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match self.algorithm {
                    Ps256 => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(signature.as_ref().to_vec())
            }
            Pair::Ed(pair) => Some(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl Pair {
    fn parse(pem: &str) -> Result<Self, InvalidPrivateKey> {
        if pem.contains("ENCRYPTED") {
            return Err(InvalidPrivateKey::Password);
        }
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|_| unread(pem))?;
        let bytes = der.secret_der();
        let pair = match &der {
            PrivateKeyDer::Sec1(_) => Self::ec(bytes),
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes).ok().map(Self::Rsa),
            _ => RsaKeyPair::from_pkcs8(bytes)
                .map(Self::Rsa)
                .or_else(|_| Ed25519KeyPair::from_pkcs8(bytes).map(Self::Ed))
                .ok()
                .or_else(|| Self::ec(bytes)),
        };
        let is_long_enough = |pair: &Self| match pair {
            Self::Rsa(pair) => RSA_BITS.contains(&(pair.public_modulus_len() * 8)),
            Self::Ec(_) | Self::Ed(_) => true,
        };
        pair.filter(is_long_enough).ok_or(InvalidPrivateKey::Kind)
    }

    fn ec(der: &[u8]) -> Option<Self> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        EcdsaKeyPair::from_private_key_der(algorithm, der)
            .ok()
            .map(Self::Ec)
    }

    fn algorithm(&self) -> SigningAlgorithm {
        match self {
            Self::Rsa(_) => Rs256,
            Self::Ec(_) => Es256,
            Self::Ed(_) => EdDsa,
        }
    }
}

/// Why there is no private key in this text.
fn unread(pem: &str) -> InvalidPrivateKey {
    let begins = |what: &str| pem.contains(&format!("-----BEGIN {what}-----"));
    let is_accepted = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].map(begins);
    let is_public = ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"].map(begins);
    match () {
        () if is_accepted.contains(&true) => InvalidPrivateKey::Broken,
        () if begins("OPENSSH PRIVATE KEY") => InvalidPrivateKey::OpenSsh,
        () if is_public.contains(&true) => InvalidPrivateKey::Public,
        () => InvalidPrivateKey::Form,
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The reason why a text is no private key that can be used; none repeats a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPrivateKey {
    /// It is no PEM of a private key.
    Form,
    /// It begins as a private key in PEM, and is broken off or changed.
    Broken,
    /// It is a certificate or a public key.
    Public,
    /// It is a key in the form of OpenSSH.
    OpenSsh,
    /// It has a password.
    Password,
    /// It is of another kind, or of RSA and shorter than 2,048 bits or longer than 8,192.
    Kind,
    /// It cannot sign by the algorithm that was asked for.
    Algorithm,
}

impl fmt::Display for InvalidPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "is not a private key in PEM: its first line is -----BEGIN PRIVATE KEY----- (PKCS #8), \
                 -----BEGIN RSA PRIVATE KEY----- (PKCS #1) or -----BEGIN EC PRIVATE KEY----- (SEC 1)"
            }
            Self::Broken => {
                "begins as a private key in PEM, and is no Base64 up to its END line: give the whole \
                 text, with its line breaks"
            }
            Self::Public => {
                "is a certificate or a public key, which the provider gets: give the private key in PEM, \
                 such as PKCS #8 (-----BEGIN PRIVATE KEY-----)"
            }
            Self::OpenSsh => {
                "is in the form of OpenSSH, which is not read: give PEM in PKCS #8, as openssl genpkey \
                 writes it"
            }
            Self::Password => {
                "has a password, which nobody can enter here: write it without one, by openssl pkey"
            }
            Self::Kind => "is not a key of RSA (2048 to 8192 bits), of P-256 or of Ed25519",
            Self::Algorithm => "cannot sign by this signing_algorithm",
        })
    }
}

impl std::error::Error for InvalidPrivateKey {}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::{
        encoding::AsDer,
        rsa::KeySize,
        signature::{ECDSA_P384_SHA384_FIXED_SIGNING, KeyPair},
    };
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    fn pem(of: &str, der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {of}-----\n{text}\n-----END {of}-----\n")
    }

    /// A new key of P-256, in PEM.
    pub(crate) fn p256() -> String {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref())
    }

    fn rsa() -> String {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        pem("PRIVATE KEY", pair.as_der().unwrap().as_ref())
    }

    fn read(
        pem: &str,
        algorithm: Option<SigningAlgorithm>,
    ) -> Result<SigningAlgorithm, InvalidPrivateKey> {
        PrivateKey::parse(&pem.into(), algorithm).map(|key| key.algorithm())
    }

    #[test]
    fn a_key_signs_as_it_is_unless_told_otherwise() {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let sec1 = pem(
            "EC PRIVATE KEY",
            ec.private_key().as_der().unwrap().as_ref(),
        );
        let ed = Ed25519KeyPair::generate().unwrap();
        let ed = [ed.to_pkcs8().unwrap(), ed.to_pkcs8v1().unwrap()];
        let [v2, v1] = ed.map(|key| pem("PRIVATE KEY", key.as_ref()));
        let (ec, rsa) = (p256(), rsa());
        for (pem, expected) in [
            (&ec, Es256),
            (&sec1, Es256),
            (&rsa, Rs256),
            (&v1, EdDsa),
            (&v2, EdDsa),
        ] {
            assert_eq!(read(pem, None), Ok(expected));
            assert_eq!(read(&pem.replace('\n', "\r\n"), None), Ok(expected));
            assert_eq!(read(pem.trim_end(), None), Ok(expected));
        }
        assert_eq!(read(&rsa, Some(Ps256)), Ok(Ps256));
        for (pem, algorithm) in [(&ec, Rs256), (&rsa, Es256), (&v1, Ps256)] {
            let refused = read(pem, Some(algorithm));
            assert_eq!(refused, Err(InvalidPrivateKey::Algorithm));
        }
    }

    #[cfg(feature = "oauth")]
    #[test]
    fn what_is_signed_can_be_checked_with_the_public_key() {
        use aws_lc_rs::signature::{
            ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
            UnparsedPublicKey, VerificationAlgorithm,
        };
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let [ec_pem, ed_pem, rsa_pem] = [
            pem("PRIVATE KEY", ec.to_pkcs8v1().unwrap().as_ref()),
            pem("PRIVATE KEY", ed.to_pkcs8v1().unwrap().as_ref()),
            pem("PRIVATE KEY", rsa.as_der().unwrap().as_ref()),
        ];
        let all: [(&str, _, &'static dyn VerificationAlgorithm, &[u8]); 4] = [
            (
                &ec_pem,
                None,
                &ECDSA_P256_SHA256_FIXED,
                ec.public_key().as_ref(),
            ),
            (&ed_pem, None, &ED25519, ed.public_key().as_ref()),
            (
                &rsa_pem,
                None,
                &RSA_PKCS1_2048_8192_SHA256,
                rsa.public_key().as_ref(),
            ),
            (
                &rsa_pem,
                Some(Ps256),
                &RSA_PSS_2048_8192_SHA256,
                rsa.public_key().as_ref(),
            ),
        ];
        for (pem, algorithm, verification, public) in all {
            let key = PrivateKey::parse(&pem.into(), algorithm).unwrap();
            let signature = key.sign(b"head.claims").unwrap();
            let signature_of = |message| verify(verification, public, message, &signature);
            assert!(signature_of(b"head.claims") && !signature_of(b"head.others"));
        }
        fn verify(
            by: &'static dyn VerificationAlgorithm,
            public: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> bool {
            let public = UnparsedPublicKey::new(by, public);
            public.verify(message, signature).is_ok()
        }
    }

    #[test]
    fn what_cannot_sign_is_refused_without_being_repeated() {
        let ec = p256();
        let other = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let public = pem("PUBLIC KEY", other.public_key().as_ref());
        let other = pem("PRIVATE KEY", other.to_pkcs8v1().unwrap().as_ref());
        for (pem, expected) in [
            ("", InvalidPrivateKey::Form),
            ("s3cret", InvalidPrivateKey::Form),
            (&public, InvalidPrivateKey::Public),
            (&pem("CERTIFICATE", b"x"), InvalidPrivateKey::Public),
            (
                &pem("OPENSSH PRIVATE KEY", b"x"),
                InvalidPrivateKey::OpenSsh,
            ),
            (&ec[..60], InvalidPrivateKey::Broken),
            (&ec.replace('\n', " "), InvalidPrivateKey::Broken),
            (&pem("PRIVATE KEY", b"s3cret"), InvalidPrivateKey::Kind),
            (
                &pem("ENCRYPTED PRIVATE KEY", b"x"),
                InvalidPrivateKey::Password,
            ),
            (&other, InvalidPrivateKey::Kind),
        ] {
            let refused = read(pem, None);
            assert_eq!(refused, Err(expected), "{pem}");
            assert!(!refused.unwrap_err().to_string().contains("s3cret"));
        }
    }

    #[test]
    fn debug_shows_no_part_of_a_key() {
        let key = PrivateKey::parse(&p256().into(), None).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey { algorithm: Es256, .. }");
    }
}
