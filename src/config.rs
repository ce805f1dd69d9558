//! What a side is and wants: built once, shared by all its connections.

use core::fmt;
#[cfg(feature = "tokio")]
use core::net::IpAddr;
use core::time::Duration;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::crypto::backend::has_aes;
use crate::crypto::network::NetworkKey;
use crate::crypto::suite::{Aead, Suite};
use crate::error::Misuse;
use crate::identity::{PublicKey, Signer};
use crate::keylog::KeyLog;
use crate::limits::{
    AUTH_PADDING_BLOCK, HANDSHAKE_SECONDS, MAX_CONTEXT_LEN, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS, MAX_SUITES,
};
#[cfg(feature = "std")]
use crate::live::Live;
use crate::session::{Padding, RekeyPolicy};
use crate::trust::Trust;
use crate::wire::message::check_service;

/// Tells the time. Any closure that gives the time since 1970 in UTC is one.
pub trait Clock: Send + Sync {
    /// Now, since 1970 in UTC.
    fn now(&self) -> Duration;
}

impl<F: Fn() -> Duration + Send + Sync> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// Identity, trust and settings of one side. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) public_key: PublicKey,
    pub(crate) trust: Arc<dyn Trust>,
    #[cfg(feature = "std")]
    pub(crate) live: Arc<Live>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) context: Arc<[u8]>,
    pub(crate) services: Option<Arc<[String]>>,
    pub(crate) allow_own_key: bool,
    pub(crate) suites: Option<Arc<[Suite]>>,
    pub(crate) network_key: Option<NetworkKey>,
    pub(crate) auth_padding: usize,
    pub(crate) padding: Padding,
    pub(crate) rekey: RekeyPolicy,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) write_buffer: usize,
    pub(crate) key_log: Option<Arc<dyn KeyLog>>,
    /// Deadline of a whole handshake.
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    pub(crate) max_handshakes_per_address: usize,
    pub(crate) max_handshake_rate: u32,
    #[cfg(feature = "proxy-protocol")]
    is_proxy: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl Config {
    /// We are who `signer` signs for (an [`Identity`](crate::Identity), or a key elsewhere), and talk to whom `trust` accepts.
    pub fn new(signer: impl Signer + 'static, trust: impl Trust + 'static) -> Self {
        let trust: Arc<dyn Trust> = Arc::new(trust);
        Config {
            public_key: signer.public_key(),
            signer: Arc::new(signer),
            #[cfg(feature = "std")]
            live: Live::new(trust.clone()),
            trust,
            clock: None,
            context: Arc::from([]),
            services: None,
            allow_own_key: false,
            suites: None,
            network_key: None,
            auth_padding: AUTH_PADDING_BLOCK,
            padding: Padding::None,
            rekey: RekeyPolicy::default(),
            keep_alive: None,
            idle_timeout: None,
            write_buffer: 0,
            key_log: None,
            handshake_timeout: Duration::from_secs(HANDSHAKE_SECONDS),
            max_handshakes: MAX_HANDSHAKES,
            max_handshakes_per_address: MAX_HANDSHAKES_PER_ADDRESS,
            max_handshake_rate: 0,
            #[cfg(feature = "proxy-protocol")]
            is_proxy: None,
        }
    }

    /// Names the application, at most 255 bytes; empty by default. Both sides must set the same: it keeps two
    /// applications that use the same keys apart.
    #[must_use]
    pub fn context(mut self, context: impl AsRef<[u8]>) -> Self {
        self.context = Arc::from(context.as_ref());
        self
    }

    /// The services that this side offers as a responder; an initiator that names another is refused. By default any
    /// name is left to the trust decision, the empty one included.
    #[must_use]
    pub fn services<S: AsRef<str>>(mut self, services: impl IntoIterator<Item = S>) -> Self {
        let services: Vec<String> = services.into_iter().map(|service| service.as_ref().to_owned()).collect();
        self.services = Some(services.into());
        self
    }

    /// Accepts a peer that presents our own key, for tests and for replicas that share one.
    #[must_use]
    pub fn allow_own_key(mut self, allow: bool) -> Self {
        self.allow_own_key = allow;
        self
    }

    /// The suites that this side uses, most preferred first, and no others. As an initiator it offers them in this order; as a responder it takes the
    /// first that is offered. By default all: hybrid before classical, and AES-256-GCM before ChaCha20-Poly1305 only where both machines have
    /// instructions for it.
    #[must_use]
    pub fn suites(mut self, suites: impl IntoIterator<Item = Suite>) -> Self {
        self.suites = Some(suites.into_iter().collect());
        self
    }

    /// Sets the secret that all members of a network share: without it nobody gets a single byte from this side as a responder.
    #[must_use]
    pub fn network_key(mut self, key: NetworkKey) -> Self {
        self.network_key = Some(key);
        self
    }

    /// Pads the plaintext of our AUTH message to a multiple of so many bytes, so that raw keys and short certificate chains look alike; 1,024
    /// by default, as far as it fits. 0 and 1 mean no padding.
    #[must_use]
    pub fn auth_padding(mut self, block: usize) -> Self {
        self.auth_padding = block;
        self
    }

    /// Pads every record that we send; none by default.
    #[must_use]
    pub fn padding(mut self, padding: Padding) -> Self {
        self.padding = padding;
        self
    }

    /// When we change the key of our direction: after 64 GiB or 15 minutes by default.
    #[must_use]
    pub fn rekey(mut self, policy: RekeyPolicy) -> Self {
        self.rekey = policy;
        self
    }

    /// Sends a KEEPALIVE whenever we have sent nothing for so long, at least 1 ms; off by default. A `Stream` does so while it is
    /// being read; a `WriteHalf` has a future for it.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = Some(interval.clamp(Duration::from_millis(1), MAX_IDLE));
        self
    }

    /// Ends a session from whose peer nothing came for so long, at least 1 ms, while we read; off by default. The peer has to send keepalives for this
    /// to make sense.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout.clamp(Duration::from_millis(1), MAX_IDLE));
        self
    }

    /// Gathers small writes, up to so many bytes (at most 131,072), and seals and sends them together; off by default, so that every write goes out at once. With
    /// it the application flushes when its message is complete, as with any buffered writer. See `Stream::set_write_buffer`.
    #[must_use]
    pub fn write_buffer(mut self, limit: usize) -> Self {
        self.write_buffer = limit;
        self
    }

    /// What time it is, since 1970 in UTC, for certificates and other trust with a validity; the system's clock by default, where there is one.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Writes every secret of every session to a key log, for debugging. Who has it reads everything.
    #[must_use]
    pub fn dangerous_key_log(mut self, log: impl KeyLog + 'static) -> Self {
        self.key_log = Some(Arc::new(log));
        self
    }

    /// Deadline of a whole handshake, 10 s by default, 24 h at most; for `connect` it includes connecting.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout.min(MAX_TIMEOUT);
        self
    }

    /// Bound on the unfinished handshakes of a listener, 1,024 by default, at least 1. At the bound the oldest gives way.
    #[must_use]
    pub fn max_handshakes(mut self, max: usize) -> Self {
        self.max_handshakes = max.max(1);
        self
    }

    /// Bound on the unfinished handshakes from one address, 64 by default, at least 1. At the bound the oldest of that address gives way.
    #[must_use]
    pub fn max_handshakes_per_address(mut self, max: usize) -> Self {
        self.max_handshakes_per_address = max.max(1);
        self
    }

    /// Bound on the handshakes that a listener begins in a second with one address, or with one /64 network of IPv6, as many at once included; off by
    /// default, and at 0. Over it a connection is told that we are busy, as those are that give way, and takes no place from others.
    #[must_use]
    pub fn max_handshake_rate(mut self, max: u32) -> Self {
        self.max_handshake_rate = max;
        self
    }

    /// The addresses of the proxies before a listener; none by default. A connection from one begins with a PROXY header, version 1 or 2, and the source that it
    /// names is the peer's address to our trust, to the bounds per address and in reports; one that names none has the proxy's, without those bounds. From anywhere else
    /// such a header is not believed, and is no handshake.
    #[cfg(feature = "proxy-protocol")]
    #[must_use]
    pub fn behind_proxy(mut self, is_proxy: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.is_proxy = Some(Arc::new(is_proxy));
        self
    }

    /// Who signs for us.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// Our public key; the present one, where it changes.
    pub fn public_key(&self) -> PublicKey {
        self.signer.current().map_or(self.public_key, |signer| signer.public_key())
    }

    /// Our trust.
    pub fn trust(&self) -> &dyn Trust {
        &*self.trust
    }

    /// The suites that we offer as an initiator, most preferred first.
    pub fn offered_suites(&self) -> Vec<Suite> {
        self.suites.as_ref().map_or_else(|| Suite::preferred(has_aes()).to_vec(), |suites| suites.to_vec())
    }

    /// This configuration for one handshake: signer, key and certificate belong together and stay the same.
    pub(crate) fn current(&self) -> Self {
        let mut config = self.clone();
        while let Some(signer) = config.signer.current() {
            config.public_key = signer.public_key();
            config.signer = signer;
        }
        config
    }

    /// Whether connections from there begin with a PROXY header.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        #[cfg(feature = "proxy-protocol")]
        if let Some(is_proxy) = &self.is_proxy {
            return is_proxy(address.to_canonical());
        }
        let _ = address;
        false
    }

    pub(crate) fn check(&self) -> Result<(), Misuse> {
        if self.context.len() > MAX_CONTEXT_LEN {
            return Err(Misuse::Context);
        }
        if let Some(suites) = &self.suites {
            let twice =
                suites.iter().enumerate().any(|(n, suite)| suites.iter().skip(n + 1).any(|other| other == suite));
            if suites.is_empty() || suites.len() > MAX_SUITES || twice {
                return Err(Misuse::Suites);
            }
        }
        self.services.iter().flat_map(|services| services.iter()).try_for_each(|service| check_service(service))
    }

    /// What we choose as a responder from an offer (specification, section 6.7).
    pub(crate) fn choose(&self, offer: &[u16]) -> Option<Suite> {
        choose(self.suites.as_deref(), has_aes(), offer)
    }

    pub(crate) fn offers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|offered| offered == service))
    }
}

