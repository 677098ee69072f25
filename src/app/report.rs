//! What the service manager is told of this guard: that it serves, what is still missing, that it
//! reloads and stops, and, where it asks for that (`WatchdogSec=`), that it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::service_manager::ServiceManager;
use crate::admin::Health;
use crate::config::Config;
use crate::listener::Pulse;

/// Whether the first certificate has come is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// What a stop may take beyond the grace for requests: children that go the hard way, and the store.
const AFTER_THE_GRACE: Duration = Duration::from_secs(20);

/// Tells the service manager, if there is one.
pub(super) struct Report {
    manager: ServiceManager,
    health: Health,
    serving: String,
    longest_stop: Duration,
}

impl Report {
    pub(super) fn new(config: &Config, health: Health) -> Arc<Self> {
        Arc::new(Self {
            manager: ServiceManager::of_process(),
            health,
            serving: format!("Serving {}", config.mcp_url()),
            longest_stop: config.shutdown_grace.saturating_add(AFTER_THE_GRACE),
        })
    }

    /// To be said once the listeners are up. A guard that has no certificate yet is ready, too: the
    /// CA asks it, and what waits for its start may have to answer the CA.
    pub(super) fn ready(&self) {
        self.manager.ready(&self.status());
    }

    pub(super) fn reloading(&self) {
        self.manager.reloading("Reading the configuration anew");
    }

    /// What was read anew counts from now on.
    pub(super) fn reloaded(&self, needs_restart: &[String]) {
        let status = self.status();
        self.manager.ready(&match needs_restart {
            [] => status,
            options => format!("{status}; needs a restart: {}", options.join(", ")),
        });
    }

    /// Everything goes on as before.
    pub(super) fn reload_refused(&self, why: impl std::fmt::Display) {
        let status = self.status();
        self.manager.ready(&format!(
            "{status}; the new configuration is refused: {why}"
        ));
    }

    pub(super) fn stopping(&self) {
        let status = "Stopping; what is under way is finished first";
        self.manager.stopping(self.longest_stop, status);
    }

    fn status(&self) -> String {
        if self.health.is_equipped() {
            return self.serving.clone();
        }
        format!("{}; waiting for its certificate", self.serving)
    }

    /// Corrects what was said while there was no certificate.
    pub(super) async fn once_equipped(self: Arc<Self>) {
        if !self.manager.listens() || self.health.is_equipped() {
            return;
        }
        while !self.health.is_equipped() {
            tokio::time::sleep(LOOK).await;
        }
        self.manager.status(&self.status());
    }

    /// Gives a sign of life again and again, each only after every worker has come round.
    pub(super) async fn keep_alive(self: Arc<Self>, workers: Pulse) {
        let Some(beat) = self.manager.beat else {
            return;
        };
        let mut beat = tokio::time::interval(beat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            workers.felt().await;
            self.manager.alive();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, mpsc};

    use hyper::Request;
    use hyper::body::Incoming;
    use tokio::net::UnixDatagram;
    use tokio::time::timeout;

    use super::*;
    use crate::http::{Reply, full};
    use crate::listener::{self, Address, Drain, PassedSockets, Peer, Service};

    const BEAT: Duration = Duration::from_millis(10);
    /// Longer than anything here takes; only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn report(
        beat: Option<Duration>,
        is_equipped: impl Fn() -> bool + Send + Sync + 'static,
    ) -> (Arc<Report>, UnixDatagram) {
        let (manager, socket) = ServiceManager::in_test(beat);
        socket.set_nonblocking(true).unwrap();
        let report = Report {
            manager,
            health: Health::new(is_equipped),
            serving: "Serving https://a.test/mcp".into(),
            longest_stop: Duration::from_secs(50),
        };
        (Arc::new(report), UnixDatagram::from_std(socket).unwrap())
    }

    async fn heard(socket: &UnixDatagram) -> String {
        let mut message = [0; 4096];
        let length = timeout(PATIENCE, socket.recv(&mut message)).await;
        String::from_utf8(message[..length.unwrap().unwrap()].to_vec()).unwrap()
    }

    /// Stops the worker that serves a request until it is let go.
    struct Blocking {
        entered: mpsc::Sender<()>,
        go: Mutex<mpsc::Receiver<()>>,
    }

    impl Service for Blocking {
        async fn call(&self, _: Request<Incoming>, _: Peer) -> Reply {
            self.entered.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            Reply::new(full("done"))
        }
    }

    fn bound() -> (listener::Bound, std::net::SocketAddr) {
        let settings = listener::Settings {
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            if_possible: Vec::new(),
            tls: None,
            workers: 2,
            max_connections: 10,
            max_connections_per_address: 10,
            proxies: None,
        };
        let bound = listener::bind(&settings, PassedSockets::default()).unwrap();
        let Address::Tcp(address) = bound.local_addresses().remove(0) else {
            panic!("it is TCP");
        };
        (bound, address)
    }

    #[tokio::test]
    async fn a_worker_that_is_stuck_ends_the_signs_of_life() {
        let (report, socket) = report(Some(BEAT), || true);
        let (entered, is_entered) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        let go = Mutex::new(go);
        let (bound, address) = bound();
        let service = Arc::new(Blocking { entered, go });
        let workers = bound.serve(&service, &Drain::new()).unwrap();
        let pulse = workers.pulse();
        let chore = tokio::spawn(report.keep_alive(pulse.clone()));
        for _ in 0..3 {
            assert_eq!(heard(&socket).await, "WATCHDOG=1\n");
        }

        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let stuck = tokio::task::spawn_blocking(move || is_entered.recv_timeout(PATIENCE));
        stuck.await.unwrap().unwrap();
        let mut message = [0; 4096];
        while socket.try_recv(&mut message).is_ok() {}
        // One more may be on its way: both had answered just before.
        let two = async { (heard(&socket).await, heard(&socket).await) };
        assert!(timeout(30 * BEAT, two).await.is_err());

        let_go.send(()).unwrap();
        assert_eq!(heard(&socket).await, "WATCHDOG=1\n");
        chore.abort();
        workers.join();
        assert!(timeout(3 * BEAT, pulse.felt()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_is_said_until_it_has_come() {
        let has_certificate = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_certificate);
        let (report, socket) = report(None, move || asked.load(Ordering::Relaxed));
        report.ready();
        let serving = "STATUS=Serving https://a.test/mcp";
        let waiting = format!("{serving}; waiting for its certificate");
        assert_eq!(heard(&socket).await, format!("READY=1\n{waiting}\n"));
        report.reload_refused("no");
        let refused = format!("READY=1\n{waiting}; the new configuration is refused: no\n");
        assert_eq!(heard(&socket).await, refused);
        let chore = tokio::spawn(Arc::clone(&report).once_equipped());
        tokio::time::sleep(3 * LOOK).await;
        has_certificate.store(true, Ordering::Relaxed);
        chore.await.unwrap();
        assert_eq!(heard(&socket).await, format!("{serving}\n"));
        report.reloaded(&[]);
        assert_eq!(heard(&socket).await, format!("READY=1\n{serving}\n"));
    }
}
