//! The wrapped server: its command, its environment, its limits.

use std::path::PathBuf;
use std::time::Duration;

use super::options::VARIABLE_PREFIX;
use super::{ConfigError, RawConfig, Setting, program, value};
use crate::upstream::{ChildStderr, Isolation, Settings};

/// How long a child has after its stdin closed, and again after SIGTERM; less if the whole stop has
/// less.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What may stand in `--env` values.
const PLACEHOLDERS: [&str; 3] = ["{user.subject}", "{user.login}", "{user.email}"];

/// How to start the wrapped server.
pub(super) fn settings(raw: &RawConfig, shutdown_grace: Duration) -> Result<Settings, ConfigError> {
    let working_dir = working_dir(raw)?;
    let isolation = isolation(raw)?;
    Ok(Settings {
        command: command(raw, working_dir.as_ref())?,
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
        start_timeout: raw.time("start-timeout")?,
        request_timeout: raw.time("request-timeout")?,
        session_idle_timeout: raw.time("session-idle-timeout")?,
        stop_grace: STOP_GRACE.min(shutdown_grace / 2),
    })
}

fn command(
    raw: &RawConfig,
    working_dir: Option<&PathBuf>,
) -> Result<Vec<std::ffi::OsString>, ConfigError> {
    let Some((command, _)) = raw.command() else {
        return Err(ConfigError::refused("there is no server to guard").hint(
            "write its command behind `--`: \
             `mcp-guard --external-url URL [OPTIONS] -- COMMAND [ARG...]`",
        ));
    };
    let name = command.first().cloned().unwrap_or_default();
    let path = raw.surroundings().variable("PATH");
    if program::find(&name, path, working_dir.map(PathBuf::as_path)).is_none() {
        let shown = name.to_string_lossy().escape_debug().to_string();
        let hint = if shown.contains('/') {
            "there is no executable file at this path"
        } else {
            "install it, or give its full path; it is looked up in PATH, and no shell is involved"
        };
        return Err(ConfigError::refused(format!("command not found: `{shown}`")).hint(hint));
    }
    Ok(command.clone())
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
    if !value.contains("{user.") {
        return Ok(());
    }
    if isolation == Isolation::Shared {
        let what = format!("{name} names a user, but with --isolation shared all share one server");
        return Err(setting.refuse(what, "use --isolation user, or remove the placeholder"));
    }
    let rest = PLACEHOLDERS
        .iter()
        .fold(value.to_owned(), |text, known| text.replace(known, ""));
    if rest.contains("{user.") {
        let hint = format!("the placeholders are {}", PLACEHOLDERS.join(", "));
        return Err(setting.refuse(format_args!("{name} has an unknown placeholder"), hint));
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
    if name.starts_with(VARIABLE_PREFIX) {
        let hint = format!("variables that start with {VARIABLE_PREFIX} never reach the server");
        return Err(setting.refuse(format_args!("cannot hold {name}"), hint));
    }
    Ok(())
}