fn choose(own: Option<&[Suite]>, has_aes: bool, offer: &[u16]) -> Option<Suite> {
    if let Some(own) = own {
        return own.iter().copied().find(|suite| offer.contains(&suite.code()));
    }
    let offered = || offer.iter().filter_map(|code| Suite::from_code(*code));
    let best = offered().max_by_key(|suite| suite.is_hybrid())?;
    let mut equals = offered().filter(|suite| suite.is_hybrid() == best.is_hybrid());
    if has_aes {
        return equals.next();
    }
    equals.clone().find(|suite| suite.aead() == Aead::ChaCha20Poly1305).or_else(|| equals.next())
}

/// The longest interval and idle timeout: a year.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(365 * 24 * 3_600);
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("signer", &self.signer).field("services", &self.services).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [HS-5] The responder's own preference decides; between AES and ChaCha20 the initiator's order, unless there are no instructions here.
    #[test]
    fn the_responder_chooses() {
        let [chacha, hybrid_chacha, aes, hybrid_aes] = Suite::ALL;
        let pick = |own: Option<&[Suite]>, has_aes, offer: &[Suite]| {
            choose(own, has_aes, &offer.iter().map(|suite| suite.code()).collect::<Vec<_>>())
        };
        for has_aes in [false, true] {
            assert_eq!(pick(None, has_aes, &[chacha, hybrid_chacha]), Some(hybrid_chacha));
            assert_eq!(pick(None, has_aes, &[chacha, aes]), Some(chacha));
            assert_eq!(pick(None, has_aes, &[aes]), Some(aes));
            assert_eq!(pick(Some(&[aes, hybrid_aes]), has_aes, &[hybrid_aes, aes]), Some(aes));
            assert_eq!(pick(Some(&[hybrid_aes]), has_aes, &[chacha]), None);
        }
        assert_eq!(pick(None, true, &[chacha, hybrid_aes, hybrid_chacha]), Some(hybrid_aes));
        assert_eq!(pick(None, false, &[chacha, hybrid_aes, hybrid_chacha]), Some(hybrid_chacha));
        assert_eq!(choose(None, true, &[0x7777]), None);
    }
}
