//! What is wrong with a command line or a configuration, in words for the person who wrote it.

use std::fmt;

/// Why the guard does not start. Names the flag, variable or line at fault; the hint says what to
/// write instead. Never holds a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Usage,
    Refused,
}

impl ConfigError {
    /// The command line cannot be understood.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message.into())
    }

    /// The command line is understood, but what it, the variables and the file say cannot be run.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message.into())
    }

    fn new(kind: Kind, message: String) -> Self {
        Self {
            kind,
            message,
            hint: None,
        }
    }

    /// Adds what to write instead.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Adds `did you mean …?`, if there is something near enough.
    pub fn did_you_mean(self, name: Option<String>) -> Self {
        match name {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }

    /// What to write instead, if one can say.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// 64 (`EX_USAGE`) or 78 (`EX_CONFIG`).
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 64,
            Kind::Refused => 78,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}
