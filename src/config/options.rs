//! The one table of options. The command line, the `MCP_GUARD_*` variables, the keys of the
//! configuration file, the names in the systemd credentials directory, `--help` and the listing of
//! `check` all come out of it, so that no option can exist in one place and be missing in another.
//!
//! | in the table | flag | variable | file key |
//! |---|---|---|---|
//! | `max-children` | `--max-children` | `MCP_GUARD_MAX_CHILDREN` | `max-children` |
//! | `password` (a secret) | `--password`, `--password-file` | `MCP_GUARD_PASSWORD`, `…_FILE` | `password`, `password-file` |

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// As in its flag, without the dashes.
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
    pub help: &'static str,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `true`/`false` behind `=`.
    Switch,
    /// One value; the text stands for it in `--help`.
    One(&'static str),
    /// One of these words, divided by `|`.
    Choice(&'static str),
    /// Comma-separated or repeated.
    List(&'static str),
    /// Repeated only, because commas belong to the value.
    Repeated(&'static str),
    /// One value that must not be seen: hidden wherever it would show. `file` is the name of its
    /// `-file` form.
    Secret {
        value: &'static str,
        file: &'static str,
    },
}

/// What an option is when nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This text, parsed as if it had been given.
    Value(&'static str),
    /// Found from other options; the text is for people.
    Derived(&'static str),
    /// Nothing.
    None,
}

/// Options that stand together in `--help`.
#[derive(Debug)]
pub struct Group {
    pub title: &'static str,
    pub options: &'static [Opt],
}

/// Whether a name means the option, or the `-file` form of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Itself,
    File,
}

const fn opt(name: &'static str, kind: Kind, help: &'static str) -> Opt {
    Opt {
        name,
        kind,
        default: Default::None,
        help,
    }
}

const fn secret(value: &'static str, file: &'static str) -> Kind {
    Kind::Secret { value, file }
}

impl Opt {
    const fn or(self, value: &'static str) -> Self {
        Self {
            default: Default::Value(value),
            ..self
        }
    }

    const fn or_derived(self, text: &'static str) -> Self {
        Self {
            default: Default::Derived(text),
            ..self
        }
    }

    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }

    /// The name of one of its forms: `password` or `password-file`.
    pub fn name_of(&self, form: Form) -> &'static str {
        match (form, self.kind) {
            (Form::File, Kind::Secret { file, .. }) => file,
            _ => self.name,
        }
    }

    /// The variable of one of its forms.
    pub fn variable(&self, form: Form) -> String {
        let name = self.name_of(form).to_uppercase().replace('-', "_");
        format!("{VARIABLE_PREFIX}{name}")
    }

    /// The forms it has.
    pub fn forms(&self) -> &'static [Form] {
        if self.is_secret() {
            &[Form::Itself, Form::File]
        } else {
            &[Form::Itself]
        }
    }
}

/// What every variable of ours starts with.
pub const VARIABLE_PREFIX: &str = "MCP_GUARD_";

/// Every option, in the order of `--help`.
pub const GROUPS: &[Group] = &[
    Group {
        title: "Where it listens",
        options: LISTENING,
    },
    Group {
        title: "Who may sign in",
        options: SIGN_IN,
    },
    Group {
        title: "Tokens and clients",
        options: TOKENS,
    },
    Group {
        title: "The wrapped server",
        options: SERVER,
    },
    Group {
        title: "State and observation",
        options: STATE,
    },
];

