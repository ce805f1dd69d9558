//! Who we are in a handshake, and how far it has come.

use core::fmt;

/// The two sides of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that opened the connection.
    Initiator,
    /// The side that accepted it.
    Responder,
}

impl Role {
    /// The other side.
    pub fn peer(self) -> Role {
        match self {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        }
    }

    /// The name that stands in domain strings and labels.
    pub fn name(self) -> &'static str {
        match self {
            Role::Initiator => "initiator",
            Role::Responder => "responder",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The message that a handshake was at when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// The initiator's offer.
    Hello,
    /// The responder's choice.
    HelloReply,
    /// The responder's proof.
    AuthR,
    /// The initiator's proof.
    AuthI,
    /// The responder's answer.
    Verdict,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Hello => "HELLO",
            Stage::HelloReply => "HELLO_REPLY",
            Stage::AuthR => "AUTH_R",
            Stage::AuthI => "AUTH_I",
            Stage::Verdict => "VERDICT",
        })
    }
}
