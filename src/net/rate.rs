//! How many handshakes one address may begin in a second: a bucket of tokens for each, forgotten when it is full again.

use std::collections::HashMap;
use std::mem::take;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The bound, and who has used how much of it.
#[derive(Debug)]
pub(crate) struct Rate {
    /// Handshakes in a second, also at once; 0 is no bound.
    max: u32,
    book: Mutex<Book>,
}

/// Buckets by when they are full again, in two generations: all in the older one are full by the time it is thrown away.
#[derive(Debug)]
struct Book {
    young: HashMap<IpAddr, Instant>,
    old: HashMap<IpAddr, Instant>,
    turned: Instant,
}

impl Rate {
    pub(crate) fn new(max: u32) -> Self {
        let book = Book { young: HashMap::new(), old: HashMap::new(), turned: Instant::now() };
        Rate { max, book: Mutex::new(book) }
    }

    /// Whether a handshake from there may begin now; if so it counts.
    pub(crate) fn admits(&self, address: IpAddr, now: Instant) -> bool {
        let Some(token) = SPAN.checked_div(self.max) else {
            return true;
        };
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.turn(now);
        let address = network(address);
        let full = book.young.get(&address).or_else(|| book.old.get(&address)).copied();
        let full = full.map_or(now, |full| full.max(now)) + token;
        if full > now + token * self.max {
            return false;
        }
        // Where more addresses call than there is room for, the bound is on those that came first.
        if book.young.len() < MAX_BUCKETS || book.young.contains_key(&address) {
            book.young.insert(address, full);
        }
        true
    }
}

impl Book {
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned);
        if age < SPAN {
            return;
        }
        let young = take(&mut self.young);
        self.old = if age < 2 * SPAN { young } else { HashMap::new() };
        self.turned = now;
    }
}

/// Whoever has an IPv6 address has the 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// In which an empty bucket fills.
const SPAN: Duration = Duration::from_secs(1);
/// Addresses that are remembered, for each of two seconds.
const MAX_BUCKETS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// [AP-1] A burst of so many, then one for each token that has come back; never more than a full bucket.
    #[tokio::test(start_paused = true)]
    async fn a_bucket() {
        let rate = Rate::new(4);
        let burst = || (0..10).filter(|_| rate.admits(address("10.0.0.1"), Instant::now())).count();
        assert_eq!(burst(), 4);
        tokio::time::advance(Duration::from_millis(249)).await;
        assert_eq!(burst(), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(burst(), 1);
        tokio::time::advance(Duration::from_millis(750)).await;
        assert_eq!(burst(), 3);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(burst(), 4);
    }

    /// Refused calls cost nothing: who calls all the time still gets what it may have.
    #[tokio::test(start_paused = true)]
    async fn a_steady_caller() {
        for max in [1, 3, 7, 50_000] {
            let rate = Rate::new(max);
            let mut admitted = 0;
            for _ in 0..10_000 {
                admitted += u32::from(rate.admits(address("10.0.0.1"), Instant::now()));
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            let expected = (max * 11).min(10_000);
            assert!((expected.saturating_sub(max + 1)..=expected).contains(&admitted), "{max}: {admitted}");
        }
    }

    /// Addresses have buckets of their own; IPv4 has one however it is written, and a network of IPv6 has one.
    #[test]
    fn whose_bucket() {
        let rate = Rate::new(1);
        let now = Instant::now();
        let cases = [
            ("10.0.0.1", true),
            ("10.0.0.2", true),
            ("::ffff:10.0.0.1", false),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
        ];
        for (text, expected) in cases {
            assert_eq!(rate.admits(address(text), now), expected, "{text}");
        }
    }

    #[test]
    fn no_bound() {
        let rate = Rate::new(0);
        assert!((0..100).all(|_| rate.admits(address("10.0.0.1"), Instant::now())));
        assert!(rate.book.lock().unwrap().young.is_empty());
    }

    /// The book is bounded: full buckets are forgotten, and where there are too many addresses those that are in it stay bounded.
    #[tokio::test(start_paused = true)]
    async fn the_book_is_bounded() {
        let rate = Rate::new(1);
        for second in 0..4_u32 {
            for number in 0..100_000 {
                let address = IpAddr::from((0x0A00_0000 + second * 200_000 + number).to_be_bytes());
                assert!(rate.admits(address, Instant::now()));
            }
            assert!(!rate.admits(IpAddr::from((0x0A00_0000 + second * 200_000).to_be_bytes()), Instant::now()));
            let sizes = {
                let book = rate.book.lock().unwrap();
                [book.young.len(), book.old.len()]
            };
            assert!(sizes.iter().all(|size| *size <= MAX_BUCKETS), "{sizes:?}");
            tokio::time::advance(SPAN).await;
        }
        for _ in 0..2 {
            tokio::time::advance(SPAN).await;
            assert!(rate.admits(address("10.0.0.1"), Instant::now()));
        }
        let book = rate.book.lock().unwrap();
        assert_eq!((book.young.len(), book.old.len()), (1, 1));
        assert!(book.young.capacity() < 100 && book.old.capacity() < 100);
    }
}
