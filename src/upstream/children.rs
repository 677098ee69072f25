//! Which child a session gets: by isolation, under the caps, with backoff after crashes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::{info, warn};

use super::child::{self, Pipes, Terms};
use super::environment::Environment;
use super::quota::{Ending, Quota};
use super::spawner::{Spawner, Supervised, own_binary, supervised};
use super::wire::{Stop, Wire};
use super::{Attachment, Caller, ChildStderr, Client, Isolation, JoinError, Settings};

/// How long a session waits for its turn: for another's child that is just ending, or for the end of
/// a short pause after a crash. Most clients take a 503 for the end, so this is kinder.
const QUEUE: Duration = Duration::from_secs(1);
/// What [`Children::stop`] waits beyond the two graces of a child that goes the hard way.
const MARGIN: Duration = Duration::from_secs(3);

/// How many children there are, and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildFigures {
    pub alive: usize,
    /// Starts, those included that came to nothing.
    pub started: u64,
    /// Of these: came to nothing, or ended soon or in silence.
    pub crashed: u64,
}

/// All children of one wrapped server.
pub struct Children<C: Client> {
    settings: Settings,
    environment: Environment,
    supervisor: PathBuf,
    spawner: Result<Spawner, String>,
    registry: Mutex<Registry<C>>,
    /// How many are alive, for [`Self::stop`] to wait on.
    alive: watch::Sender<usize>,
}

struct Registry<C: Client> {
    quota: Quota,
    stopping: bool,
    started: u64,
    crashed: u64,
    wires: HashMap<u64, Entry<C>>,
    /// User and shared isolation: by subject, or under the empty name.
    doors: HashMap<String, Door<C>>,
}

/// A child that runs, and for whom.
struct Entry<C: Client> {
    subject: String,
    wire: Weak<Wire<C>>,
}

/// The way to a child that several sessions share. Held while it is started, so that there is one
/// start for all that wait.
type Door<C> = Arc<tokio::sync::Mutex<Weak<Wire<C>>>>;
type OpenDoor<C> = OwnedMutexGuard<Weak<Wire<C>>>;

impl<C: Client> Children<C> {
    pub fn new(settings: Settings) -> Arc<Self> {
        Self::supervised_by(own_binary(), settings)
    }

    /// With another binary of ours as the supervisor: for tests, which run in a binary of their own.
    pub fn supervised_by(supervisor: PathBuf, settings: Settings) -> Arc<Self> {
        let limit_each = match settings.isolation {
            Isolation::Shared => settings.max_children,
            Isolation::Session | Isolation::User => settings.max_children_per_user,
        };
        Arc::new(Self {
            environment: Environment::new(&settings, std::env::vars_os()),
            supervisor,
            spawner: Spawner::start().map_err(|error| error.to_string()),
            registry: Mutex::new(Registry {
                quota: Quota::new(settings.max_children, limit_each),
                stopping: false,
                started: 0,
                crashed: 0,
                wires: HashMap::new(),
                doors: HashMap::new(),
            }),
            alive: watch::Sender::new(0),
            settings,
        })
    }

    /// Attaches a session to a child, starting one if it needs to. The child's pipes are served by
    /// tasks on the runtime that this is called on, if it starts one.
    pub async fn join(
        self: &Arc<Self>,
        caller: &Caller,
        client: Arc<C>,
    ) -> Result<Attachment<C>, JoinError> {
        let subject = match self.settings.isolation {
            Isolation::Session => return self.start(caller, client, None).await,
            Isolation::User => &*caller.subject,
            Isolation::Shared => "",
        };
        let door = self.door(subject)?.lock_owned().await;
        let wire = door.upgrade();
        if let Some(attachment) = wire.and_then(|wire| Attachment::new(&wire, &client)) {
            return Ok(attachment);
        }
        self.start(caller, client, Some(door)).await
    }

    /// Children alive now: from before their start until their process is reaped.
    pub fn count(&self) -> usize {
        self.lock().quota.alive()
    }

