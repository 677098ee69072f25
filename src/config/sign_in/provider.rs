//! What the options of all identity providers have in common: they are given as a whole or not at
//! all, and say who may come in.

use crate::config::{ConfigError, RawConfig, options};
use crate::http::ExternalUrl;
use crate::identity::ProviderKind;

/// An identity provider's options.
pub(super) struct Provider {
    pub(super) kind: ProviderKind,
    /// For people.
    pub(super) name: &'static str,
    /// What all its options begin with.
    pub(super) prefix: &'static str,
    /// Options without which none of the others means anything.
    pub(super) needs: &'static [&'static str],
    /// Options of which any says who may come in.
    pub(super) rules: &'static [&'static str],
}

impl Provider {
    /// Whether it is set up: whole, or not at all. A secret that nobody uses and an allow-list that
    /// guards nothing were meant to do something.
    pub(super) fn is_set_up(
        &self,
        raw: &RawConfig,
        external_url: &ExternalUrl,
    ) -> Result<bool, ConfigError> {
        let given = options::all()
            .filter(|option| option.name.starts_with(self.prefix))
            .find_map(|option| raw.setting(option.name));
        let Some(given) = given else {
            return Ok(false);
        };
        let is_missing = |name: &&&str| raw.setting(name).is_none();
        match self.needs.iter().find(is_missing) {
            None => Ok(true),
            Some(missing) => Err(ConfigError::refused(format!(
                "{given} is given, but --{missing} is missing"
            ))
            .hint(self.how(external_url))),
        }
    }

    fn how(&self, external_url: &ExternalUrl) -> String {
        let callback = external_url.join(&format!("/.auth/{}/callback", self.kind.name()));
        format!(
            "register the guard at {} with the callback URL {callback}, and give {}",
            self.name,
            flags(self.needs, "and")
        )
    }

    /// Whether whoever has an account may come in, which must be said in so many words.
    pub(super) fn admits_anybody(&self, raw: &RawConfig) -> Result<bool, ConfigError> {
        if self.rules.iter().any(|rule| raw.setting(rule).is_some()) {
            return Ok(false);
        }
        if raw.is_on("allow-any-user")? {
            return Ok(true);
        }
        Err(ConfigError::refused(format!(
            "anybody with an account at {} could sign in",
            self.name
        ))
        .hint(format!(
            "say who may: {}; --allow-any-user if you mean it",
            flags(self.rules, "or")
        )))
    }
}

/// `--a, --b or --c`.
fn flags(names: &[&str], last: &str) -> String {
    let flags: Vec<_> = names.iter().map(|name| format!("--{name}")).collect();
    match flags.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, before)) => format!("{} {last} {end}", before.join(", ")),
        None => String::new(),
    }
}
