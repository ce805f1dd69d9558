//! Which unfinished handshakes a listener keeps: at a bound the oldest gives way to the newest, so that idle connections
//! can't lock anybody out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The unfinished handshakes, by age.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
    max: usize,
    max_per_address: usize,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    by_age: BTreeMap<u64, Entry>,
    by_address: HashMap<IpAddr, VecDeque<u64>>,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    give_way: oneshot::Sender<()>,
}

/// A place among the unfinished handshakes, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    number: u64,
}

impl Admission {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Admission { state: Mutex::default(), max, max_per_address })
    }

    /// A place for a connection, and what tells it to give way.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> (Place, oneshot::Receiver<()>) {
        let address = address.to_canonical();
        let (give_way, told) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest_there = state.by_address.get(&address).filter(|there| there.len() >= self.max_per_address);
        if let Some(oldest) = oldest_there.and_then(|there| there.front().copied()) {
            state.remove(oldest);
        }
        if state.by_age.len() >= self.max {
            state.remove_oldest();
        }
        let number = state.next;
        state.next += 1;
        state.by_age.insert(number, Entry { address, give_way });
        state.by_address.entry(address).or_default().push_back(number);
        (Place { admission: self.clone(), number }, told)
    }

    /// Makes room where the system has none.
    pub(crate) fn give_way(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).remove_oldest();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).by_age.len()
    }
}

impl State {
    fn remove_oldest(&mut self) {
        if let Some(oldest) = self.by_age.keys().next().copied() {
            self.remove(oldest);
        }
    }

    /// Takes an entry out and tells it, if it is still there to be told.
    fn remove(&mut self, number: u64) {
        let Some(entry) = self.by_age.remove(&number) else { return };
        if let Some(there) = self.by_address.get_mut(&entry.address) {
            there.retain(|other| *other != number);
            if there.is_empty() {
                self.by_address.remove(&entry.address);
            }
        }
        let _ = entry.give_way.send(());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.state.lock().unwrap_or_else(PoisonError::into_inner).remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    // [AP-1] At the bound of an address its own oldest gives way; at the bound of all, the oldest of all.
    #[test]
    fn the_oldest_gives_way() {
        let admission = Admission::new(3, 2);
        let (_a, mut a) = admission.admit(address(1));
        let (_b, mut b) = admission.admit(address(1));
        let (_c, mut c) = admission.admit(address(1));
        assert_eq!((a.try_recv().is_ok(), b.try_recv().is_ok(), c.try_recv().is_ok()), (true, false, false));
        let (_d, mut d) = admission.admit(address(2));
        assert_eq!(admission.in_flight(), 3);
        let (_e, _) = admission.admit(address(3));
        assert_eq!((b.try_recv().is_ok(), c.try_recv().is_ok(), d.try_recv().is_ok()), (true, false, false));
        assert_eq!(admission.in_flight(), 3);
    }

    #[test]
    fn a_place_is_given_back() {
        let admission = Admission::new(2, 2);
        for _ in 0..10 {
            let (place, _told) = admission.admit(address(1));
            drop(place);
        }
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.state.lock().unwrap().by_address.is_empty());
    }

    #[test]
    fn mapped_addresses_count_as_one() {
        let admission = Admission::new(8, 1);
        let (_a, mut a) = admission.admit("127.0.0.1".parse().unwrap());
        let (_b, _) = admission.admit("::ffff:127.0.0.1".parse().unwrap());
        assert!(a.try_recv().is_ok());
    }
}
