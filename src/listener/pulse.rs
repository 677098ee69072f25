//! Whether the workers turn: each is asked, and answers when its event loop comes round. It costs
//! nothing while nobody asks.

use std::future::pending;

use tokio::sync::{mpsc, oneshot};

use super::workers::Letter;

/// Feels whether the workers live.
#[derive(Clone)]
pub struct Pulse {
    workers: Vec<mpsc::UnboundedSender<Letter>>,
}

impl Pulse {
    pub(super) const fn of(workers: Vec<mpsc::UnboundedSender<Letter>>) -> Self {
        Self { workers }
    }

    /// Resolves when every worker has come round since the call. One that is stuck keeps it waiting,
    /// and one that has ended for ever.
    pub async fn felt(&self) {
        let asked: Vec<_> = self.workers.iter().map(ask).collect();
        for answer in asked {
            if answer.await.is_err() {
                return pending().await;
            }
        }
    }
}

fn ask(worker: &mpsc::UnboundedSender<Letter>) -> oneshot::Receiver<()> {
    let (answer, felt) = oneshot::channel();
    // One that has ended drops the answer, with or without having read it.
    let _ = worker.send(Letter::Pulse(answer));
    felt
}
