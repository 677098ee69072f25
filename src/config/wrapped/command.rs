//! A server that is a command: its program, its environment, its limits.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{ConfigError, RawConfig, Setting, value};
use crate::upstream::{self, ChildStderr, Isolation, Settings};

/// How long a child has after its stdin closed, and again after SIGTERM; less if the whole stop has
/// less.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Where `execvp` looks when there is no `PATH`.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How to start the wrapped command.
pub(super) fn settings(
    raw: &RawConfig,
    command: &[OsString],
    shutdown_grace: Duration,
) -> Result<Settings, ConfigError> {
    let working_dir = working_dir(raw)?;
    let isolation = isolation(raw)?;
    Ok(Settings {
        command: found(raw, command, working_dir.as_ref())?,
        env: env(raw, isolation)?,
        clean_env: raw.is_on("clean-env")?,
        pass_env: pass_env(raw)?,
        stderr: raw.value("child-stderr", |text| match text {
            "log" => Ok(ChildStderr::Log),
            "inherit" => Ok(ChildStderr::Inherit),
            _ => Ok(ChildStderr::Drop),
        })?,
        isolation,
        working_dir,
        max_children: raw.value("max-children", value::count)?,
        max_children_per_user: raw.value("max-children-per-user", value::count)?,
        idle_timeout: raw.time("session-idle-timeout")?,
        stop_grace: STOP_GRACE.min(shutdown_grace / 2),
    })
}

/// The command, if there is such a program.
fn found(
    raw: &RawConfig,
    command: &[OsString],
    working_dir: Option<&PathBuf>,
) -> Result<Vec<OsString>, ConfigError> {
    let name = command.first().cloned().unwrap_or_default();
    let path = raw.surroundings().variable("PATH");
    let path = path.map_or_else(|| STANDARD_PATH.into(), OsStr::to_owned);
    let here = working_dir.cloned().unwrap_or_default();
    if upstream::find_program(&name, &path, &here).is_none() {
        let shown = name.to_string_lossy().escape_debug().to_string();
        let hint = if shown.contains('/') {
            "there is no executable file at this path"
        } else {
            "install it, or give its full path; it is looked up in PATH, and no shell is involved"
        };
        return Err(ConfigError::refused(format!("command not found: `{shown}`")).hint(hint));
    }
    Ok(command.to_vec())
}

fn working_dir(raw: &RawConfig) -> Result<Option<PathBuf>, ConfigError> {
    let Some(setting) = raw.setting("working-dir") else {
        return Ok(None);
    };
    let path = PathBuf::from(setting.text());
    if !path.is_dir() {
        return Err(setting.misread(setting.text(), "give the path of an existing directory"));
    }
    Ok(Some(path))
}

/// `auto` is `session` as long as all children are of the legacy era.
fn isolation(raw: &RawConfig) -> Result<Isolation, ConfigError> {
    raw.value("isolation", |text| match text {
        "user" => Ok(Isolation::User),
        "shared" => Ok(Isolation::Shared),
        _ => Ok(Isolation::Session),
    })
}

/// The values may be keys of the server's own, so errors name the variable and not its value.
fn env(raw: &RawConfig, isolation: Isolation) -> Result<Vec<(String, String)>, ConfigError> {
    let Some(setting) = raw.setting("env") else {
        return Ok(Vec::new());
    };
    setting
        .elements()
        .iter()
        .map(|text| {
            let (name, value) = value::assignment(text)
                .map_err(|hint| setting.refuse("has an element without a name", hint))?;
            refuse_ours(setting, &name)?;
            refuse_placeholders(setting, &name, &value, isolation)?;
            Ok((name, value))
        })
        .collect()
}

fn refuse_placeholders(
    setting: &Setting,
    name: &str,
    value: &str,
    isolation: Isolation,
) -> Result<(), ConfigError> {
    upstream::check_placeholders(value).map_err(|error| {
        let hint = error.to_string();
        setting.refuse(format_args!("{name} has an unknown placeholder"), hint)
    })?;
    if isolation == Isolation::Shared && upstream::uses_identity(value) {
        let what = format!("{name} names a user, but with --isolation shared all share one server");
        return Err(setting.refuse(what, "use --isolation user, or remove the placeholder"));
    }
    Ok(())
}

fn pass_env(raw: &RawConfig) -> Result<Vec<String>, ConfigError> {
    let names = raw.list("pass-env", value::variable_name)?;
    if let Some(setting) = raw.setting("pass-env") {
        for name in &names {
            refuse_ours(setting, name)?;
        }
    }
    Ok(names)
}

/// The guard's own variables never reach a child.
fn refuse_ours(setting: &Setting, name: &str) -> Result<(), ConfigError> {
    if upstream::is_ours(name.as_ref()) {
        let hint = "the guard's own variables never reach the server; remove it";
        return Err(setting.refuse(format_args!("cannot hold {}", name.escape_debug()), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        pairs: &[(&'static str, &'static str)],
        command: &[&'static str],
    ) -> Result<Settings, ConfigError> {
        let raw = RawConfig::from_pairs(pairs.iter().copied(), [])?;
        let command: Vec<_> = command.iter().map(OsString::from).collect();
        settings(&raw, &command, Duration::from_secs(30))
    }

    #[test]
    fn a_command_that_is_not_there_is_refused() {
        for command in ["no-such-program-of-ours", "/nonexistent/program", "/tmp"] {
            let error = read(&[], &[command]).unwrap_err();
            assert_eq!(error.to_string(), format!("command not found: `{command}`"));
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn a135_arguments_stay_as_they_are() {
        let settings = read(&[], &["sh", "-c", "$(id); a b"]).unwrap();
        assert_eq!(settings.command, ["sh", "-c", "$(id); a b"]);
    }

    #[test]
    fn users_have_no_place_in_the_environment_of_a_shared_server() {
        let env = ("env", "WHO={user.login}");
        let error = read(&[env, ("isolation", "shared")], &["sh"]).unwrap_err();
        assert!(
            error.to_string().starts_with("--env WHO names a user"),
            "{error}"
        );
        let settings = read(&[env, ("isolation", "user")], &["sh"]).unwrap();
        assert_eq!(
            settings.env,
            [("WHO".to_owned(), "{user.login}".to_owned())]
        );
        assert!(read(&[("env", "A={x}"), ("isolation", "shared")], &["sh"]).is_ok());
    }

    #[test]
    fn a134_errors_about_env_do_not_show_its_values() {
        for env in ["canary", "A={user.x}canary", "MCP_GUARD_A=canary"] {
            let error = read(&[("env", env)], &["sh"]).unwrap_err();
            let text = format!("{error} {:?}", error.hint_text());
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn a_stop_leaves_children_less_time_than_the_whole() {
        let grace = |seconds| {
            let raw = RawConfig::from_pairs([], ["sh"]).unwrap();
            settings(&raw, &["sh".into()], Duration::from_secs(seconds))
                .unwrap()
                .stop_grace
        };
        assert_eq!(grace(30), Duration::from_secs(5));
        assert_eq!(grace(4), Duration::from_secs(2));
    }
}
