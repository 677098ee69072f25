//! Who may sign in.

use super::{Kind, Opt, opt, secret};

pub(super) const OPTIONS: &[Opt] = &[
    opt(
        "password",
        secret("PASSWORD", "password-file"),
        "Password of the one local user `owner`",
    ),
    opt(
        "password-hash",
        secret("HASH", "password-hash-file"),
        "The same as an Argon2 or bcrypt hash (see `mcp-guard hash-password`)",
    ),
    opt(
        "users-file",
        Kind::One("PATH"),
        "Local users, one `name:hash` a line",
    ),
    opt(
        "github-client-id",
        Kind::One("ID"),
        "Sign in with GitHub: the OAuth app's client id",
    ),
    opt(
        "github-client-secret",
        secret("SECRET", "github-client-secret-file"),
        "The OAuth app's client secret",
    ),
    opt(
        "github-allowed-users",
        Kind::List("LOGIN"),
        "GitHub accounts that may come in",
    ),
    opt(
        "github-allowed-orgs",
        Kind::List("ORG[:TEAM]"),
        "GitHub organizations and teams whose members may come in",
    ),
    opt(
        "github-url",
        Kind::One("URL"),
        "GitHub, or an Enterprise Server",
    )
    .or("https://github.com"),
    opt("github-api-url", Kind::One("URL"), "Its REST API")
        .or_derived("https://api.github.com; of an Enterprise Server: /api/v3 below --github-url"),
    opt(
        "google-client-id",
        Kind::One("ID"),
        "Sign in with Google: the OAuth client's id",
    ),
    opt(
        "google-client-secret",
        secret("SECRET", "google-client-secret-file"),
        "The OAuth client's secret",
    ),
    opt(
        "google-allowed-users",
        Kind::List("EMAIL"),
        "Google accounts that may come in",
    ),
    opt(
        "google-allowed-workspaces",
        Kind::List("DOMAIN"),
        "Google Workspaces whose accounts may come in",
    ),
    opt("google-issuer", Kind::One("URL"), "Google's issuer").or("https://accounts.google.com"),
    opt(
        "oidc-configuration-url",
        Kind::One("URL"),
        "Sign in with any OIDC issuer: its discovery document, or the issuer",
    ),
    opt("oidc-client-id", Kind::One("ID"), "The client id there"),
    opt(
        "oidc-client-secret",
        secret("SECRET", "oidc-client-secret-file"),
        "The client secret there; public clients have none",
    ),
    opt(
        "oidc-scopes",
        Kind::List("SCOPE"),
        "What to ask the issuer for; openid always",
    )
    .or("openid,profile,email"),
    opt(
        "oidc-provider-name",
        Kind::One("NAME"),
        "The issuer's name for people",
    )
    .or_derived("its host"),
    opt(
        "oidc-user-id-field",
        Kind::One("POINTER"),
        "The claim, as a JSON pointer, that users are named by",
    )
    .or("/email"),
    opt(
        "oidc-allowed-users",
        Kind::List("USER"),
        "Accounts that may come in, by that claim",
    ),
    opt(
        "oidc-allowed-users-glob",
        Kind::List("GLOB"),
        "The same as patterns; `*` does not cross `@`",
    ),
    opt(
        "oidc-allowed-claims",
        Kind::List("POINTER=VALUE"),
        "Accounts with this claim may come in; `+` joins claims of which all are needed",
    ),
    opt(
        "allow-any-user",
        Kind::Switch,
        "Let in whoever has an account, where no option above says who may",
    )
    .or("false"),
    opt(
        "no-provider-auto-select",
        Kind::Switch,
        "Without effect: the consent page is always shown",
    )
    .or("false"),
];
