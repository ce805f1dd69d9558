//! The question, the answer, and the trait of whoever answers.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::time::Duration;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use crate::error::{Reason, Refusal};
use crate::identity::{Credential, Name, PublicKey};

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer called us.
    Inbound,
    /// We called the peer.
    Outbound,
}

/// What trust is asked: may this peer, which has proved its identity, talk to us?
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// What the peer presented and proved. The names in a certificate are not verified yet.
    pub credential: Credential,
    /// The service that the initiator names; may be empty.
    pub service: String,
    /// The peer's address, where there is one.
    pub address: Option<SocketAddr>,
    /// Who called whom.
    pub direction: Direction,
    /// Now, since 1970 in UTC; `None` where there is no clock: then nothing that has a validity is accepted.
    pub time: Option<Duration>,
    /// Whether there is a session with this peer already, and this asks whether it may go on.
    pub live: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Accept(Grant),
    /// No.
    Refuse(Denial),
}

/// What is accepted, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// A name for people: what `Peer::name` gives and logs show.
    pub name: Option<String>,
    /// The names in the peer's certificate, which a CA that we trust vouches for; empty for a raw key.
    pub names: Vec<Name>,
    /// When to ask again, since 1970 in UTC: the session ends then, unless the answer is yes again.
    pub until: Option<Duration>,
    /// The key that vouches for the peer's, and that we know the peer by.
    pub predecessor: Option<PublicKey>,
    /// The rule that decided, for people.
    pub rule: String,
}

/// What is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// What an authenticated initiator is told; a responder never learns it in the handshake.
    pub refusal: Refusal,
    /// The rule that decided, for people on this side.
    pub rule: String,
}

/// The future of a decision.
pub type DecisionFuture<'a> = Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;

/// Decides about verified peers.
pub trait Trust: Send + Sync {
    /// Decides. The future may be dropped before it ends, when the handshake's deadline comes first.
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a>;

    /// Keeps `watcher`, to be told when decisions that were made may turn out otherwise now: the sessions of the peers are decided about again, and
    /// those that are refused end. Returns whether that can ever be; by default never.
    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        let _ = watcher;
        false
    }
}

/// Is told when decisions may have changed.
pub trait Watcher: Send + Sync {
    /// They may have changed. Returns at once.
    fn changed(&self);
}

impl Request {
    /// A question about a new peer, without a time.
    pub fn new(credential: Credential, service: String, address: Option<SocketAddr>, direction: Direction) -> Self {
        Request { credential, service, address, direction, time: None, live: false }
    }

    /// The same at a time, since 1970 in UTC.
    #[must_use]
    pub fn at(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// The key that the peer signed with.
    pub fn public_key(&self) -> &PublicKey {
        self.credential.public_key()
    }
}

impl Decision {
    /// Yes, without a name.
    pub fn accept() -> Self {
        Decision::Accept(Grant::default())
    }

    /// Yes, with a name for people.
    pub fn accept_as(name: impl Into<String>) -> Self {
        Decision::Accept(Grant { name: Some(name.into()), ..Grant::default() })
    }

    /// No: the key is not trusted.
    pub fn not_trusted() -> Self {
        Self::refuse(Reason::NotTrusted, "")
    }

    /// No, with a text that an authenticated initiator is told.
    pub fn deny(text: &str) -> Self {
        Self::refuse(Reason::Denied, text)
    }

    /// No, with a reason and a text that an authenticated initiator is told.
    pub fn refuse(reason: Reason, text: &str) -> Self {
        Decision::Refuse(Denial { refusal: Refusal::new(reason, text), rule: String::new() })
    }

    /// The same, with the rule that decided, for people on this side.
    #[must_use]
    pub fn because(mut self, because: impl Into<String>) -> Self {
        match &mut self {
            Decision::Accept(Grant { rule, .. }) | Decision::Refuse(Denial { rule, .. }) => *rule = because.into(),
        }
        self
    }

    /// The rule that decided, for people; may be empty.
    pub fn rule(&self) -> &str {
        match self {
            Decision::Accept(Grant { rule, .. }) | Decision::Refuse(Denial { rule, .. }) => rule,
        }
    }

    /// Whether it is a yes.
    pub fn is_accept(&self) -> bool {
        matches!(self, Decision::Accept(_))
    }

    /// This decision as a future that is ready.
    pub fn ready<'a>(self) -> DecisionFuture<'a> {
        Box::pin(core::future::ready(self))
    }
}

impl Grant {
    /// Asks again no later than at `time`.
    pub fn limit(&mut self, time: Duration) {
        self.until = Some(self.until.map_or(time, |until| until.min(time)));
    }
}

impl<T: Trust + ?Sized> Trust for Arc<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        (**self).decide(request)
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        (**self).watch(watcher)
    }
}

impl<T: Trust + ?Sized> Trust for Box<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        (**self).decide(request)
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        (**self).watch(watcher)
    }
}

impl fmt::Debug for dyn Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