const LISTENING: &[Opt] = &[
    opt(
        "external-url",
        Kind::One("URL"),
        "The address that clients use, with a path prefix if there is one; required",
    ),
    opt(
        "listen",
        Kind::List("ADDRESS"),
        "Where to listen for plain HTTP: IP:PORT or unix:PATH",
    )
    .or_derived("loopback http: its port on loopback; behind a TLS proxy: 127.0.0.1:8080"),
    opt(
        "no-auto-tls",
        Kind::Switch,
        "TLS ends in front of the guard",
    )
    .or("false"),
    opt(
        "insecure-http",
        Kind::Switch,
        "Allow an http URL that is not loopback: passwords and tokens cross the network in the clear",
    )
    .or("false"),
    opt(
        "trusted-proxies",
        Kind::List("CIDR"),
        "Proxies whose X-Forwarded-For, or for= in Forwarded, tells the client's address, and no more",
    ),
    opt(
        "allowed-origins",
        Kind::List("ORIGIN"),
        "Further browser origins that may call the MCP endpoint",
    )
    .or_derived("own origin"),
    opt(
        "max-body-size",
        Kind::One("SIZE"),
        "Largest request body",
    )
    .or("4MiB"),
    opt(
        "max-connections",
        Kind::One("COUNT"),
        "Most connections at a time",
    )
    .or("10000"),
    opt(
        "max-connections-per-address",
        Kind::One("COUNT"),
        "Most connections from one address (IPv6: one /64)",
    )
    .or("2000"),
    opt(
        "max-streams-per-user",
        Kind::One("COUNT"),
        "Most open event streams of one user",
    )
    .or("16"),
    opt(
        "shutdown-grace",
        Kind::One("DURATION"),
        "How long a stop waits for what is under way",
    )
    .or("30s"),
];

const SIGN_IN: &[Opt] = &[
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
];

const TOKENS: &[Opt] = &[
    opt(
        "access-token-ttl",
        Kind::One("DURATION"),
        "Life of an access token",
    )
    .or("1h"),
    opt(
        "refresh-token-ttl",
        Kind::One("DURATION"),
        "Life of a refresh token that is not used",
    )
    .or("30d"),
    opt(
        "grant-ttl",
        Kind::One("DURATION"),
        "After this long a person signs in again, whatever was used",
    )
    .or("90d"),
    opt(
        "refresh-grace",
        Kind::One("DURATION"),
        "How long a replaced refresh token still yields the pair that replaced it, 0 to 600s",
    )
    .or("120s"),
    opt(
        "code-ttl",
        Kind::One("DURATION"),
        "Life of an authorization code, at most 10m",
    )
    .or("60s"),
    opt(
        "registration",
        Kind::Choice("open|token|off"),
        "Who may register a client (RFC 7591)",
    )
    .or("open"),
    opt(
        "registration-token",
        secret("TOKEN", "registration-token-file"),
        "What a client shows to register when --registration is `token`",
    ),
    opt(
        "allowed-redirect-uris",
        Kind::List("GLOB"),
        "Only these redirect URIs; `*` does not cross `/`",
    )
    .or_derived("any that the rules permit"),
];

const SERVER: &[Opt] = &[
    opt(
        "isolation",
        Kind::Choice("auto|session|user|shared"),
        "Which callers may share a server process; `auto` is one for each session",
    )
    .or("auto"),
    opt(
        "max-children",
        Kind::One("COUNT"),
        "Most server processes at a time",
    )
    .or("32"),
    opt(
        "max-children-per-user",
        Kind::One("COUNT"),
        "Most server processes of one user",
    )
    .or("4"),
    opt(
        "session-idle-timeout",
        Kind::One("DURATION"),
        "A session without traffic ends after this long",
    )
    .or("30m"),
    opt(
        "start-timeout",
        Kind::One("DURATION"),
        "How long the server may take to start",
    )
    .or("60s"),
    opt(
        "request-timeout",
        Kind::One("DURATION"),
        "How long a request may go without answer or progress",
    )
    .or("300s"),
    opt(
        "env",
        Kind::Repeated("NAME=VALUE"),
        "Set for the server; may use {user.subject}, {user.login}, {user.email}. Repeat for more; \
         one a line in the variable",
    ),
    opt(
        "clean-env",
        Kind::Switch,
        "Start the server with a minimal environment",
    )
    .or("false"),
    opt(
        "pass-env",
        Kind::List("NAME"),
        "Variables that reach the server in spite of --clean-env",
    ),
    opt("working-dir", Kind::One("PATH"), "Where the server runs")
        .or_derived("where the guard runs"),
    opt(
        "child-stderr",
        Kind::Choice("log|inherit|drop"),
        "What becomes of the server's stderr",
    )
    .or("log"),
    opt(
        "http-streaming-only",
        Kind::Switch,
        "No listening streams, and no HTTP+SSE for old clients",
    )
    .or("false"),
];

