use super::*;
use crate::config::Config;
use crate::identity::access::{OrgRule, UserGlob, UserId, Workspace};

type Pairs<'a> = &'a [(&'static str, &'static str)];

const GITHUB: [(&str, &str); 2] = [
    ("github-client-id", "gh-id"),
    ("github-client-secret", "canary-gh"),
];
const GOOGLE: [(&str, &str); 2] = [
    ("google-client-id", "go-id"),
    ("google-client-secret", "canary-go"),
];
const OIDC: [(&str, &str); 2] = [
    ("oidc-configuration-url", "https://id.example.com/realm"),
    ("oidc-client-id", "oi-id"),
];
const ANY: (&str, &str) = ("allow-any-user", "true");

/// With a server that nobody is named to.
fn resolve(sets: &[Pairs<'_>]) -> Result<Config, ConfigError> {
    let base = [
        ("external-url", "http://localhost:8080"),
        ("store", "memory:"),
    ];
    let pairs = base.iter().chain(sets.iter().copied().flatten()).copied();
    Config::resolve(&RawConfig::from_pairs(pairs, ["sh"])?)
}

fn refused(sets: &[Pairs<'_>]) -> (String, String) {
    let Err(error) = resolve(sets) else {
        panic!("not refused: {sets:?}");
    };
    assert_eq!(error.exit_code(), 78);
    let said = (
        error.to_string(),
        error.hint_text().unwrap_or_default().to_owned(),
    );
    assert!(!said.1.is_empty(), "{}", said.0);
    assert!(
        !format!("{} {}", said.0, said.1).contains("canary"),
        "{said:?}"
    );
    said
}

#[test]
fn a159_nobody_who_may_sign_in_is_refused() {
    let (said, hint) = refused(&[]);
    assert_eq!(said, "nobody may sign in");
    for way in [
        "--password-file",
        "--users-file",
        "--github-client-id",
        "--google-client-id",
        "--oidc-configuration-url",
    ] {
        assert!(hint.contains(way), "{hint}");
    }
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path: &'static str = empty.path().to_str().unwrap().to_owned().leak();
    let (said, _) = refused(&[&[("users-file", path)]]);
    assert_eq!(said, "nobody may sign in");
}

#[test]
fn a_provider_alone_suffices() {
    let config = resolve(&[&GITHUB, &[("github-allowed-users", "octocat")]]).unwrap();
    assert!(config.identity.local.is_empty());
    assert_eq!(config.welcome, ["GitHub: octocat"]);
    assert!(config.open_to_anybody.is_empty());
}

#[test]
fn half_a_provider_is_refused_and_says_what_to_add() {
    for (pairs, given, missing) in [
        (
            &[GITHUB[0]][..],
            "--github-client-id",
            "--github-client-secret",
        ),
        (&[GITHUB[1]], "--github-client-secret", "--github-client-id"),
        (
            &[("github-allowed-orgs", "acme")],
            "--github-allowed-orgs",
            "--github-client-id",
        ),
        (
            &[("github-url", "https://ghe.example.com")],
            "--github-url",
            "--github-client-id",
        ),
        (&[GOOGLE[0]], "--google-client-id", "--google-client-secret"),
        (&[GOOGLE[1]], "--google-client-secret", "--google-client-id"),
        (
            &[("google-allowed-users", "a@example.com")],
            "--google-allowed-users",
            "--google-client-id",
        ),
        (&[OIDC[0]], "--oidc-configuration-url", "--oidc-client-id"),
        (&[OIDC[1]], "--oidc-client-id", "--oidc-configuration-url"),
        (
            &[("oidc-client-secret", "canary")],
            "--oidc-client-secret",
            "--oidc-configuration-url",
        ),
        (
            &[("oidc-scopes", "openid")],
            "--oidc-scopes",
            "--oidc-configuration-url",
        ),
    ] {
        let (said, hint) = refused(&[&[("password", "x")], pairs]);
        assert_eq!(said, format!("{given} is given, but {missing} is missing"));
        assert!(hint.contains("http://localhost:8080/.auth/"), "{hint}");
        assert!(hint.contains(missing), "{hint}");
    }
}

#[test]
fn a158_a_provider_without_allow_list_is_refused_and_names_its_lists() {
    for (pairs, list) in [
        (&GITHUB, "--github-allowed-users or --github-allowed-orgs"),
        (
            &GOOGLE,
            "--google-allowed-users or --google-allowed-workspaces",
        ),
        (
            &OIDC,
            "--oidc-allowed-users, --oidc-allowed-users-glob or --oidc-allowed-claims",
        ),
    ] {
        let (said, hint) = refused(&[pairs, &[("password", "x")]]);
        assert!(said.starts_with("anybody with an account at "), "{said}");
        assert!(
            hint.contains(list) && hint.contains("--allow-any-user"),
            "{hint}"
        );
        let config = resolve(&[pairs, &[ANY]]).unwrap();
        assert_eq!(config.open_to_anybody.len(), 1);
        let warned = |text: &String| text.starts_with("--allow-any-user: anybody");
        assert!(config.warnings.iter().any(warned), "{:?}", config.warnings);
        let (said, _) = refused(&[pairs, &[("allow-any-user", "false")]]);
        assert!(said.starts_with("anybody "), "{said}");
    }
}

#[test]
fn a158_to_let_anybody_in_counts_only_where_there_is_no_list() {
    let config = resolve(&[&GITHUB, &[("github-allowed-users", "octocat")], &[ANY]]).unwrap();
    let github = config.identity.github.unwrap();
    assert!(!github.rules.anybody && config.open_to_anybody.is_empty());
    let in_vain = |text: &String| text.contains("has no effect");
    assert!(config.warnings.iter().any(in_vain));
    let both = [("google-allowed-users", "a@example.com")];
    let config = resolve(&[&GITHUB, &GOOGLE, &both, &[ANY]]).unwrap();
    assert_eq!(config.open_to_anybody, ["GitHub"]);
    assert!(!config.identity.google.unwrap().rules.anybody);
}

#[test]
fn a158_rules_that_mean_nobody_or_everybody_are_refused() {
    for (provider, name, value) in [
        (&GITHUB, "github-allowed-users", "*"),
        (&GITHUB, "github-allowed-users", "a@example.com"),
        (&GITHUB, "github-allowed-users", "a,,b"),
        (&GITHUB, "github-allowed-orgs", "*"),
        (&GITHUB, "github-allowed-orgs", "acme:"),
        (&GITHUB, "github-allowed-orgs", "acme:a:b"),
        (&GOOGLE, "google-allowed-users", "anna"),
        (&GOOGLE, "google-allowed-users", "@"),
        (&GOOGLE, "google-allowed-users", "*@example.com"),
        (&GOOGLE, "google-allowed-workspaces", "@example.com"),
        (&GOOGLE, "google-allowed-workspaces", "*"),
        (&OIDC, "oidc-allowed-users", "@"),
        (&OIDC, "oidc-allowed-users-glob", "*"),
        (&OIDC, "oidc-allowed-users-glob", "*@*"),
        (&OIDC, "oidc-allowed-users-glob", "@"),
        (&OIDC, "oidc-allowed-claims", "admin"),
        (&OIDC, "oidc-allowed-claims", "/groups="),
        (&OIDC, "oidc-allowed-claims", "groups=admin"),
    ] {
        let (said, _) = refused(&[provider, &[(name, value)]]);
        assert!(said.starts_with(&format!("--{name} ")), "{value}: {said}");
    }
    for (provider, name) in [
        (&GITHUB, "github-allowed-users"),
        (&GOOGLE, "google-allowed-workspaces"),
        (&OIDC, "oidc-allowed-users"),
        (&OIDC, "oidc-allowed-claims"),
    ] {
        assert!(resolve(&[provider, &[(name, "")]]).is_err(), "{name}");
    }
}

#[test]
fn secrets_are_sent_to_https_or_loopback_only() {
    for (provider, name) in [
        (&GITHUB, "github-url"),
        (&GITHUB, "github-api-url"),
        (&GOOGLE, "google-issuer"),
        (&OIDC, "oidc-configuration-url"),
    ] {
        let rest: Vec<_> = provider
            .iter()
            .copied()
            .filter(|(other, _)| *other != name)
            .collect();
        for value in ["http://id.example.com", "id.example.com", "ftp://x"] {
            let (said, _) = refused(&[&rest, &[ANY, (name, value)]]);
            assert!(said.starts_with(&format!("--{name} ")), "{said}");
        }
        let hidden = [ANY, (name, "https://user:canary@id.example.com")];
        refused(&[&rest, &hidden]);
        let local = [ANY, (name, "http://127.0.0.1:1")];
        assert!(resolve(&[&rest, &local]).is_ok(), "{name}");
    }
}

#[test]
fn the_defaults_of_github_are_github_and_its_api() {
    let github = |pairs: Pairs<'_>| {
        let config = resolve(&[&GITHUB, &[("github-allowed-orgs", "Acme:Platform")], pairs]);
        config.unwrap().identity.github.unwrap()
    };
    let settings = github(&[]);
    assert_eq!(settings.client_id, "gh-id");
    assert_eq!(settings.url.as_str(), "https://github.com/");
    assert_eq!(settings.api_url.as_str(), "https://api.github.com/");
    assert_eq!(
        settings.rules.orgs,
        [OrgRule::parse("acme:platform").unwrap()]
    );
    assert!(!settings.wants_email);
    let enterprise = github(&[("github-url", "https://ghe.example.com/")]);
    assert_eq!(
        enterprise.api_url.as_str(),
        "https://ghe.example.com/api/v3"
    );
    let other = github(&[("github-api-url", "https://api.example.com")]);
    assert_eq!(other.api_url.as_str(), "https://api.example.com/");
}

#[test]
fn e_mail_addresses_are_asked_for_only_where_something_uses_them() {
    let allowed = [("github-allowed-users", "octocat")];
    let wants = |pairs: Pairs<'_>| {
        let config = resolve(&[&GITHUB, &allowed, pairs]).unwrap();
        config.identity.github.unwrap().wants_email
    };
    assert!(wants(&[("env", "MAIL={user.email}")]));
    assert!(!wants(&[("env", "WHO={user.login}")]));
    let behind = |pairs: Pairs<'_>| {
        let base = [
            ("external-url", "http://localhost:8080"),
            ("store", "memory:"),
        ];
        let pairs = base.iter().chain(&GITHUB).chain(&allowed).chain(pairs);
        let raw = RawConfig::behind(pairs.copied(), "http://127.0.0.1:1").unwrap();
        let config = Config::resolve(&raw).unwrap();
        config.identity.github.unwrap().wants_email
    };
    let quiet = ("identity-headers", "false");
    assert!(behind(&[]));
    assert!(!behind(&[quiet]));
    assert!(behind(&[quiet, ("header-mapping", "/email:X-Mail")]));
}

