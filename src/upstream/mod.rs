//! The wrapped server, as a command: children under their supervisors, and the wire that carries
//! the messages of one or many sessions over a child's two pipes.
//!
//! The gateway sees [`Children`] (which child a session gets), [`Attachment`] (what a session says
//! to its child) and [`Client`] (what a child says to a session).

mod attachment;
mod child;
mod children;
mod environment;
mod handshake;
pub mod http;
mod mux;
mod outbox;
mod output;
mod process_tree;
mod program;
mod quota;
mod routing;
mod spawner;
mod state;
mod stderr;
mod subscriptions;
pub mod supervisor;
mod throttle;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use attachment::Attachment;
pub use children::{ChildFigures, Children};
pub use environment::{UnknownPlaceholder, check_placeholders, is_ours, uses_identity};
pub use program::find_program;

use crate::mcp::Message;

/// What the guard stands in front of.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A command that speaks MCP over its standard input and output.
    Command(Settings),
    /// A server that speaks HTTP.
    Url(http::Settings),
}

/// Which callers may share a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// One child per session.
    Session,
    /// One child per user, shared by that user's sessions.
    User,
    /// One child for everybody.
    Shared,
}

/// What becomes of a child's stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildStderr {
    Log,
    Inherit,
    Drop,
}

/// How to start children, and how many.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Program and arguments; never through a shell.
    pub command: Vec<OsString>,
    pub working_dir: Option<PathBuf>,
    /// `--env NAME=VALUE`; values may hold `{user.subject}`, `{user.login}`, `{user.email}`,
    /// `{user.groups}`.
    pub env: Vec<(String, String)>,
    /// `--clean-env`: start from an allow-list instead of our environment minus everything of ours.
    pub clean_env: bool,
    /// `--pass-env`: names that pass even so.
    pub pass_env: Vec<String>,
    pub stderr: ChildStderr,
    pub isolation: Isolation,
    pub max_children: usize,
    pub max_children_per_user: usize,
    /// How long a child without sessions is kept.
    pub idle_timeout: Duration,
    /// How long a child has after its stdin closed, and again after SIGTERM.
    pub stop_grace: Duration,
}

/// Whose child it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub login: String,
    pub email: Option<String>,
    pub groups: Vec<String>,
}

/// Names one exchange of one session: the gateway's number for a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Names a session towards this module. Unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// What a child says to one session. The ids and tokens in it are the client's own again.
#[derive(Debug)]
pub enum Delivery {
    /// The answer to that request; nothing follows for it.
    Last(ExchangeId, Message),
    /// Progress for that request.
    More(ExchangeId, Message),
    /// A notification, or a request of the server's, that belongs to no request in particular.
    /// For a request the client's answer comes back through [`Attachment::respond`].
    Unowned(Message),
}

/// The session's side of a wire. Called from the child's reader: must never block.
pub trait Client: Send + Sync + 'static {
    fn key(&self) -> SessionKey;

    /// Takes one message.
    fn deliver(&self, delivery: Delivery);

    /// The child is gone, and what was in flight will not be answered. Called once.
    fn ended(&self, why: &str);
}

/// Why a session got no child.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// 503 with `Retry-After`: `--max-children` or `--max-children-per-user` is reached.
    #[error("too many server processes are running")]
    Full,
    /// 503 with `Retry-After`: the last ones crashed; the next start is due after this long.
    #[error("the server keeps exiting; it is started again in {0:?}")]
    BackingOff(Duration),
    /// 502: the process could not be started.
    #[error("the server could not be started: {0}")]
    Spawn(String),
    /// 503: the guard is stopping.
    #[error("the guard is stopping")]
    Stopping,
}

/// Why a message did not go to the child.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The child is gone: 404, the session with it.
    #[error("the server process has ended")]
    Gone,
    /// The session has a request with this id in flight: 400.
    #[error("a request with this id is already in flight")]
    DuplicateId,
    /// An answer to a question that nobody asked this session: ignored with 202.
    #[error("no such request is waiting for an answer")]
    NotAsked,
    /// The child does not read: 503.
    #[error("the server does not take messages at the moment")]
    Congested,
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Notify;

    use super::*;

    /// A session that writes down what it hears.
    pub(super) struct Recorder {
        key: SessionKey,
        heard: Mutex<Vec<String>>,
        something: Notify,
    }

    impl Recorder {
        pub(super) fn new(key: u64) -> Arc<Self> {
            Arc::new(Self {
                key: SessionKey(key),
                heard: Mutex::default(),
                something: Notify::new(),
            })
        }

        pub(super) fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.heard.lock().unwrap())
        }

        pub(super) async fn heard_something(&self) {
            while self.heard.lock().unwrap().is_empty() {
                self.something.notified().await;
            }
        }

        fn note(&self, what: String) {
            self.heard.lock().unwrap().push(what);
            self.something.notify_one();
        }
    }

    impl Client for Recorder {
        fn key(&self) -> SessionKey {
            self.key
        }

        fn deliver(&self, delivery: Delivery) {
            let text = |message: Message| String::from_utf8_lossy(message.bytes()).into_owned();
            self.note(match delivery {
                Delivery::Last(id, message) => format!("last {} {}", id.0, text(message)),
                Delivery::More(id, message) => format!("more {} {}", id.0, text(message)),
                Delivery::Unowned(message) => format!("unowned {}", text(message)),
            });
        }

        fn ended(&self, why: &str) {
            self.note(format!("ended {why}"));
        }
    }

    pub(super) fn message(text: &str) -> Message {
        Message::parse(text.to_owned().into()).unwrap()
    }

    /// Settings for a command, all else being what the tests of this room can bear.
    pub(super) fn settings(command: &[&str]) -> Settings {
        Settings {
            command: command.iter().map(OsString::from).collect(),
            working_dir: None,
            env: Vec::new(),
            clean_env: false,
            pass_env: Vec::new(),
            stderr: ChildStderr::Log,
            isolation: Isolation::Session,
            max_children: 8,
            max_children_per_user: 4,
            idle_timeout: Duration::from_mins(1),
            stop_grace: Duration::from_millis(500),
        }
    }
}