const STATE: &[Opt] = &[
    opt(
        "data-path",
        Kind::One("PATH"),
        "Directory of the guard's state, for its user alone",
    )
    .or_derived("$STATE_DIRECTORY, else mcp-guard/<host> in the user's state directory"),
    opt(
        "store",
        Kind::One("STORE"),
        "`sqlite:` in the data path, or `memory:` (all sign-ins end with the process)",
    )
    .or("sqlite:"),
    opt(
        "log-level",
        Kind::Choice("error|warn|info|debug|trace"),
        "How much to log",
    )
    .or("info"),
    opt(
        "log-format",
        Kind::Choice("auto|text|json"),
        "`auto` is text on a terminal, else json",
    )
    .or("auto"),
    opt(
        "config",
        Kind::One("FILE"),
        "TOML file with flags' names as keys, and `command`",
    ),
];

/// Every option.
pub fn all() -> impl Iterator<Item = &'static Opt> {
    GROUPS.iter().flat_map(|group| group.options)
}

/// The option of that name. `None` only for a name that is not in the table.
pub fn find(name: &str) -> Option<&'static Opt> {
    all().find(|option| option.name == name)
}

/// The option that a flag's or key's name means, and in which form.
pub fn lookup(name: &str) -> Option<(&'static Opt, Form)> {
    forms().find(|(option, form)| option.name_of(*form) == name)
}

/// The option that a variable means, and in which form.
pub fn lookup_variable(name: &str) -> Option<(&'static Opt, Form)> {
    forms().find(|(option, form)| option.variable(*form) == name)
}

/// Every option in every form.
pub fn forms() -> impl Iterator<Item = (&'static Opt, Form)> {
    all().flat_map(|option| option.forms().iter().map(move |form| (option, *form)))
}

/// The candidate nearest to a misspelt name, if one is near enough to have been meant.
pub fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, &candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(2))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_means_two_things() {
        let mut seen = HashSet::new();
        for (option, form) in forms() {
            assert!(seen.insert(option.name_of(form)), "{}", option.name);
        }
    }

    #[test]
    fn a_file_form_is_the_name_with_file_behind_it() {
        for option in all().filter(|option| option.is_secret()) {
            let file = option.name_of(Form::File);
            assert_eq!(file, format!("{}-file", option.name));
        }
    }

    #[test]
    fn only_secrets_have_a_file_form() {
        assert_eq!(lookup("password-file").unwrap().1, Form::File);
        assert!(lookup("listen-file").is_none());
        // An option of its own that happens to end like one.
        assert_eq!(lookup("users-file").unwrap().1, Form::Itself);
    }

    #[test]
    fn variables_are_the_flags_in_upper_snake() {
        let (option, form) = lookup_variable("MCP_GUARD_REGISTRATION_TOKEN_FILE").unwrap();
        assert_eq!((option.name, form), ("registration-token", Form::File));
        assert!(lookup_variable("MCP_GUARD_listen").is_none());
    }

    #[test]
    fn a_choice_defaults_to_one_of_its_words() {
        for option in all() {
            if let (Kind::Choice(words), Default::Value(text)) = (option.kind, option.default) {
                assert!(words.split('|').any(|word| word == text), "{}", option.name);
            }
        }
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_far_one_is_not() {
        let names = || forms().map(|(option, form)| option.name_of(form).to_owned());
        assert_eq!(nearest("lisen", names()).as_deref(), Some("listen"));
        assert_eq!(
            nearest("max_children", names()).as_deref(),
            Some("max-children")
        );
        assert_eq!(nearest("tls-accept-tos", names()), None);
    }
}
