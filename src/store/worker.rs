//! A thread that owns a database connection, and the queue in front of it.
//!
//! The writer commits in groups: all that is queued becomes one transaction and one sync to disk,
//! and nobody is answered before that has happened. So a hundred writers wait about as long as one.
//! The reader has a connection of its own: with a write-ahead log it never waits behind a sync.

use std::sync::mpsc;
use std::thread;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{oneshot, watch};

use super::{StoreError, closed};

/// Operations in one transaction; bounds how long the first of them waits.
const GROUP: usize = 256;

/// How a worker treats what is queued.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Read,
    Write,
}

/// A handle to the thread. The thread ends once this is dropped, or at [`Self::stop`], after all
/// that was accepted is done.
pub(super) struct Worker {
    queue: mpsc::Sender<Message>,
    /// Its sender is dropped when the thread has let go of everything.
    ended: watch::Receiver<()>,
}

enum Message {
    Job(Box<dyn Job>),
    Stop,
}

impl Worker {
    /// Starts the thread. `keeps` is dropped after the connection.
    pub(super) fn start<K: Send + 'static>(
        name: &str,
        mode: Mode,
        connection: Connection,
        keeps: K,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        let (ending, ended) = watch::channel(());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                work_off(&connection, mode, &jobs);
                drop(connection);
                drop(keeps);
                drop(ending);
            })?;
        Ok(Self { queue, ended })
    }

    /// Has the thread do `work` (more than once if a transaction has to be repeated), and waits
    /// for it to be committed.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task {
            work,
            outcome: Err(closed()),
            reply,
        };
        self.queue
            .send(Message::Job(Box::new(task)))
            .map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Finishes what was accepted before this call, and ends the thread.
    pub(super) async fn stop(&self) {
        // Fails if the thread has ended already.
        let _ = self.queue.send(Message::Stop);
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

/// One operation with its type forgotten.
trait Job: Send {
    /// Does the work inside the open transaction; whether that went well.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers with the work's outcome, unless the transaction around it failed.
    fn answer(self: Box<Self>, transaction: Result<(), String>);
}

struct Task<T, W> {
    work: W,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Task<T, W>
where
    T: Send,
    W: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        self.outcome = (self.work)(connection);
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, transaction: Result<(), String>) {
        let answer = match transaction {
            Ok(()) => self.outcome,
            Err(trouble) => Err(StoreError::Unavailable(trouble)),
        };
        // Fails if the caller has gone away; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

fn work_off(connection: &Connection, mode: Mode, jobs: &mpsc::Receiver<Message>) {
    let mut stopping = false;
    while !stopping {
        let Ok(first) = jobs.recv() else { return };
        let mut group = Vec::new();
        for message in std::iter::once(first).chain(jobs.try_iter()).take(GROUP) {
            match message {
                Message::Job(job) => group.push(job),
                Message::Stop => {
                    stopping = true;
                    break;
                }
            }
        }
        match mode {
            Mode::Read => read(connection, group),
            Mode::Write => write(connection, group),
        }
    }
}

fn read(connection: &Connection, group: Vec<Box<dyn Job>>) {
    for mut job in group {
        job.run(connection);
        job.answer(Ok(()));
    }
}

/// All in one transaction; if that fails, each in its own, so that one that cannot succeed (a
/// damaged page, a value too large for what is left of the disk) takes no other with it.
fn write(connection: &Connection, mut group: Vec<Box<dyn Job>>) {
    if group.len() > 1 {
        match transact(connection, &mut group) {
            Outcome::Committed => return answer_all(group, &Ok(())),
            Outcome::NotBegun(trouble) => return answer_all(group, &Err(trouble)),
            Outcome::JobFailed | Outcome::NotCommitted(_) => {}
        }
    }
    for mut job in group {
        match transact(connection, std::slice::from_mut(&mut job)) {
            Outcome::Committed | Outcome::JobFailed => job.answer(Ok(())),
            Outcome::NotBegun(trouble) | Outcome::NotCommitted(trouble) => job.answer(Err(trouble)),
        }
    }
}

enum Outcome {
    Committed,
    /// One of the jobs failed and knows why; the transaction was rolled back.
    JobFailed,
    NotBegun(String),
    NotCommitted(String),
}

fn transact(connection: &Connection, jobs: &mut [Box<dyn Job>]) -> Outcome {
    if !connection.is_autocommit() {
        // An earlier rollback failed with the disk; without this the writer would stay stuck.
        let _ = connection.execute_batch("ROLLBACK");
    }
    // IMMEDIATE: wait for another process's lock here, not halfway.
    let begun = Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    let transaction = match begun {
        Ok(transaction) => transaction,
        Err(error) => return Outcome::NotBegun(error.to_string()),
    };
    for job in jobs {
        if !job.run(connection) {
            return Outcome::JobFailed;
        }
    }
    match transaction.commit() {
        Ok(()) => Outcome::Committed,
        Err(error) => Outcome::NotCommitted(error.to_string()),
    }
}

fn answer_all(group: Vec<Box<dyn Job>>, transaction: &Result<(), String>) {
    for job in group {
        job.answer(transaction.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<Result<usize, StoreError>>;

    fn task(sql: &'static str) -> (Box<dyn Job>, Answer) {
        let (reply, answer) = oneshot::channel();
        let work = move |connection: &Connection| {
            connection
                .execute(sql, [])
                .map_err(|error| StoreError::Unavailable(error.to_string()))
        };
        (
            Box::new(Task {
                work,
                outcome: Err(closed()),
                reply,
            }),
            answer,
        )
    }

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY)")
            .unwrap();
        connection
    }

    fn rows(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn one_failure_in_a_group_fails_alone_and_nothing_runs_twice() {
        let connection = database();
        let (jobs, mut answers): (Vec<_>, Vec<_>) = [
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
        ]
        .map(task)
        .into_iter()
        .unzip();
        write(&connection, jobs);
        let ok: Vec<bool> = answers
            .iter_mut()
            .map(|a| a.try_recv().unwrap().is_ok())
            .collect();
        assert_eq!(ok, [true, false, true]);
        assert_eq!(rows(&connection), 2);
    }

    #[test]
    fn a_transaction_left_open_by_a_failing_disk_does_not_block_the_next() {
        let connection = database();
        connection
            .execute_batch("BEGIN; INSERT INTO t VALUES (9)")
            .unwrap();
        let (job, mut answer) = task("INSERT INTO t VALUES (1)");
        write(&connection, vec![job]);
        assert!(answer.try_recv().unwrap().is_ok());
        assert_eq!(rows(&connection), 1);
    }

    #[tokio::test]
    async fn stopping_finishes_what_was_accepted_and_refuses_the_rest() {
        let worker = Worker::start("test", Mode::Write, database(), ()).unwrap();
        let accepted = (0..50).map(|n| {
            let (reply, answer) = oneshot::channel();
            let work = move |connection: &Connection| {
                connection
                    .execute("INSERT INTO t VALUES (?1)", [n])
                    .map_err(|error| StoreError::Unavailable(error.to_string()))
            };
            let job = Box::new(Task {
                work,
                outcome: Err(closed()),
                reply,
            });
            worker.queue.send(Message::Job(job)).unwrap();
            answer
        });
        let accepted: Vec<Answer> = accepted.collect();
        worker.stop().await;
        for answer in accepted {
            assert_eq!(answer.await.unwrap().unwrap(), 1);
        }
        assert!(worker.run(|_| Ok(())).await.is_err());
        worker.stop().await;
    }
}
