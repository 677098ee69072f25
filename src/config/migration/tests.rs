use super::*;
use crate::config::options::Kind;

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn migrate_with(arguments: &str, variables: Pairs<'_>) -> Result<Migration, ConfigError> {
    let arguments = arguments.split_whitespace().map(OsString::from).collect();
    let mut variables = variables.to_vec();
    variables.push(("HOME", "/home/a"));
    migrate(arguments, &Surroundings::fake(&variables, &[]))
}

/// In front of a server, with a password, behind a proxy.
fn with(arguments: &str) -> Result<Migration, ConfigError> {
    let base = "-e https://mcp.example.com --no-auto-tls";
    let password = [("PASSWORD", "correct horse battery")];
    migrate_with(&format!("{base} {arguments} -- cat"), &password)
}

fn refused(migration: Result<Migration, ConfigError>) -> String {
    let error = migration.unwrap_err();
    assert_eq!(error.exit_code(), 78, "{error}");
    let hint = error.hint_text().unwrap();
    assert!(!hint.is_empty(), "{error}");
    format!("{error} {hint}")
}

/// The text of an option, as a flag would have it.
fn value(migration: &Migration, name: &str) -> Option<String> {
    let carried = migration
        .settings
        .iter()
        .find(|it| it.option.name == name)?;
    Some(match &carried.value {
        Value::On => "true".to_owned(),
        Value::Text(text) => text.clone(),
        Value::List(elements) => elements.join(","),
        Value::Secret { variable, .. } => (*variable).to_owned(),
    })
}

fn says(texts: &[String], part: &str) -> bool {
    texts.iter().any(|text| text.contains(part))
}

#[test]
fn every_flag_is_carried_or_spoken_of() {
    for flag in FLAGS.iter().filter(|flag| flag.becomes != Becomes::Server) {
        let text = match (flag.name, flag.shape) {
            (_, Shape::Switch) => "true",
            ("external-url", _) => "https://mcp.example.com",
            ("listen" | "tls-listen", _) => ":8080",
            ("tls-host", _) => "other.example.com",
            ("tls-directory-url" | "oidc-configuration-url" | "github-url", _) => "https://a.test",
            ("oidc-allowed-users-glob", _) => "*@example.com",
            ("oidc-allowed-attributes", _) => "/groups=admin",
            ("oidc-allowed-attributes-glob", _) => "/email=*@example.com",
            ("header-mapping", _) => "/email:X-Email",
            ("header-mapping-base", _) => "/",
            ("MODE", _) => "debug",
            (_, Shape::Text | Shape::List | Shape::Secret) => "x",
        };
        let base = [
            ("EXTERNAL_URL", "https://a.test"),
            ("NO_AUTO_TLS", "1"),
            ("PASSWORD", "p"),
        ];
        let base = base.iter().filter(|(name, _)| *name != flag.variable);
        let mut variables: Vec<_> = base.copied().collect();
        variables.push((flag.variable, text));
        if flag.name.starts_with("tls-") {
            variables.retain(|(name, _)| *name != "NO_AUTO_TLS" && !name.ends_with("_FILE"));
            variables.extend([("TLS_ACCEPT_TOS", "1")]);
        }
        if flag.name.starts_with("tls-") && flag.name.ends_with("-file") {
            variables.extend([("TLS_CERT_FILE", "x"), ("TLS_KEY_FILE", "x")]);
        }
        if flag.name == "header-mapping-base" {
            variables.push(("HEADER_MAPPING", "/userinfo/email:X-Email"));
        }
        let migration = migrate_with("http://127.0.0.1:3000", &variables)
            .unwrap_or_else(|error| panic!("{}: {error}", flag.name));
        let name = match flag.becomes {
            Becomes::Option { name, .. } => name,
            _ => flag.name,
        };
        let is_carried = value(&migration, name).is_some();
        let is_noted = says(&migration.notes, flag.variable);
        assert!(
            is_carried || is_noted,
            "{}: {:?}",
            flag.name,
            migration.notes
        );
    }
}

