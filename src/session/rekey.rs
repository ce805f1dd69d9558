//! When a direction gets a new key: by bytes, by time, and before the limits of its AEAD (specification, section 11.2).

use core::time::Duration;

use crate::crypto::aead::SealingKey;
use crate::limits::{REKEY_BURST, REKEY_BYTES, REKEY_SECONDS, REKEY_SPACING};

/// When this side rekeys its sending direction. The limits of the AEAD lie beneath: whatever is set, a new key comes before half of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RekeyPolicy {
    /// After so many bytes of records, their kind, padding and tag included, 64 GiB by default.
    pub bytes: u64,
    /// At the first record that is sent after so long, 15 minutes by default.
    pub age: Duration,
}

impl Default for RekeyPolicy {
    fn default() -> Self {
        RekeyPolicy { bytes: REKEY_BYTES, age: Duration::from_secs(REKEY_SECONDS) }
    }
}

impl RekeyPolicy {
    /// A policy; zero counts as one byte, or as no time at all.
    pub fn new(bytes: u64, age: Duration) -> Self {
        RekeyPolicy { bytes: bytes.max(1), age }
    }
}

/// How a direction stands with respect to its next rekey.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// REKEY records of the direction, and others.
    pub(super) budget: Budget,
    /// Bytes since the last rekey.
    pub(super) bytes: u64,
    /// When the last rekey was, since the session began.
    last: Duration,
    /// A rekey of our own schedule waits to be completed by a newer share of the peer.
    completing: bool,
    /// The share of the peer that was mixed in last.
    mixed: u32,
}

/// How many REKEY records a direction has had, and may have [RK-2].
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) rekeys: u64,
    pub(super) others: u64,
}

impl Budget {
    /// Whether one more may come.
    pub(super) fn allows_rekey(&self) -> bool {
        self.rekeys < REKEY_BURST + self.others / REKEY_SPACING
    }
}

impl Pace {
    pub(super) fn is_due(&self, policy: &RekeyPolicy, key: &SealingKey, now: Duration, peer_number: u32) -> bool {
        self.budget.allows_rekey() && (self.is_scheduled(policy, key, now) || self.completes(peer_number))
    }

    /// Whether the rekey that is about to be made completes one of our schedule, and is not one itself.
    pub(super) fn is_completing(
        &self,
        policy: &RekeyPolicy,
        key: &SealingKey,
        now: Duration,
        peer_number: u32,
    ) -> bool {
        self.completes(peer_number) && !self.is_scheduled(policy, key, now)
    }

    /// Notes that the rekey was made.
    pub(super) fn rekeyed(&mut self, completed: bool, now: Duration, peer_number: u32) {
        self.completing = !completed;
        self.bytes = 0;
        self.last = now;
        self.mixed = peer_number;
    }

    fn is_scheduled(&self, policy: &RekeyPolicy, key: &SealingKey, now: Duration) -> bool {
        // A key under which nothing was sealed needs no successor.
        key.counter() > 0
            && (self.bytes >= policy.bytes || key.is_half_used() || now.saturating_sub(self.last) >= policy.age)
    }

    fn completes(&self, peer_number: u32) -> bool {
        self.completing && peer_number > self.mixed
    }
}