#[test]
fn google_is_a_preset_with_workspaces() {
    let rules = [
        ("google-allowed-users", "Anna@Example.com"),
        ("google-allowed-workspaces", "example.org"),
    ];
    let google = resolve(&[&GOOGLE, &rules])
        .unwrap()
        .identity
        .google
        .unwrap();
    assert_eq!(google.name, "Google");
    assert_eq!(
        google.configuration_url.as_str(),
        "https://accounts.google.com/.well-known/openid-configuration"
    );
    assert_eq!(google.scopes, ["openid", "email", "profile"]);
    assert_eq!(google.rules.user_id_field, "/email");
    assert_eq!(
        google.rules.users,
        [UserId::parse("anna@example.com").unwrap()]
    );
    assert_eq!(
        google.rules.workspaces,
        [Workspace::parse("example.org").unwrap()]
    );
}

#[test]
fn any_issuer_is_found_by_its_address_or_its_document() {
    let document = "https://id.example.com/realm/.well-known/openid-configuration";
    for url in [
        document,
        "https://id.example.com/realm",
        "https://id.example.com/realm/",
    ] {
        let pairs = [("oidc-configuration-url", url), OIDC[1], ANY];
        let oidc = resolve(&[&pairs]).unwrap().identity.oidc.unwrap();
        assert_eq!(oidc.configuration_url.as_str(), document);
        assert_eq!(oidc.name, "id.example.com");
        assert!(oidc.client_secret.is_none() && oidc.rules.anybody);
        assert_eq!(oidc.scopes, ["openid", "profile", "email"]);
        assert_eq!(oidc.rules.user_id_field, "/email");
    }
}