#[test]
fn addresses_are_written_out() {
    for (theirs, ours) in [
        (":8080", "[::]:8080"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:80", "[::1]:80"),
        ("localhost:8080", "127.0.0.1:8080"),
    ] {
        let migration = with(&format!("--listen {theirs}")).unwrap();
        assert_eq!(value(&migration, "listen").unwrap(), ours);
    }
    for theirs in ["8080", "proxy:80", ":http", "[::1]", ":"] {
        assert!(refused(with(&format!("--listen {theirs}"))).contains("--listen"));
    }
}

#[test]
fn whoever_found_it_at_port_80_finds_the_guard_there() {
    for (url, listen) in [
        ("https://mcp.example.com --no-auto-tls", Some("[::]:80")),
        ("https://mcp.example.com --tls-accept-tos", None),
        ("https://localhost", Some("[::]:80")),
        ("http://localhost", None),
        ("http://localhost:8081", Some("[::]:80")),
        ("http://intranet", None),
    ] {
        let migration = migrate_with(&format!("-e {url} --password x -- cat"), &[]).unwrap();
        assert_eq!(value(&migration, "listen").as_deref(), listen, "{url}");
    }
}

#[test]
fn tls_is_on_where_it_was() {
    let accepted = |rest: &str| {
        let arguments = format!("-e https://mcp.example.com --password x {rest} -- cat");
        migrate_with(&arguments, &[])
    };
    let acme = accepted("--tls-accept-tos").unwrap();
    assert_eq!(value(&acme, "tls-accept-tos").unwrap(), "true");
    assert_eq!(value(&acme, "no-auto-tls"), None);
    let other = accepted("--tls-accept-tos --tls-host a.example.com").unwrap();
    assert_eq!(
        value(&other, "tls-host").unwrap(),
        "mcp.example.com,a.example.com"
    );
    let own =
        accepted("--tls-cert-file c --tls-key-file k --no-auto-tls --tls-accept-tos").unwrap();
    assert_eq!(value(&own, "tls-cert-file").unwrap(), "c");
    assert_eq!(value(&own, "no-auto-tls"), None);
    assert!(says(&own.notes, "--tls-accept-tos is left out"));
    let off = accepted("--no-auto-tls --tls-accept-tos --tls-listen :1").unwrap();
    assert_eq!(value(&off, "no-auto-tls").unwrap(), "true");
    assert!(says(
        &off.notes,
        "--tls-listen, --tls-accept-tos are left out"
    ));
    assert!(refused(accepted("")).contains("--tls-accept-tos"));
    assert!(refused(accepted("--tls-cert-file c")).contains("--tls-key-file"));
    let http = migrate_with(
        "-e http://a.test --tls-host a.test --tls-accept-tos -- cat",
        &[],
    );
    assert!(refused(http).contains("https"));
}

#[test]
fn a158_what_was_open_to_everybody_says_so() {
    let github = "--github-client-id i --github-client-secret s";
    let open = with(github).unwrap();
    assert_eq!(value(&open, "allow-any-user").unwrap(), "true");
    assert!(says(&open.warnings, "anybody with an account at GitHub"));
    let closed = with(&format!("{github} --github-allowed-users a,,b")).unwrap();
    assert_eq!(value(&closed, "allow-any-user"), None);
    assert_eq!(value(&closed, "github-allowed-users").unwrap(), "a,b");
    assert!(says(
        &closed.notes,
        "https://mcp.example.com/.auth/github/callback"
    ));
}

#[test]
fn a158_a_list_of_nothing_opens_nothing() {
    let oidc = "--oidc-configuration-url https://id.test --oidc-client-id i --oidc-client-secret s";
    for rule in [
        "--oidc-allowed-users ,",
        "--oidc-allowed-users-glob ,",
        "--oidc-allowed-attributes groups",
        "--oidc-allowed-attributes ,",
        "--oidc-allowed-attributes-glob /groups=",
        "--github-client-id i --github-client-secret s --github-allowed-orgs ,",
    ] {
        let text = refused(with(&format!("{oidc} {rule}")));
        assert!(text.contains("-allowed-"), "{rule}: {text}");
    }
}

#[test]
fn half_a_provider_is_left_out_as_it_was() {
    let migration = with("--google-client-id i --google-allowed-users a@b.test").unwrap();
    assert_eq!(value(&migration, "google-client-id"), None);
    assert!(says(
        &migration.notes,
        "--google-client-id, --google-allowed-users are left out"
    ));
    let alone = migrate_with(
        "-e https://a.test --no-auto-tls --google-client-id i -- cat",
        &[],
    );
    assert!(refused(alone).contains("nobody could sign in"));
}

#[test]
fn rules_on_claims_let_in_whom_they_let_in() {
    let oidc = "--oidc-configuration-url https://id.test --oidc-client-id i --oidc-client-secret s";
    let glob = "oidc-allowed-users-glob";
    for (rule, option, text) in [
        (
            "--oidc-allowed-users-glob *@a.test,*@b.test",
            glob,
            Some("*@a.test,*@b.test"),
        ),
        (
            "--oidc-allowed-attributes-glob /email=*@a.test",
            glob,
            Some("*@a.test"),
        ),
        ("--oidc-allowed-users-glob *", glob, None),
        (
            "--oidc-allowed-users-glob * --oidc-allowed-users a@b.test",
            "allow-any-user",
            Some("true"),
        ),
        (
            "--oidc-allowed-users-glob * --oidc-allowed-users a@b.test",
            "oidc-allowed-users",
            None,
        ),
        (
            "--oidc-allowed-attributes /groups=a,/groups=b",
            "oidc-allowed-claims",
            Some("/groups=a,/groups=b"),
        ),
        (
            "--oidc-allowed-attributes /g=x+/y=~",
            "oidc-allowed-claims",
            Some("/g=x+~1y=~0"),
        ),
        (
            "--oidc-allowed-attributes-glob /groups=a",
            "oidc-allowed-claims",
            Some("/groups=a"),
        ),
    ] {
        let migration = with(&format!("{oidc} {rule}")).unwrap();
        assert_eq!(value(&migration, option).as_deref(), text, "{rule}");
        assert!(
            !says(&migration.warnings, "would not start"),
            "{:?}",
            migration.warnings
        );
    }
    for rule in [
        "--oidc-allowed-attributes-glob /groups=*-admins",
        "--oidc-allowed-users-glob {a,b}@a.test",
        "--oidc-allowed-users-glob [ab]@a.test",
        "--oidc-allowed-users-glob a\\,b",
        "--oidc-allowed-attributes /a+/b=c",
    ] {
        refused(with(&format!("{oidc} {rule}")));
    }
}

#[test]
fn one_password_of_two_stays() {
    let hash = "$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
    let migration = with(&format!("--password-hash {hash}")).unwrap();
    assert_eq!(value(&migration, "password"), None);
    assert!(value(&migration, "password-hash").is_some());
    assert!(says(&migration.notes, "PASSWORD is left out"));
}

#[test]
fn a_server_behind_a_url_is_told_what_it_was_told() {
    let base = "-e https://mcp.example.com --no-auto-tls --password 123-correct-horse";
    let read = |rest: &str| migrate_with(&format!("{base} {rest}"), &[]).unwrap();
    let mapped = "--header-mapping /email:X-Email,/a:b:X-B";
    let whole = read(&format!("{mapped} http://127.0.0.1:3000"));
    assert_eq!(
        value(&whole, "header-mapping").unwrap(),
        "/email:X-Email,/a:b:X-B"
    );
    assert!(says(&whole.notes, "https://mcp.example.com/mcp"));
    let base = "--header-mapping-base / --header-mapping /userinfo/email:X-Email,/sub:X-Sub";
    let based = read(&format!("{base} http://127.0.0.1:3000/api/"));
    assert_eq!(value(&based, "header-mapping").unwrap(), "/email:X-Email");
    assert!(says(&based.notes, "X-Sub is told nothing"));
    assert!(says(&based.notes, "https://mcp.example.com/api,"));
    let command = with("--proxy-bearer-token t --header-mapping /email:X-Email").unwrap();
    assert_eq!(value(&command, "proxy-bearer-token"), None);
    assert!(says(
        &command.notes,
        "--proxy-bearer-token, --header-mapping are left out"
    ));
}

#[test]
fn the_state_is_never_where_its_was() {
    let default = with("").unwrap();
    assert_eq!(value(&default, "data-path"), None);
    let given = with("-d /data/").unwrap();
    assert_eq!(value(&given, "data-path").unwrap(), "/data/mcp-guard");
}

#[test]
fn what_the_guard_would_refuse_is_said() {
    let weak = migrate_with(
        "-e https://mcp.example.com --no-auto-tls --password changeme -- cat",
        &[],
    );
    let weak = weak.unwrap();
    assert!(
        says(&weak.warnings, "--password is too weak"),
        "{:?}",
        weak.warnings
    );
    let absent = with("").unwrap();
    assert!(!says(&absent.warnings, "would not start"));
    let absent = migrate_with("--password x -- no-such-program", &[]).unwrap();
    assert!(says(&absent.warnings, "command not found"));
}

#[test]
fn a154_no_secret_leaves_it() {
    let secret = "canary-horse-battery";
    let mut arguments = "-e https://mcp.example.com --no-auto-tls --oidc-configuration-url \
                         https://id.test --oidc-client-id i --github-client-id i --google-client-id i"
        .to_owned();
    for flag in FLAGS
        .iter()
        .filter(|flag| flag.is_flag && flag.shape == Shape::Secret)
    {
        let text = if flag.name == "proxy-headers" {
            "X-Key:canary"
        } else {
            secret
        };
        arguments.extend([" --", flag.name, " ", text]);
    }
    let migration = migrate_with(&format!("{arguments} http://127.0.0.1:3000"), &[]).unwrap();
    assert!(
        !format!("{migration:?}").contains("canary"),
        "{migration:?}"
    );
    for carried in &migration.settings {
        let is_hidden = carried.option.is_secret() || carried.option.shows_names_only;
        let is_secret = matches!(carried.value, Value::Secret { .. });
        assert_eq!(is_hidden, is_secret, "{}", carried.option.name);
        assert!(is_secret || !matches!(carried.option.kind, Kind::Secret { .. }));
    }
    for wrong in [
        "-e https://u:canary@a.test --password x -- cat",
        "-e canary --password x -- cat",
        "-e https://a.test --no-auto-tls --password x --github-url https://canary@b.test \
         --github-client-id i --github-client-secret s -- cat",
        "--password x http://u:canary@a.test",
        "--password x http://a.test/?key=canary",
        "--listen canary --password x -- cat",
    ] {
        let text = refused(migrate_with(wrong, &[]));
        assert!(!text.contains("canary"), "{text}");
    }
}
