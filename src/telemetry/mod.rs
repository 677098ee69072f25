//! Logs: where they go and in what shape. Metrics: what counts ([`metrics`]) and how it is told
//! ([`exposition`]).
//!
//! One event is one line on stderr, JSON or text, whatever text of strangers is in it (A-155). The
//! request path hands a line over and never waits for whoever reads them (R-33).

pub mod exposition;
mod log;
pub mod metrics;

use std::fmt;
use std::str::FromStr;

use tracing::subscriber::SetGlobalDefaultError;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};

pub use log::Sink;
use log::{Queue, Shape};

/// Our own events; those of libraries are shown from `warn` up.
const OURS: &str = "mcp_guard";

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub level: Level,
    pub format: Format,
}

/// The least severe events that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    Text,
    /// One object per line.
    Json,
}

/// Why a text is no level or format; lists what is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write one of {choices}")]
pub struct UnknownName {
    text: String,
    what: &'static str,
    choices: String,
}

impl Level {
    const NAMES: [(&'static str, Self); 6] = [
        ("off", Self::Off),
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl Format {
    const NAMES: [(&'static str, Self); 3] = [
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];

    const fn shape(self, is_terminal: bool) -> Shape {
        match (self, is_terminal) {
            (Self::Auto | Self::Text, true) => Shape::Terminal,
            (Self::Text, false) => Shape::Text,
            (Self::Json, _) | (Self::Auto, false) => Shape::Json,
        }
    }
}

impl FromStr for Level {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, "log level", &Self::NAMES)
    }
}

impl FromStr for Format {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        named(text, "log format", &Self::NAMES)
    }
}

fn named<T: Copy>(
    text: &str,
    what: &'static str,
    names: &[(&'static str, T)],
) -> Result<T, UnknownName> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| UnknownName {
        text: text.to_owned(),
        what,
        choices: names
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::NAMES.iter().find(|(_, level)| level == self);
        out.write_str(found.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::NAMES.iter().find(|(_, format)| format == self);
        out.write_str(found.map_or("", |(name, _)| name))
    }
}

/// Starts logging to stderr, panics included. `is_terminal` says whether stderr is one. What is
/// returned is to be dropped last: it waits until the lines are out, for a second at most. Fails if
/// this process logs already.
pub fn init(settings: Settings, is_terminal: bool) -> Result<Sink, SetGlobalDefaultError> {
    let queue = Queue::new();
    let lines = std::sync::Arc::clone(&queue);
    let shape = settings.format.shape(is_terminal);
    let subscriber = subscriber(settings.level, shape, move || lines.line(shape));
    tracing::subscriber::set_global_default(subscriber)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Sink::start(queue, std::io::stderr()))
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        message = "panicked",
        reason = panic.payload_as_str().unwrap_or_default(),
        place = panic.location().map(tracing::field::display),
        thread = thread.name(),
    );
}

fn subscriber<W>(level: Level, shape: Shape, lines: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = level.filter();
    let filter = Targets::new()
        .with_target(OURS, level)
        .with_default(level.min(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(lines)
        .with_ansi(false);
    let layer = if shape == Shape::Json {
        let json = lines.json().flatten_event(true).with_span_list(false);
        json.with_filter(filter).boxed()
    } else {
        let text = lines.compact().with_target(false);
        text.with_filter(filter).boxed()
    };
    Registry::default().with(layer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The lines that `log` leaves behind.
    fn logged(settings: Settings, is_terminal: bool, log: impl FnOnce()) -> Vec<String> {
        let queue = Queue::new();
        let lines = Arc::clone(&queue);
        let shape = settings.format.shape(is_terminal);
        let subscriber = subscriber(settings.level, shape, move || lines.line(shape));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = queue.drain();
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator('\n').map(str::to_owned).collect()
    }

    fn json() -> Settings {
        Settings {
            format: Format::Json,
            ..Settings::default()
        }
    }

    fn text() -> Settings {
        Settings {
            format: Format::Text,
            ..Settings::default()
        }
    }

    const NASTY: &str = "a\r\nb\t\x1b[31mred\x07\0\u{9b}31m\u{7f}\"}{\u{202e}é";

    fn log_nastily() {
        tracing::info!(name = ?NASTY, "fields");
        tracing::info!(name = NASTY, other = %NASTY, "plain fields");
        tracing::info!("message {NASTY}");
    }

    fn has_control(line: &str) -> bool {
        line.chars().any(char::is_control)
    }

    #[test]
    fn names_read_as_they_are_shown() {
        for name in ["off", "error", "warn", "info", "debug", "trace"] {
            assert_eq!(name.parse::<Level>().unwrap().to_string(), name);
        }
        for name in ["auto", "text", "json"] {
            assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
        }
        let error = "verbose".parse::<Level>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"verbose\" is no log level; write one of off, error, warn, info, debug, trace"
        );
        assert!("JSON".parse::<Format>().is_err());
    }

    #[test]
    fn a155_whatever_is_logged_each_line_is_one_json_object() {
        let lines = logged(json(), true, log_nastily);
        assert_eq!(lines.len(), 3);
        for line in &lines {
            assert!(!has_control(line), "{line:?}");
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["level"], "INFO");
            assert!(object["timestamp"].is_string() && object["message"].is_string());
        }
    }

    #[test]
    fn a155_whatever_is_logged_one_event_is_one_line_of_text() {
        let lines = logged(text(), false, log_nastily);
        assert_eq!(lines.len(), 3);
        for line in &lines {
            assert!(!has_control(line), "{line:?}");
        }
    }

    #[test]
    fn a155_in_json_a_field_is_the_string_itself_however_it_is_recorded() {
        let lines = logged(json(), false, log_nastily);
        let object: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(object["name"], NASTY);
        assert_eq!(object["other"], NASTY);
    }

    #[test]
    fn a155_in_text_a_string_stays_within_its_quotes() {
        let forged = "x\" client=\"trusted";
        let lines = logged(text(), false, || tracing::info!(name = forged, "hello"));
        assert!(
            lines[0].contains(r#"name="x\" client=\"trusted""#),
            "{lines:?}"
        );
    }

    #[test]
    fn a155_no_field_can_forge_a_line() {
        const LINE: &str = "x\r\n2026-01-01T00:00:00Z ERROR forged\n{\"level\":\"ERROR\"}\x1b[1A";
        for settings in [json(), text()] {
            let log = || tracing::info!(plain = LINE, shown = %LINE, "hello");
            let lines = logged(settings, false, log);
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(
                lines[0].contains("INFO") && !has_control(&lines[0]),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a155_on_a_terminal_only_our_own_colours_get_through() {
        let lines = logged(text(), true, log_nastily);
        assert_eq!(lines.len(), 3);
        for line in &lines {
            assert!(line.starts_with("\x1b[2m") && !line.contains("\x1b[31m"));
            assert_eq!(
                line.chars().filter(|c| c.is_control()).count(),
                4,
                "{line:?}"
            );
        }
    }

    #[test]
    fn auto_means_text_for_people_and_json_for_programs() {
        let log = || tracing::info!("hello");
        let text = logged(Settings::default(), true, log);
        assert!(!text[0].starts_with('{'));
        let json = logged(Settings::default(), false, log);
        assert!(json[0].starts_with('{'));
    }

    #[test]
    fn the_level_is_ours_and_libraries_are_quiet() {
        let log = || {
            tracing::debug!("ours");
            tracing::info!(target: "library", "theirs");
            tracing::warn!(target: "library", "their trouble");
        };
        let lines = |level| {
            let settings = Settings { level, ..json() };
            logged(settings, false, log).len()
        };
        assert_eq!(lines(Level::Debug), 2);
        assert_eq!(lines(Level::Info), 1);
        assert_eq!(lines(Level::Error), 0);
        assert_eq!(lines(Level::Off), 0);
    }
}
