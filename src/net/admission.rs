//! Which unfinished handshakes a listener keeps: at a bound the oldest gives way to the newest, so that idle connections
//! can't lock anybody out. Those that have said HELLO and those that have not each keep half of the places if they need them: a
//! handshake that moves is not swept away by idle ones, and those that stop after HELLO don't keep newcomers out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Not known yet, or a proxy's, on which there is no bound.
    address: Option<IpAddr>,
    give_way: oneshot::Sender<()>,
    /// When it said HELLO, if it did.
    said_hello: Option<u64>,
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

    /// A place for a connection, and what tells it to give way. One that comes through a proxy has no address yet.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> (Place, oneshot::Receiver<()>) {
        let address = address.map(|address| address.to_canonical());
        let (give_way, told) = oneshot::channel();
        let mut state = self.state();
        if let Some(address) = address {
            state.make_room(address, self.max_per_address);
        }
        if state.by_age.len() >= self.max {
            let victim = state.victim(state.by_age.keys().copied(), self.max);
            state.remove(victim);
        }
        let number = state.tick();
        state.by_age.insert(number, Entry { address, give_way, said_hello: None });
        if let Some(address) = address {
            state.by_address.entry(address).or_default().push_back(number);
        }
        (Place { admission: self.clone(), number }, told)
    }

    /// Makes room where the system has none.
    pub(crate) fn give_way(&self) {
        let mut state = self.state();
        let victim = state.victim(state.by_age.keys().copied(), self.max);
        state.remove(victim);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state().by_age.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The proxy has said whose it is: from now on it counts there.
    pub(crate) fn belongs_to(&self, address: IpAddr) {
        let address = address.to_canonical();
        let mut state = self.admission.state();
        // It may have had to give way meanwhile.
        if !state.by_age.contains_key(&self.number) {
            return;
        }
        state.make_room(address, self.admission.max_per_address);
        if let Some(entry) = state.by_age.get_mut(&self.number) {
            entry.address = Some(address);
            state.by_address.entry(address).or_default().push_back(self.number);
        }
    }

    /// The peer has sent a HELLO that we answered.
    pub(crate) fn said_hello(&self) {
        let mut state = self.admission.state();
        let now = state.tick();
        if let Some(entry) = state.by_age.get_mut(&self.number) {
            entry.said_hello = Some(now);
        }
    }
}

impl State {
    /// Counts connections and HELLOs: the time that matters here.
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// At the bound of an address one of its own gives way.
    fn make_room(&mut self, address: IpAddr, max: usize) {
        if let Some(there) = self.by_address.get(&address).filter(|there| there.len() >= max) {
            let victim = self.victim(there.iter().copied(), max);
            self.remove(victim);
        }
    }

    /// Of those that have said HELLO the one that did so first, if they hold more than half of the places; else the oldest of those
    /// that have not.
    fn victim(&self, by_age: impl Iterator<Item = u64> + Clone, places: usize) -> Option<u64> {
        let said_hello = |number: &u64| self.by_age.get(number).and_then(|entry| entry.said_hello);
        let speaking = by_age.clone().filter(|number| said_hello(number).is_some());
        let silent = by_age.clone().find(|number| said_hello(number).is_none());
        if speaking.clone().count() > places / 2 || silent.is_none() {
            return speaking.min_by_key(|number| said_hello(number));
        }
        silent
    }

    /// Takes an entry out and tells it, if it is still there to be told.
    fn remove(&mut self, number: Option<u64>) {
        let Some((number, entry)) = number.and_then(|number| Some((number, self.by_age.remove(&number)?))) else {
            return;
        };
        if let Some(address) = entry.address
            && let Some(there) = self.by_address.get_mut(&address)
        {
            there.retain(|other| *other != number);
            if there.is_empty() {
                self.by_address.remove(&address);
            }
        }
        let _ = entry.give_way.send(());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.state().remove(Some(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, last]))
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

    // [AP-1] Who has said HELLO is not swept away by who has not; nor the other way round.
    #[test]
    fn each_half_is_kept() {
        let admission = Admission::new(4, 4);
        let mut all: Vec<_> = (0..4).map(|_| admission.admit(address(1))).collect();
        all[0].0.said_hello();
        all[1].0.said_hello();
        let mut gone = Vec::new();
        for _ in 0..3 {
            all.push(admission.admit(address(1)));
            gone.extend((0..all.len()).filter(|n| all[*n].1.try_recv().is_ok()));
        }
        assert_eq!(gone, [2, 3, 4]);
        // Now three have said HELLO: the first of them goes.
        all[5].0.said_hello();
        all.push(admission.admit(address(1)));
        assert!(all[0].1.try_recv().is_ok());
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

    /// [AP-1] Behind a proxy the bound per address is that of the source that it names; before it is named only the bound of all counts.
    #[test]
    fn behind_a_proxy() {
        let admission = Admission::new(6, 2);
        let (source, other) = (address(1).unwrap(), address(2).unwrap());
        let mut all: Vec<_> = (0..4).map(|_| admission.admit(None)).collect();
        assert!(all.iter_mut().all(|(_, told)| told.try_recv().is_err()));
        all[0].0.belongs_to(source);
        all[1].0.belongs_to(other);
        all[2].0.belongs_to(source);
        assert!(all.iter_mut().all(|(_, told)| told.try_recv().is_err()));
        all[3].0.belongs_to(source);
        let gone = |all: &mut Vec<(Place, oneshot::Receiver<()>)>| -> Vec<usize> {
            (0..all.len()).filter(|n| all[*n].1.try_recv().is_ok()).collect()
        };
        assert_eq!(gone(&mut all), [0]);
        // Who had to give way meanwhile takes nothing.
        all[0].0.belongs_to(other);
        all.extend((0..4).map(|_| admission.admit(None)));
        assert_eq!((gone(&mut all), admission.in_flight()), (vec![1], 6));
        drop(all);
        assert!(admission.state().by_address.is_empty());
    }

    #[test]
    fn mapped_addresses_count_as_one() {
        let admission = Admission::new(8, 1);
        let (_a, mut a) = admission.admit("127.0.0.1".parse().ok());
        let (_b, _) = admission.admit("::ffff:127.0.0.1".parse().ok());
        assert!(a.try_recv().is_ok());
    }
}