    /// How many there are, and were.
    pub fn figures(&self) -> ChildFigures {
        let registry = self.lock();
        ChildFigures {
            alive: registry.quota.alive(),
            started: registry.started,
            crashed: registry.crashed,
        }
    }

    /// Stops all children (stdin EOF → SIGTERM → SIGKILL of the group) and starts no more.
    pub async fn stop(&self) {
        let running: Vec<_> = {
            let mut registry = self.lock();
            registry.stopping = true;
            let wires = registry.wires.values();
            wires.filter_map(|entry| entry.wire.upgrade()).collect()
        };
        for wire in &running {
            wire.stop(Stop::Guard);
        }
        let mut alive = self.alive.subscribe();
        let patience = self.settings.stop_grace * 2 + MARGIN;
        let none_left = alive.wait_for(|alive| *alive == 0);
        if tokio::time::timeout(patience, none_left).await.is_err() {
            warn!(left = self.count(), "server processes are left behind");
        }
    }

    fn door(&self, subject: &str) -> Result<Door<C>, JoinError> {
        let mut registry = self.lock();
        if registry.stopping {
            return Err(JoinError::Stopping);
        }
        Ok(registry
            .doors
            .entry(subject.to_owned())
            .or_default()
            .clone())
    }

    /// In a task of its own: a caller who goes away in the middle must not leave behind a process
    /// that nobody counts. The attachment is then dropped, and the child stopped.
    async fn start(
        self: &Arc<Self>,
        caller: &Caller,
        client: Arc<C>,
        door: Option<OpenDoor<C>>,
    ) -> Result<Attachment<C>, JoinError> {
        let slot = self.queue(caller).await?;
        let command = self.command(caller);
        let children = Arc::clone(self);
        let task = tokio::spawn(async move {
            let (process, pipes) = children.spawn(command).await?;
            children.attach(slot, process, pipes, &client, door)
        });
        task.await
            .unwrap_or_else(|error| Err(JoinError::Spawn(error.to_string())))
    }

    /// Waits for a place in the count, if there is hope that one comes soon.
    async fn queue(self: &Arc<Self>, caller: &Caller) -> Result<Slot<C>, JoinError> {
        let subject = match self.settings.isolation {
            Isolation::Shared => "",
            Isolation::Session | Isolation::User => &*caller.subject,
        };
        let deadline = tokio::time::Instant::now() + QUEUE;
        let mut alive = self.alive.subscribe();
        loop {
            alive.mark_unchanged();
            let refused = match self.slot(subject) {
                Ok(slot) => return Ok(slot),
                Err(refused) => refused,
            };
            let hope = match refused {
                JoinError::BackingOff(pause) => pause <= QUEUE,
                JoinError::Full => self.lock().one_is_ending(subject),
                JoinError::Spawn(_) | JoinError::Stopping => false,
            };
            if !hope || tokio::time::Instant::now() >= deadline {
                return Err(refused);
            }
            let pause = match refused {
                JoinError::BackingOff(pause) => pause,
                _ => QUEUE,
            };
            let _ = tokio::time::timeout(pause, alive.changed()).await;
        }
    }

    fn slot(self: &Arc<Self>, subject: &str) -> Result<Slot<C>, JoinError> {
        let mut registry = self.lock();
        if registry.stopping {
            return Err(JoinError::Stopping);
        }
        registry.quota.take(subject, Instant::now())?;
        registry.started += 1;
        self.alive.send_replace(registry.quota.alive());
        Ok(Slot {
            children: Arc::clone(self),
            subject: subject.to_owned(),
            number: registry.started,
            ending: Ending {
                crashed: true,
                lived: Duration::ZERO,
            },
        })
    }

