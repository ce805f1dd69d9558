//! The question, the answer, and the trait of whoever answers.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;

use alloc::boxed::Box;
use alloc::string::String;

use crate::error::{Reason, Refusal};
use crate::identity::{Credential, PublicKey};

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
    /// What the peer presented and proved.
    pub credential: Credential,
    /// The service that the initiator names; may be empty.
    pub service: String,
    /// The peer's address, where there is one.
    pub address: Option<SocketAddr>,
    /// Who called whom.
    pub direction: Direction,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; the name, if any, is what `Peer::name` gives and logs show.
    Accept {
        /// A name for people.
        name: Option<String>,
    },
    /// No. An authenticated initiator is told this reason and text; a responder never learns either.
    Refuse(Refusal),
}

/// The future of a decision.
pub type DecisionFuture<'a> = Pin<Box<dyn Future<Output = Decision> + Send + 'a>>;

/// Decides about verified peers.
pub trait Trust: Send + Sync {
    /// Decides. The future may be dropped before it ends, when the handshake's deadline comes first.
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a>;
}

impl Request {
    /// A question about a peer.
    pub fn new(credential: Credential, service: String, address: Option<SocketAddr>, direction: Direction) -> Self {
        Request { credential, service, address, direction }
    }

    /// The key that the peer signed with.
    pub fn public_key(&self) -> &PublicKey {
        self.credential.public_key()
    }
}

impl Decision {
    /// Yes, without a name.
    pub fn accept() -> Self {
        Decision::Accept { name: None }
    }

    /// No: the key is not trusted.
    pub fn not_trusted() -> Self {
        Decision::Refuse(Refusal::new(Reason::NotTrusted, ""))
    }

    /// No, with a text that an authenticated initiator is told.
    pub fn deny(text: &str) -> Self {
        Decision::Refuse(Refusal::new(Reason::Denied, text))
    }

    /// This decision as a future that is ready.
    pub fn ready<'a>(self) -> DecisionFuture<'a> {
        Box::pin(core::future::ready(self))
    }
}

impl fmt::Debug for dyn Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}
