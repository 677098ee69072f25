//! What is to be obtained, and from whom.

use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use instant_acme::{ExternalAccountKey, LetsEncrypt};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use url::Url;

/// Let's Encrypt, whose certificates everybody trusts.
pub const LETS_ENCRYPT: &str = LetsEncrypt::Production.url();
/// Let's Encrypt for trying things out: nobody trusts its certificates, and its limits are wide.
pub const LETS_ENCRYPT_STAGING: &str = LetsEncrypt::Staging.url();

/// CAs hand their keys out in base64url (RFC 8555 §7.3.4), some with the padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is to be obtained, and from whom. Whoever makes one has the operator's consent to the CA's
/// terms of service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// DNS names in lower case; each gets a certificate of its own, and nothing else is ever ordered
    /// (A-150).
    pub hosts: Vec<String>,
    /// Where the CA may write to.
    pub email: Option<String>,
    /// https, or http on this machine.
    pub directory_url: Url,
    /// Where an order is tried first once one has failed, so that what is wrong here does not use up
    /// the limits of `directory_url` (A-146).
    pub rehearsal_url: Option<Url>,
    /// What kind of certificate, by a name of the CA's (`shortlived`).
    pub profile: Option<String>,
    /// The account with the CA that ours is to belong to (RFC 8555 §7.3.4).
    pub eab: Option<Eab>,
}

impl Settings {
    /// For these hosts, from this CA, with nothing special. Orders at Let's Encrypt are rehearsed
    /// with its staging environment.
    pub fn new(hosts: Vec<String>, directory_url: Url) -> Self {
        let rehearsal_url = (directory_url.as_str() == LETS_ENCRYPT)
            .then(|| Url::parse(LETS_ENCRYPT_STAGING).ok())
            .flatten();
        Self {
            hosts,
            email: None,
            directory_url,
            rehearsal_url,
            profile: None,
            eab: None,
        }
    }
}

/// External account binding: a key that the CA gave out.
#[derive(Clone)]
pub struct Eab {
    kid: String,
    hmac_key: SecretSlice<u8>,
}

/// The text is not base64url.
#[derive(Debug, thiserror::Error)]
#[error("the key is not base64url, the form in which CAs give it out")]
pub struct NotBase64Url;

impl Eab {
    /// From what the CA gave out: an identifier, and a key in base64url.
    pub fn parse(kid: String, hmac_key: &SecretString) -> Result<Self, NotBase64Url> {
        let text = hmac_key.expose_secret().trim();
        let key = BASE64URL.decode(text).map_err(|_| NotBase64Url)?;
        if key.is_empty() {
            return Err(NotBase64Url);
        }
        Ok(Self {
            kid,
            hmac_key: key.into(),
        })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn key(&self) -> ExternalAccountKey {
        ExternalAccountKey::new(self.kid.clone(), self.hmac_key.expose_secret())
    }
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eab")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lets_encrypts_own_orders_are_rehearsed() {
        let rehearsal = |url: &str| {
            let settings = Settings::new(Vec::new(), Url::parse(url).unwrap());
            settings.rehearsal_url.map(String::from)
        };
        let staging = Some(LETS_ENCRYPT_STAGING.to_owned());
        assert_eq!(rehearsal(LETS_ENCRYPT), staging);
        assert_eq!(rehearsal(LETS_ENCRYPT_STAGING), None);
        assert_eq!(rehearsal("https://ca.test/directory"), None);
    }

    #[test]
    fn a_key_of_the_cas_is_read_with_and_without_padding_and_never_shown() {
        for text in ["c2VjcmV0IQ", "c2VjcmV0IQ==", " c2VjcmV0IQ\n"] {
            let eab = Eab::parse("kid".into(), &text.into()).unwrap();
            assert_eq!(eab.hmac_key.expose_secret(), b"secret!");
            assert_eq!(format!("{eab:?}"), r#"Eab { kid: "kid", .. }"#);
        }
        for text in ["", "c2Vj cmV0", "c2VjcmV0+/"] {
            assert!(Eab::parse("kid".into(), &text.into()).is_err(), "{text}");
        }
    }
}
