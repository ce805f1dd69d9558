//! Buffers that wait for the next stream that has something to do: a few in each thread, and a few more that all threads share.
//!
//! They are not wiped. What is in them beyond what was filled is seen by the transport that fills it, in this process, and by no application.

#[cfg(feature = "tokio")]
use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(feature = "tokio")]
use std::thread::LocalKey;

use bytes::BytesMut;

use crate::buffers::{LARGE, SMALL, Supply};

/// Buffers of the two sizes, so many of each at most.
pub(super) struct Shelf<B> {
    small: Vec<B>,
    large: Vec<B>,
    limits: Limits,
}

struct Limits {
    small: usize,
    large: usize,
}

/// A buffer that a shelf keeps, and the shelves for its kind.
pub(super) trait Buffer: Sized + 'static {
    /// One of so many bytes.
    fn new(size: usize) -> Self;
    fn size(&self) -> usize;
    #[cfg(feature = "tokio")]
    fn own() -> &'static LocalKey<RefCell<Shelf<Self>>>;
    fn shared() -> &'static Mutex<Shelf<Self>>;
}

/// For what is received: as long as it is, with any bytes in it.
impl Buffer for Vec<u8> {
    fn new(size: usize) -> Self {
        vec![0; size]
    }

    fn size(&self) -> usize {
        self.len()
    }

    #[cfg(feature = "tokio")]
    fn own() -> &'static LocalKey<RefCell<Shelf<Self>>> {
        &ROOMS
    }

    fn shared() -> &'static Mutex<Shelf<Self>> {
        &SHARED_ROOMS
    }
}

/// For what is to be sent: empty.
impl Buffer for BytesMut {
    fn new(size: usize) -> Self {
        BytesMut::with_capacity(size)
    }

    fn size(&self) -> usize {
        self.capacity()
    }

    #[cfg(feature = "tokio")]
    fn own() -> &'static LocalKey<RefCell<Shelf<Self>>> {
        &SEALED
    }

    fn shared() -> &'static Mutex<Shelf<Self>> {
        &SHARED_SEALED
    }
}

impl<B: Buffer> Shelf<B> {
    const fn new(limits: Limits) -> Self {
        Shelf { small: Vec::new(), large: Vec::new(), limits }
    }

    fn take(&mut self, size: usize) -> Option<B> {
        match size {
            SMALL => self.small.pop(),
            LARGE => self.large.pop(),
            _ => None,
        }
    }

    /// Gives the buffer back if there is no place for it.
    fn give(&mut self, buffer: B) -> Option<B> {
        let (shelf, limit) = match buffer.size() {
            SMALL => (&mut self.small, self.limits.small),
            LARGE => (&mut self.large, self.limits.large),
            _ => return Some(buffer),
        };
        if shelf.len() >= limit {
            return Some(buffer);
        }
        shelf.push(buffer);
        None
    }
}

#[cfg(feature = "tokio")]
thread_local! {
    static ROOMS: RefCell<Shelf<Vec<u8>>> = const { RefCell::new(Shelf::new(OWN)) };
    static SEALED: RefCell<Shelf<BytesMut>> = const { RefCell::new(Shelf::new(OWN)) };
}

static SHARED_ROOMS: Mutex<Shelf<Vec<u8>>> = Mutex::new(Shelf::new(SHARED));
static SHARED_SEALED: Mutex<Shelf<BytesMut>> = Mutex::new(Shelf::new(SHARED));

/// A buffer of so many bytes.
pub(super) fn take<B: Buffer>(size: usize, supply: Supply) -> B {
    let own = match supply {
        #[cfg(feature = "tokio")]
        Supply::Thread => B::own().try_with(|shelf| shelf.borrow_mut().take(size)).ok().flatten(),
        Supply::Process => None,
    };
    own.or_else(|| lock(B::shared()).take(size)).unwrap_or_else(|| B::new(size))
}

pub(super) fn give<B: Buffer>(buffer: B, supply: Supply) {
    // Most have no bytes, and are not worth a lock.
    if ![SMALL, LARGE].contains(&buffer.size()) {
        return;
    }
    let left = match supply {
        #[cfg(feature = "tokio")]
        Supply::Thread => B::own().try_with(|shelf| shelf.borrow_mut().give(buffer)).ok().flatten(),
        Supply::Process => Some(buffer),
    };
    left.and_then(|buffer| lock(B::shared()).give(buffer));
}

fn lock<B>(shelf: &Mutex<Shelf<B>>) -> MutexGuard<'_, Shelf<B>> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread keeps at most, of what is received and of what is sent.
#[cfg(feature = "tokio")]
const OWN: Limits = Limits { small: 8, large: 1 };
/// What all threads keep together at most.
const SHARED: Limits = Limits { small: 32, large: 3 };

#[cfg(test)]
mod tests {
    use super::*;

    // What is given back is what is taken next, and nobody keeps more than its bound.
    #[test]
    fn keeps_some_and_gives_them_again() {
        let mut shelf = Shelf::new(Limits { small: 3, large: 2 });
        assert!(shelf.give(vec![42; SMALL]).is_none());
        assert_eq!(shelf.take(SMALL).unwrap()[7], 42);
        assert!(shelf.take(SMALL).is_none());
        assert!(shelf.give(vec![1; 5_000]).is_some() && shelf.give(Vec::new()).is_some(), "another size");
        for (size, kept) in [(SMALL, 3), (LARGE, 2)] {
            assert_eq!((0..10).filter(|_| shelf.give(vec![1; size]).is_none()).count(), kept);
            assert_eq!((0..10).filter(|_| shelf.take(size).is_some()).count(), kept);
        }
    }

    // A thread that is full gives to all, and another that has none takes from there.
    #[cfg(feature = "tokio")]
    #[test]
    fn threads_share_what_they_do_not_need() {
        (0..3).for_each(|_| give(vec![42; LARGE], Supply::Thread));
        let taken = std::thread::spawn(|| take::<Vec<u8>>(LARGE, Supply::Thread)).join().unwrap();
        assert_eq!((taken.len(), taken[7]), (LARGE, 42));
    }
}
