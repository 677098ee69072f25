//! Reading the configuration anew while the guard runs: the same arguments and variables, the files
//! as they are now.

use std::ffi::OsString;

use super::options::{self, GROUPS, SIGN_IN};
use super::{Config, ConfigError, Invocation, RawConfig, Surroundings, from_args};

/// Where the configuration is read.
pub struct Reader {
    arguments: Vec<OsString>,
    surroundings: Surroundings,
}

/// What was read anew. All of it is valid.
pub struct Reread {
    /// Of this, who may sign in can be taken over.
    pub config: Config,
    /// The rest of what is asked for now and was not at the start: `--listen`.
    pub needs_restart: Vec<String>,
}

impl Reader {
    /// `arguments` are without the program's name.
    pub fn new(arguments: impl IntoIterator<Item = OsString>, surroundings: Surroundings) -> Self {
        Self {
            arguments: arguments.into_iter().collect(),
            surroundings,
        }
    }

    /// What the command line asks for.
    pub fn read(&self) -> Result<Invocation, ConfigError> {
        from_args(self.arguments.iter().cloned(), self.surroundings.clone())
    }

    /// Judges everything anew, for a guard that was started with `started`.
    pub fn reread(&self, started: &RawConfig) -> Result<Reread, ConfigError> {
        let Invocation::Serve(raw) = self.read()? else {
            return Err(ConfigError::usage("the command line starts no guard"));
        };
        Ok(Reread {
            config: Config::resolve(&raw)?,
            needs_restart: changed_for_good(started, &raw),
        })
    }
}

/// What differs outside of the group that can be taken over.
fn changed_for_good(started: &RawConfig, now: &RawConfig) -> Vec<String> {
    let server = (started.server().map(|(server, _)| server)
        != now.server().map(|(server, _)| server))
    .then(|| "the server itself".to_owned());
    GROUPS
        .iter()
        .filter(|group| group.title != SIGN_IN)
        .flat_map(|group| group.options)
        .filter(|option| !now.agrees_on(option, started))
        .map(|option| format!("--{}", option.name_of(options::Form::Itself)))
        .chain(server)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::FileText;

    /// A reader of `g.toml`, and the text that it has.
    fn reader(text: &str) -> (Reader, Arc<Mutex<String>>) {
        let file = Arc::new(Mutex::new(text.to_owned()));
        let shown = Arc::clone(&file);
        let surroundings = Surroundings::new([], move |_| {
            Ok(FileText {
                text: shown.lock().unwrap().clone(),
                open_to_others: false,
            })
        });
        let arguments = ["--config", "g.toml", "--store", "memory:"];
        (
            Reader::new(arguments.map(OsString::from), surroundings),
            file,
        )
    }

    const BASE: &str = "external-url = 'http://localhost:1'\ncommand = ['sh']\n";

    fn reread(before: &str, after: &str) -> Result<Reread, ConfigError> {
        let (reader, file) = reader(&format!("{BASE}{before}"));
        let Ok(Invocation::Serve(started)) = reader.read() else {
            panic!("not to serve");
        };
        *file.lock().unwrap() = format!("{BASE}{after}");
        reader.reread(&started)
    }

    #[test]
    fn who_may_sign_in_needs_no_restart() {
        let reread = reread(
            "password = 'one'",
            "password = 'two'\nallow-any-user = true",
        )
        .unwrap();
        assert_eq!(reread.needs_restart, [""; 0]);
        assert_eq!(reread.config.identity.local.len(), 1);
    }

    #[test]
    fn what_needs_a_restart_is_named_and_secrets_are_compared_unseen() {
        let before = "password = 'x'\nmax-children = 3\nregistration = 'token'\n\
                      registration-token = 'canary-1'";
        let after = "password = 'x'\nclean-env = true\nregistration = 'token'\n\
                     registration-token = 'canary-2'";
        let named = reread(before, after).unwrap().needs_restart;
        assert_eq!(
            named,
            ["--registration-token", "--max-children", "--clean-env"]
        );
        assert_eq!(reread(before, before).unwrap().needs_restart, [""; 0]);
    }

    #[test]
    fn another_server_needs_a_restart() {
        let (reader, file) = reader(&format!("{BASE}password = 'x'"));
        let Ok(Invocation::Serve(started)) = reader.read() else {
            panic!("not to serve");
        };
        let text = "external-url = 'http://localhost:1'\nurl = 'http://a.test'\npassword = 'x'";
        *file.lock().unwrap() = text.to_owned();
        let reread = reader.reread(&started).unwrap();
        assert_eq!(reread.needs_restart, ["the server itself"]);
    }

    #[test]
    fn a_file_that_is_refused_is_refused_as_at_the_start() {
        for after in [
            "",
            "pasword = 'x'",
            "password = ''",
            "password = 'x'\nlisten = '1'",
        ] {
            assert!(reread("password = 'x'", after).is_err(), "{after}");
        }
    }
}
