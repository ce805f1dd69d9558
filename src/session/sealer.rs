//! The sending direction.

use core::time::Duration;

use alloc::boxed::Box;

use bytes::{BufMut, BytesMut};
use rand_core::TryCryptoRng;

use crate::crypto::aead::SealingKey;
use crate::crypto::schedule::TrafficSecret;
use crate::crypto::suite::Aead;
use crate::error::{Alert, Error, Misuse, Refusal};
use crate::keylog::SessionLog;
use crate::limits::{HEADER_LEN, MAX_CONTENT_LEN, TAG_LEN};
use crate::role::Role;
use crate::session::padding::Padding;
use crate::session::rekey::{Pace, RekeyPolicy};
use crate::session::shares::Shares;
use crate::session::{KIND_ALERT, KIND_DATA, KIND_END, KIND_KEEPALIVE, KIND_REKEY, KIND_VERDICT, PADDED};
use crate::wire::frame::{FrameType, Header};
use crate::wire::message::check_text;

/// Seals what this side sends. After END, an alert or an error it seals nothing more, and its key is gone.
#[derive(Debug)]
pub struct Sealer {
    live: Result<Live, Error>,
    padding: Padding,
    policy: RekeyPolicy,
}

#[derive(Debug)]
struct Live {
    key: SealingKey,
    secret: TrafficSecret,
    pace: Pace,
    /// A rekey could not be made: nothing but an alert may be sealed any more.
    broken: Option<Box<Error>>,
    log: Option<Box<(Role, SessionLog)>>,
}