#[test]
fn what_is_said_of_an_issuer_is_taken_over() {
    let pairs = [
        ("oidc-client-secret", "canary"),
        ("oidc-scopes", "groups,email"),
        ("oidc-provider-name", "Example"),
        ("oidc-user-id-field", "/preferred_username"),
        ("oidc-allowed-users", "anna,ben,anna"),
        ("oidc-allowed-users-glob", "*.admin"),
        ("oidc-allowed-claims", "/groups=admin+/dept=x,/groups=root"),
    ];
    let oidc = resolve(&[&OIDC, &pairs]).unwrap().identity.oidc.unwrap();
    assert!(oidc.client_secret.is_some());
    assert_eq!(oidc.scopes, ["openid", "groups", "email"]);
    assert_eq!(oidc.name, "Example");
    assert_eq!(oidc.rules.user_id_field, "/preferred_username");
    assert_eq!(oidc.rules.users.len(), 3);
    assert_eq!(oidc.rules.user_globs, [UserGlob::parse("*.admin").unwrap()]);
    let lengths: Vec<_> = oidc.rules.claims.iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 1]);
    assert!(oidc.kept_claims.is_empty());
    for (name, value) in [
        ("oidc-scopes", "openid email"),
        ("oidc-provider-name", "two\nlines"),
        ("oidc-user-id-field", "email"),
    ] {
        let (said, _) = refused(&[&OIDC, &[ANY, (name, value)]]);
        assert!(said.starts_with(&format!("--{name} ")), "{said}");
    }
}

#[test]
fn claims_that_a_server_is_told_are_kept() {
    let pairs = [
        ("external-url", "http://localhost:8080"),
        ("store", "memory:"),
        ANY,
        ("header-mapping", "/email:X-Mail,/groups:X-Groups"),
    ];
    let pairs = pairs.iter().chain(&OIDC).chain(&GOOGLE).copied();
    let raw = RawConfig::behind(pairs, "http://127.0.0.1:1").unwrap();
    let identity = Config::resolve(&raw).unwrap().identity;
    for issuer in [identity.google, identity.oidc] {
        assert_eq!(issuer.unwrap().kept_claims, ["/email", "/groups"]);
    }
}

#[test]
fn the_automatic_choice_of_a_provider_is_said_to_be_without_effect() {
    let pairs = [("password", "x"), ("no-provider-auto-select", "true")];
    let warnings = resolve(&[&pairs]).unwrap().warnings;
    assert!(warnings.contains(&AUTO_SELECT_IN_VAIN.to_owned()));
}
