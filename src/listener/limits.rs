//! How many connections may be open, in all and from one address (threat case A-117). Loopback is
//! not exempt: behind a proxy on the same machine everybody comes from there.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::figures::{Figures, Refused};

/// The counts of one guard, shared by its workers.
pub(super) struct Limits {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
    figures: Arc<Figures>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_network: HashMap<Network, usize>,
    refused: u64,
}

/// An IPv4 address or an IPv6 /64, the least that a subscriber is given (RFC 6177).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            // Shifted by half its width: what is left fits.
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// One connection's place. Dropping it frees the place.
pub(super) struct Permit {
    limits: Arc<Limits>,
    network: Option<Network>,
}

impl Limits {
    pub(super) fn new(max: usize, max_per_address: usize, figures: Arc<Figures>) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: Mutex::default(),
            figures,
        })
    }

    /// A place for one more connection, or the count of those refused so far. A peer without an
    /// address counts in all only.
    pub(super) fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Permit, u64> {
        let network = peer.map(Network::of);
        let mut open = self.lock();
        let of_network = network
            .and_then(|network| open.by_network.get(&network).copied())
            .unwrap_or_default();
        if open.total >= self.max {
            return Err(self.refuse(&mut open, Refused::Limit));
        }
        if of_network >= self.max_per_address {
            return Err(self.refuse(&mut open, Refused::AddressLimit));
        }
        open.total += 1;
        if let Some(network) = network {
            open.by_network.insert(network, of_network + 1);
        }
        drop(open);
        Ok(Permit {
            limits: Arc::clone(self),
            network,
        })
    }

    fn refuse(&self, open: &mut Open, why: Refused) -> u64 {
        self.figures.refused.count(why);
        open.refused += 1;
        open.refused
    }

    /// The counts are whole between any two statements: a panic elsewhere leaves them usable.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// From now on it counts for this address, too, which had none before; or there are too many
    /// of it already.
    pub(super) fn belongs_to(&mut self, peer: IpAddr) -> Result<(), u64> {
        let network = Network::of(peer);
        let mut open = self.limits.lock();
        let of_network = open.by_network.get(&network).copied().unwrap_or_default();
        if of_network >= self.limits.max_per_address {
            return Err(self.limits.refuse(&mut open, Refused::AddressLimit));
        }
        open.by_network.insert(network, of_network + 1);
        self.network = Some(network);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        open.total = open.total.saturating_sub(1);
        let Some(network) = self.network else { return };
        if let Some(count) = open.by_network.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admit(limits: &Arc<Limits>, peer: &str) -> Result<Permit, u64> {
        limits.admit(Some(peer.parse().unwrap()))
    }

    #[test]
    fn a117_one_address_cannot_take_every_place() {
        let limits = Limits::new(10, 2, Arc::default());
        let held = [
            admit(&limits, "192.0.2.1"),
            admit(&limits, "::ffff:192.0.2.1"),
        ];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(admit(&limits, "192.0.2.1").err(), Some(1));
        assert_eq!(limits.figures.refused.total(Refused::AddressLimit), 1);
        assert!(admit(&limits, "192.0.2.2").is_ok());
        drop(held);
        assert!(admit(&limits, "192.0.2.1").is_ok());
    }

    #[test]
    fn a117_one_ipv6_network_counts_as_one_address() {
        let limits = Limits::new(10, 1, Arc::default());
        let held = admit(&limits, "2001:db8::1");
        assert!(held.is_ok());
        assert!(admit(&limits, "2001:db8::ffff:2").is_err());
        assert!(admit(&limits, "2001:db8:0:1::1").is_ok());
    }

    #[test]
    fn a117_loopback_is_counted_like_any_other() {
        let limits = Limits::new(10, 1, Arc::default());
        let held = admit(&limits, "127.0.0.1");
        assert!(held.is_ok());
        assert!(admit(&limits, "127.0.0.1").is_err());
    }

    #[test]
    fn a117_an_address_that_is_known_later_counts_from_then_on() {
        let limits = Limits::new(10, 1, Arc::default());
        let peer = "192.0.2.1".parse().unwrap();
        let mut first = limits.admit(None).unwrap();
        let mut second = limits.admit(None).unwrap();
        assert_eq!(first.belongs_to(peer), Ok(()));
        assert_eq!(second.belongs_to(peer), Err(1));
        assert!(admit(&limits, "192.0.2.1").is_err());
        drop(first);
        assert_eq!(second.belongs_to(peer), Ok(()));
    }

    #[test]
    fn the_total_binds_everybody() {
        let limits = Limits::new(2, 2, Arc::default());
        let held = [limits.admit(None), admit(&limits, "192.0.2.1")];
        assert!(held.iter().all(Result::is_ok));
        assert!(limits.admit(None).is_err());
        assert_eq!(admit(&limits, "192.0.2.2").err(), Some(2));
        assert_eq!(limits.figures.refused.total(Refused::Limit), 2);
        assert_eq!(limits.figures.refused.total(Refused::AddressLimit), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_left_when_all_have_gone(peers in proptest::collection::vec(0_u8..6, 0..60)) {
            let limits = Limits::new(20, 5, Arc::default());
            let held: Vec<_> = peers
                .iter()
                .map(|peer| limits.admit((*peer > 0).then(|| IpAddr::from([192, 0, 2, *peer]))))
                .collect();
            let admitted = held.iter().filter(|place| place.is_ok()).count();
            prop_assert!(admitted <= 20);
            prop_assert_eq!(limits.lock().total, admitted);
            drop(held);
            prop_assert_eq!(limits.lock().total, 0);
            prop_assert!(limits.lock().by_network.is_empty());
        }
    }
}