impl Sealer {
    /// A direction that is open, without padding and with the default rekey policy.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn new(secret: TrafficSecret, aead: Aead) -> Result<Self, Error> {
        let key = secret.sealing_key(aead)?;
        Ok(Self::with(secret, key))
    }

    /// A direction that has had so many records other than REKEY, for tests. Sealing twice at one counter gives the plaintexts away.
    ///
    /// # Errors
    /// [`Error::Internal`] if the backend fails.
    pub fn dangerous_at(secret: TrafficSecret, aead: Aead, counter: u64) -> Result<Self, Error> {
        let key = secret.dangerous_sealing_key_at(aead, counter)?;
        let mut sealer = Self::with(secret, key);
        if let Ok(live) = &mut sealer.live {
            live.pace.budget.others = counter;
        }
        Ok(sealer)
    }

    fn with(secret: TrafficSecret, key: SealingKey) -> Self {
        let live = Live { key, secret, pace: Pace::default(), broken: None, log: None };
        Sealer { live: Ok(live), padding: Padding::None, policy: RekeyPolicy::default() }
    }

    /// Pads every record by this policy from now on.
    pub fn set_padding(&mut self, padding: Padding) {
        self.padding = padding;
    }

    /// Rekeys by this policy from now on.
    pub fn set_rekey_policy(&mut self, policy: RekeyPolicy) {
        self.policy = policy;
    }

    pub(crate) fn set_log(&mut self, whose: Role, log: Option<SessionLog>) {
        if let Ok(live) = &mut self.live {
            live.log = log.map(|log| Box::new((whose, log)));
        }
    }

    /// Appends one DATA record with the first bytes of `parts` to `output`, at most 65,536, and returns how many it took.
    /// Nothing is appended if there are none. Padded by the policy that was set.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when a limit of the key is reached, [`Misuse::WriteAfterEnd`], or the error that ended the session.
    pub fn seal_data<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        output: &mut BytesMut,
    ) -> Result<usize, Error> {
        let len = total(parts.clone()).min(self.padding.max_content());
        self.seal_some(parts, len, self.padding.of(len), output)
    }

    /// As [`Sealer::seal_data`], with that many zero bytes of padding whatever the policy; content and padding have at most 65,536
    /// bytes together, so less content may be taken. `Some(0)` sets the padding flag all the same.
    ///
    /// # Errors
    /// As [`Sealer::seal_data`].
    pub fn seal_padded<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
        padding: Option<u16>,
        output: &mut BytesMut,
    ) -> Result<usize, Error> {
        let len = total(parts.clone()).min(MAX_CONTENT_LEN - padding.map_or(0, usize::from));
        self.seal_some(parts, len, padding, output)
    }

    /// Appends END: the authenticated end of this direction.
    ///
    /// # Errors
    /// As [`Sealer::seal_data`].
    pub fn seal_end(&mut self, output: &mut BytesMut) -> Result<(), Error> {
        self.check()?;
        self.seal(KIND_END, 0, core::iter::empty(), self.padding.of(0), output)?;
        self.poison(Error::Misuse(Misuse::WriteAfterEnd));
        Ok(())
    }

    /// Appends an ALERT record, which ends the session in both directions.
    ///
    /// # Errors
    /// [`Misuse::Text`] for a text that the wire does not carry; else as [`Sealer::seal_data`].
    pub fn seal_alert(&mut self, alert: Alert, text: &str, output: &mut BytesMut) -> Result<(), Error> {
        check_text(text).map_err(Error::Misuse)?;
        self.seal_code_text(KIND_ALERT, alert.code(), text, output)?;
        self.poison(Error::Misuse(Misuse::WriteAfterEnd));
        Ok(())
    }

    /// Appends KEEPALIVE, which says nothing but that this side is there.
    ///
    /// # Errors
    /// As [`Sealer::seal_data`].
    pub fn seal_keepalive(&mut self, output: &mut BytesMut) -> Result<(), Error> {
        self.check_room(0)?;
        self.seal(KIND_KEEPALIVE, 0, core::iter::empty(), self.padding.of(0), output)
    }

    /// Whether [`Sealer::rekey`] is to be called before the next record. `now` is the time since the session began; `peer_number` is
    /// that of [`Shares::peer_number`].
    pub fn rekey_is_due(&self, now: Duration, peer_number: u32) -> bool {
        self.live.as_ref().is_ok_and(|live| live.pace.is_due(&self.policy, &live.key, now, peer_number))
    }

    /// Appends REKEY and goes on under a new key (specification, section 11.2). Draws 32 bytes. The old key is wiped.
    ///
    /// # Errors
    /// [`Misuse::RekeyStorm`] if the peer would refuse one so soon, which ends nothing; [`Error::Entropy`]; a zero secret with the peer's
    /// share; else as [`Sealer::seal_data`]. After a failure only [`Sealer::seal_alert`] works, for the alert that it calls for.
    pub fn rekey(
        &mut self,
        shares: &mut Shares,
        now: Duration,
        rng: &mut impl TryCryptoRng,
        output: &mut BytesMut,
    ) -> Result<(), Error> {
        // [RK-2]
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        if let Some(error) = &live.broken {
            return Err((**error).clone());
        }
        if !live.pace.budget.allows_rekey() {
            return Err(Error::Misuse(Misuse::RekeyStorm));
        }
        let result = self.rekey_now(shares, now, rng, output);
        if let (Err(error), Ok(live)) = (&result, &mut self.live) {
            live.broken = Some(Box::new(error.clone()));
        }
        result
    }

    fn rekey_now(
        &mut self,
        shares: &mut Shares,
        now: Duration,
        rng: &mut impl TryCryptoRng,
        output: &mut BytesMut,
    ) -> Result<(), Error> {
        let live = self.live.as_ref().map_err(Clone::clone)?;
        // Before the REKEY itself is counted.
        let completes = live.pace.is_completing(&self.policy, &live.key, now, shares.peer_number());
        let (rekey, dh) = shares.send(rng)?;
        let content = rekey.encode();
        let parts = core::iter::once(content.as_slice());
        self.seal(KIND_REKEY, content.len(), parts, self.padding.of(content.len()), output)?;
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        // [RK-1]
        live.pace.rekeyed(completes, now, rekey.peer_number);
        live.secret = live.secret.next(&content, dh.as_ref())?;
        live.key = live.secret.sealing_key(live.key.aead())?;
        if let Some((whose, log)) = live.log.as_deref() {
            log.traffic(*whose, live.pace.budget.rekeys, live.secret.expose());
        }
        Ok(())
    }

    /// The responder's answer; its first record.
    pub(crate) fn seal_verdict(&mut self, refusal: Option<&Refusal>, output: &mut BytesMut) -> Result<(), Error> {
        match refusal {
            None => self.seal_code_text(KIND_VERDICT, 0, "", output),
            Some(Refusal { reason, text }) => {
                check_text(text).map_err(Error::Misuse)?;
                self.seal_code_text(KIND_VERDICT, reason.code(), text, output)
            }
        }
    }

    /// Gives up the expanded key, 600 bytes or more, until the next record, which takes some 150 ns longer. For a session that may idle.
    pub fn rest(&mut self) {
        if let Ok(live) = &mut self.live {
            live.key.rest();
        }
    }

    /// Whether more can be sealed.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), Error> {
        let live = self.live.as_ref().map_err(Clone::clone)?;
        live.broken.as_deref().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Ends this direction because of an error elsewhere. The key is wiped; the first error stays.
    pub fn poison(&mut self, error: Error) {
        if self.live.is_ok() {
            self.live = Err(error);
        }
    }

    /// How long `len` bytes become by sealing, or what fits of them in `records` records: all that is sent, in bytes.
    pub fn sealed_len(&self, len: usize, records: usize) -> usize {
        let record = |len| HEADER_LEN + plaintext_len(len, self.padding.of(len)) + TAG_LEN;
        let max = self.padding.max_content();
        let (full, rest) = ((len / max).min(records), len % max);
        let last = if rest > 0 && full < records { record(rest) } else { 0 };
        full.saturating_mul(record(max)).saturating_add(last)
    }

    fn seal_some<'a>(
        &mut self,
        parts: impl Iterator<Item = &'a [u8]>,
        len: usize,
        padding: Option<u16>,
        output: &mut BytesMut,
    ) -> Result<usize, Error> {
        self.check_room(plaintext_len(len, padding))?;
        if len == 0 {
            return Ok(0);
        }
        self.seal(KIND_DATA, len, parts, padding, output).map(|()| len)
    }

    /// [RE-2] The last number is kept for END, an alert or a rekey.
    fn check_room(&self, len: usize) -> Result<(), Error> {
        self.check()?;
        let live = self.live.as_ref().map_err(Clone::clone)?;
        if live.key.has_room(len) { Ok(()) } else { Err(Error::Exhausted) }
    }

    fn seal_code_text(&mut self, kind: u8, code: u8, text: &str, output: &mut BytesMut) -> Result<(), Error> {
        let parts = [&[code], text.as_bytes()];
        let len = 1 + text.len();
        self.seal(kind, len, parts.into_iter(), self.padding.of(len), output)
    }

    /// Header, kind and `len` bytes of content go to their final place, and are sealed there.
    fn seal<'a>(
        &mut self,
        kind: u8,
        len: usize,
        parts: impl Iterator<Item = &'a [u8]>,
        padding: Option<u16>,
        output: &mut BytesMut,
    ) -> Result<(), Error> {
        let live = self.live.as_mut().map_err(|error| error.clone())?;
        let body_len = plaintext_len(len, padding) + TAG_LEN;
        let header = Header { frame: FrameType::Record, len: body_len }.encode();
        let start = output.len();
        output.reserve(HEADER_LEN + body_len);
        output.put_slice(&header);
        output.put_u8(if padding.is_some() { kind | PADDED } else { kind });
        let mut left = len;
        for part in parts {
            let (taken, _) = part.split_at(part.len().min(left));
            output.put_slice(taken);
            left -= taken.len();
        }
        if let Some(padding) = padding {
            output.put_bytes(0, usize::from(padding));
            output.put_u16(padding);
        }
        let plaintext = output.get_mut(start + HEADER_LEN..).unwrap_or_default();
        match live.key.seal(&header, plaintext) {
            Ok(tag) => output.put_slice(&tag),
            Err(error) => {
                output.truncate(start);
                self.poison(error.clone());
                return Err(error);
            }
        }
        let counted = if kind == KIND_REKEY { &mut live.pace.budget.rekeys } else { &mut live.pace.budget.others };
        *counted += 1;
        live.pace.bytes = live.pace.bytes.saturating_add(u64::try_from(body_len).unwrap_or(u64::MAX));
        Ok(())
    }
}

fn plaintext_len(len: usize, padding: Option<u16>) -> usize {
    1 + len + padding.map_or(0, |padding| usize::from(padding) + 2)
}

fn total<'a>(parts: impl Iterator<Item = &'a [u8]>) -> usize {
    parts.fold(0_usize, |sum, part| sum.saturating_add(part.len()))
}
