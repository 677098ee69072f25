//! ES256 (RFC 7518 §3.4): the one signature that the guard makes, for whoever has to check who is
//! calling without asking the guard.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::{Keyring, Purpose, give_up};

/// A P-256 key pair, and the name under which its public half is published.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

/// The public half as a JSON Web Key (RFC 7517, RFC 7518 §6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// The key's thumbprint (RFC 7638).
    pub kid: String,
    #[serde(rename = "use")]
    use_: &'static str,
    alg: &'static str,
}

impl SigningKey {
    /// A fresh key, and its private half sealed by `keyring` for [`Self::unseal`].
    pub fn generate(keyring: &Keyring) -> (Self, String) {
        let Ok(pair) = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING) else {
            give_up("making a signing key");
        };
        // The document wipes itself when it is dropped.
        let (Ok(private), Some(key)) = (pair.to_pkcs8v1(), Self::of(pair)) else {
            give_up("writing a signing key");
        };
        let kid = key.public.kid.as_bytes();
        let sealed = keyring.seal(Purpose::SigningKey, kid, private.as_ref());
        (key, sealed)
    }

    /// The key that was sealed under this name, or `None` if it was sealed by another keyring, for
    /// another name, or changed since.
    pub fn unseal(keyring: &Keyring, kid: &str, sealed: &str) -> Option<Self> {
        let private = keyring.open(Purpose::SigningKey, kid.as_bytes(), sealed)?;
        let private = zeroize::Zeroizing::new(private);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).ok()?;
        Self::of(pair)
    }

    fn of(pair: EcdsaKeyPair) -> Option<Self> {
        let public = PublicKey::of(pair.public_key().as_ref())?;
        Some(Self { pair, public })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over `message`: R and S, 32 bytes each, in base64url as JWS has it.
    pub fn sign(&self, message: &[u8]) -> String {
        match self.pair.sign(&SystemRandom::new(), message) {
            Ok(signature) => URL_SAFE_NO_PAD.encode(signature),
            Err(_) => give_up("signing"),
        }
    }
}

impl PublicKey {
    /// From an uncompressed point (SEC 1 §2.3.3): 4, X, Y.
    fn of(point: &[u8]) -> Option<Self> {
        let coordinates: &[u8; 64] = point.strip_prefix(&[4])?.try_into().ok()?;
        let (x, y) = coordinates.split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638 §3.2: these members, in this order.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let thumbprint = digest::digest(&digest::SHA256, members.as_bytes());
        Some(Self {
            kty: "EC",
            crv: "P-256",
            x,
            y,
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            use_: "sig",
            alg: "ES256",
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.kid)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_sealed_key_signs_for_its_public_half() {
        let ring = Keyring::ephemeral();
        let (key, sealed) = SigningKey::generate(&ring);
        let again = SigningKey::unseal(&ring, &key.public.kid, &sealed).unwrap();
        assert_eq!(again.public, key.public);

        let signature = URL_SAFE_NO_PAD.decode(again.sign(b"message")).unwrap();
        let public = key.pair.public_key().as_ref();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"massage", &signature).is_err());
    }

    #[test]
    fn a_key_opens_with_its_own_keyring_under_its_own_name() {
        let ring = Keyring::ephemeral();
        let (key, sealed) = SigningKey::generate(&ring);
        let (other, _) = SigningKey::generate(&ring);
        assert!(SigningKey::unseal(&ring, &other.public.kid, &sealed).is_none());
        assert!(SigningKey::unseal(&Keyring::ephemeral(), &key.public.kid, &sealed).is_none());
        assert!(SigningKey::unseal(&ring, &key.public.kid, "").is_none());
    }

    #[test]
    fn the_name_is_the_thumbprint_of_rfc_7638() {
        // The point of RFC 7517, appendix A.1, its members put through sha256sum(1).
        let x = URL_SAFE_NO_PAD.decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        let y = URL_SAFE_NO_PAD.decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        let point = [vec![4], x.unwrap(), y.unwrap()].concat();
        let kid = PublicKey::of(&point).unwrap().kid;
        assert_eq!(kid, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
        assert_eq!(PublicKey::of(&point[..64]), None);
        assert_eq!(PublicKey::of(&[]), None);
    }

    #[test]
    fn a154_debug_shows_the_name_only() {
        let (key, _) = SigningKey::generate(&Keyring::ephemeral());
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey({})", key.public.kid)
        );
    }
}
