//! Who may sign in. Where it let everybody in, so does the guard, but says so.

use super::{Draft, Value, claims};
use crate::config::ConfigError;

/// An identity provider there.
struct Provider {
    name: &'static str,
    prefix: &'static str,
    /// Without any of these it was not there.
    needs: &'static [&'static str],
    /// Of which any says who may come in.
    rules: &'static [&'static str],
}

const PROVIDERS: &[Provider] = &[
    Provider {
        name: "Google",
        prefix: "google-",
        needs: &["google-client-id", "google-client-secret"],
        rules: &["google-allowed-users", "google-allowed-workspaces"],
    },
    Provider {
        name: "GitHub",
        prefix: "github-",
        needs: &["github-client-id", "github-client-secret"],
        rules: &["github-allowed-users", "github-allowed-orgs"],
    },
    Provider {
        name: "the OIDC issuer",
        prefix: "oidc-",
        needs: &[
            "oidc-configuration-url",
            "oidc-client-id",
            "oidc-client-secret",
        ],
        rules: claims::RULES,
    },
];

pub(super) fn carry(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let mut ways = usize::from(password(draft)?);
    for provider in PROVIDERS {
        ways += usize::from(provider.carry(draft)?);
    }
    if ways == 0 {
        return Err(ConfigError::refused(
            "nobody could sign in: there is no password and no provider",
        )
        .hint(
            "if they are in variables, set these for this command, too: \
                 `set -a; . ./.env; mcp-guard migrate …`",
        ));
    }
    Ok(())
}

/// There both would do; here there is one.
fn password(draft: &mut Draft<'_>) -> Result<bool, ConfigError> {
    let has = |name| draft.asked.get(name).is_some();
    let (password, hash) = (has("password"), has("password-hash"));
    if password && hash {
        draft.leave_out(
            &["password"],
            "the one of --password-hash stays; for both, make two users of them (--users-file)",
        );
    } else {
        draft.keep("password")?;
    }
    draft.keep("password-hash")?;
    Ok(password || hash)
}

impl Provider {
    /// Whether it is there.
    fn carry(&self, draft: &mut Draft<'_>) -> Result<bool, ConfigError> {
        let asked = draft.asked;
        if self.needs.iter().any(|name| asked.get(name).is_none()) {
            self.leave_out(draft);
            return Ok(false);
        }
        draft.note(format!(
            "{} keeps its callback URL: {}",
            self.name,
            draft.url.join(&format!(
                "/.auth/{}/callback",
                self.prefix.trim_end_matches('-')
            ))
        ));
        let is_restricted = if self.prefix == "oidc-" {
            claims::carry(draft)?
        } else {
            self.rules.iter().any(|name| asked.get(name).is_some())
        };
        if !is_restricted {
            self.open(draft);
        }
        Ok(true)
    }

    fn leave_out(&self, draft: &mut Draft<'_>) {
        let ours = draft.asked.all().map(|stated| stated.flag.name);
        let ours: Vec<_> = ours.filter(|name| name.starts_with(self.prefix)).collect();
        let needs: Vec<_> = self.needs.iter().map(|name| format!("--{name}")).collect();
        draft.leave_out(
            &ours,
            &format!(
                "{} was not there without {}",
                self.name,
                needs.join(" and ")
            ),
        );
    }

    fn open(&self, draft: &mut Draft<'_>) {
        let is_set = |name| draft.settings.iter().any(|it| it.option.name == name);
        if !is_set("allow-any-user") {
            draft.set("allow-any-user", Value::On);
        }
        let rules: Vec<_> = self.rules.iter().map(|name| format!("--{name}")).collect();
        draft.warn(format!(
            "--allow-any-user is there because anybody with an account at {} could come in; \
             better say who may, as with {}",
            self.name,
            rules.first().map_or("", String::as_str)
        ));
    }
}