    /// A child for everybody knows nobody (its `--env` cannot name the caller).
    fn command(&self, caller: &Caller) -> Command {
        let settings = &self.settings;
        let caller = (settings.isolation != Isolation::Shared).then_some(caller);
        let mut command = supervised(&self.supervisor, settings.stop_grace, &settings.command);
        command
            .env_clear()
            .envs(self.environment.variables(caller))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match settings.stderr {
                ChildStderr::Log => Stdio::piped(),
                ChildStderr::Inherit => Stdio::inherit(),
                ChildStderr::Drop => Stdio::null(),
            });
        if let Some(directory) = &settings.working_dir {
            command.current_dir(directory);
        }
        command
    }

    async fn spawn(&self, command: Command) -> Result<(Supervised, Pipes), JoinError> {
        let spawner = self.spawner.as_ref();
        let spawner = spawner.map_err(|error| JoinError::Spawn(error.clone()))?;
        let started = spawner.spawn(command, Handle::current()).await;
        let mut process = started.map_err(|error| JoinError::Spawn(error.to_string()))?;
        let pipes = process.take_pipes();
        let pipes = pipes.ok_or_else(|| JoinError::Spawn("it has no pipes".into()))?;
        Ok((process, pipes))
    }

    /// The session is on the wire before the child can say a word.
    fn attach(
        &self,
        slot: Slot<C>,
        process: Supervised,
        pipes: Pipes,
        client: &Arc<C>,
        door: Option<OpenDoor<C>>,
    ) -> Result<Attachment<C>, JoinError> {
        let wire = Arc::new(Wire::new(self.settings.isolation, Handle::current()));
        let attachment = Attachment::new(&wire, client).ok_or(JoinError::Stopping)?;
        if let Some(mut door) = door {
            *door = Arc::downgrade(&wire);
        }
        let number = slot.number;
        info!(
            event = "child_started",
            child = number,
            subject = slot.subject.as_str(),
            "a server process starts"
        );
        self.enlist(&slot, &wire);
        let terms = Terms {
            number,
            stop_grace: self.settings.stop_grace,
            idle_timeout: self.settings.idle_timeout,
        };
        tokio::spawn(async move {
            let ending = child::tend(process, pipes, wire, terms).await;
            slot.end(ending);
        });
        Ok(attachment)
    }

    /// From here on [`Self::stop`] finds it; if that came first, it is stopped by us.
    fn enlist(&self, slot: &Slot<C>, wire: &Arc<Wire<C>>) {
        let mut registry = self.lock();
        let entry = Entry {
            subject: slot.subject.clone(),
            wire: Arc::downgrade(wire),
        };
        registry.wires.insert(slot.number, entry);
        if registry.stopping {
            drop(registry);
            wire.stop(Stop::Guard);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registry<C>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Client> Registry<C> {
    /// Whether a place for this subject is about to become free.
    fn one_is_ending(&self, subject: &str) -> bool {
        let anybodys = self.quota.is_full();
        self.wires.values().any(|entry| {
            let counts = anybodys || entry.subject == subject;
            counts && entry.wire.upgrade().is_none_or(|wire| wire.is_closed())
        })
    }
}

/// One child in the count. Given back when it is dropped, which is when the process was reaped.
struct Slot<C: Client> {
    children: Arc<Children<C>>,
    subject: String,
    number: u64,
    /// Until it is known better: it did not even start.
    ending: Ending,
}

impl<C: Client> Slot<C> {
    fn end(mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl<C: Client> Drop for Slot<C> {
    fn drop(&mut self) {
        let mut registry = self.children.lock();
        registry.crashed += u64::from(self.ending.crashed);
        registry
            .quota
            .give_back(&self.subject, self.ending, Instant::now());
        registry.wires.remove(&self.number);
        // New holders come by the map alone, whose lock we have.
        registry
            .doors
            .retain(|_, door| Arc::strong_count(door) > 1 || is_in_use(door));
        self.children.alive.send_replace(registry.quota.alive());
    }
}

fn is_in_use<C: Client>(door: &Door<C>) -> bool {
    door.try_lock().map_or(true, |wire| wire.strong_count() > 0)
}
