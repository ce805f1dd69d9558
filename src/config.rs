//! What a side is and wants: built once, shared by all its connections.

use core::fmt;
use core::time::Duration;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::Misuse;
use crate::identity::Identity;
use crate::limits::{HANDSHAKE_SECONDS, MAX_CONTEXT_LEN, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS};
use crate::trust::Trust;
use crate::wire::message::check_service;

/// Identity, trust and settings of one side. Cheap to clone.
#[derive(Clone)]
pub struct Config {
    pub(crate) identity: Arc<Identity>,
    pub(crate) trust: Arc<dyn Trust>,
    pub(crate) context: Arc<[u8]>,
    pub(crate) services: Option<Arc<[String]>>,
    pub(crate) allow_own_key: bool,
    pub(crate) auth_padding: usize,
    /// Deadline of a whole handshake.
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    pub(crate) max_handshakes_per_address: usize,
}

impl Config {
    /// We are `identity`, and talk to whom `trust` accepts.
    pub fn new(identity: impl Into<Arc<Identity>>, trust: impl Trust + 'static) -> Self {
        Config {
            identity: identity.into(),
            trust: Arc::new(trust),
            context: Arc::from([]),
            services: None,
            allow_own_key: false,
            auth_padding: 0,
            handshake_timeout: Duration::from_secs(HANDSHAKE_SECONDS),
            max_handshakes: MAX_HANDSHAKES,
            max_handshakes_per_address: MAX_HANDSHAKES_PER_ADDRESS,
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

    /// Pads our AUTH message with so many zero bytes, which hide the length of what it holds; 0 by default, and no more than fits.
    #[must_use]
    pub fn auth_padding(mut self, padding: usize) -> Self {
        self.auth_padding = padding;
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

    /// Our identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Our trust.
    pub fn trust(&self) -> &dyn Trust {
        &*self.trust
    }

    pub(crate) fn check(&self) -> Result<(), Misuse> {
        if self.context.len() > MAX_CONTEXT_LEN {
            return Err(Misuse::Context);
        }
        self.services.iter().flat_map(|services| services.iter()).try_for_each(|service| check_service(service))
    }

    pub(crate) fn offers(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|offered| offered == service))
    }
}

const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("identity", &self.identity)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}
