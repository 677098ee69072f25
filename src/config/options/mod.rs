//! The one table of options. The command line, the `MCP_GUARD_*` variables, the keys of the
//! configuration file, the names in the systemd credentials directory, `--help` and the listing of
//! `check` all come out of it, so that no option can exist in one place and be missing in another.
//!
//! | in the table | flag | variable | file key |
//! |---|---|---|---|
//! | `max-children` | `--max-children` | `MCP_GUARD_MAX_CHILDREN` | `max-children` |
//! | `password` (a secret) | `--password`, `--password-file` | `MCP_GUARD_PASSWORD`, `…_FILE` | `password`, `password-file` |

mod listening;
mod server;
mod sign_in;
mod state;
mod tls;
mod tokens;

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// As in its flag, without the dashes.
    pub name: &'static str,
    pub kind: Kind,
    pub default: Default,
    /// Whether its values are pairs (`NAME=VALUE`, `NAME:VALUE`) of which only the names may be seen.
    pub shows_names_only: bool,
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
        shows_names_only: false,
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

    const fn names_only(self) -> Self {
        Self {
            shows_names_only: true,
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

/// The title of the group whose options can change while the guard runs.
pub const SIGN_IN: &str = "Who may sign in";

/// Every option, in the order of `--help`.
pub const GROUPS: &[Group] = &[
    Group {
        title: "Where it listens",
        options: listening::OPTIONS,
    },
    Group {
        title: "TLS",
        options: tls::OPTIONS,
    },
    Group {
        title: SIGN_IN,
        options: sign_in::OPTIONS,
    },
    Group {
        title: "Tokens and clients",
        options: tokens::OPTIONS,
    },
    Group {
        title: "The wrapped server",
        options: server::OPTIONS,
    },
    Group {
        title: "State and observation",
        options: state::OPTIONS,
    },
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
        .filter(|(distance, candidate)| *distance <= tolerance(candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// How many slips a name of that length may have: of a short one too little would be left.
fn tolerance(length: usize) -> usize {
    (length / 3).max(2).min(length / 2)
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
        assert_eq!(nearest("otlp-endpoint", names()), None);
    }
}
