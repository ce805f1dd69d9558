//! How a plain connection says which service it is for: not at all, or by SOCKS5 (RFC 1928, without authentication).

use countersign::error::{Error, Reason};
use countersign::stream::ConnectError;
use fast_socks5::server::{Socks5ServerProtocol, states};
use fast_socks5::util::target_addr::TargetAddr;
use fast_socks5::{ReplyError, Socks5Command};
use std::net::{Ipv4Addr, SocketAddr};

use crate::tunnel::plain::Plain;

/// A connection that waits for its session.
pub enum Asked {
    Plainly(Plain),
    Socks(Box<Socks5ServerProtocol<Plain, states::CommandRead>>),
}

/// Reads a SOCKS5 request: the host name is the service.
pub async fn ask(plain: Plain) -> Result<(String, Asked), String> {
    let socks = |error: fast_socks5::server::SocksServerError| format!("SOCKS5: {error}");
    let protocol = Socks5ServerProtocol::accept_no_auth(plain).await.map_err(socks)?;
    let (protocol, command, target) = protocol.read_command().await.map_err(socks)?;
    let (reply, why) = match (command, target) {
        (Socks5Command::TCPConnect, TargetAddr::Domain(name, _)) => {
            if name.len() <= 255 && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Ok((name, Asked::Socks(Box::new(protocol))));
            }
            (ReplyError::HostUnreachable, format!("SOCKS5: {name:?} can't be a service"))
        }
        (Socks5Command::TCPConnect, TargetAddr::Ip(address)) => (
            ReplyError::AddressTypeNotSupported,
            format!("SOCKS5: {address} was asked for; services have names: curl has socks5h:// for it"),
        ),
        (command, _) => {
            (ReplyError::CommandNotSupported, format!("SOCKS5: {command:?} is not supported, only CONNECT"))
        }
    };
    let _ = protocol.reply_error(&reply).await;
    Err(why)
}

impl Asked {
    /// There is a session.
    pub async fn accept(self) -> Result<Plain, String> {
        match self {
            Asked::Plainly(plain) => Ok(plain),
            Asked::Socks(protocol) => protocol.reply_success(NOWHERE).await.map_err(|error| format!("SOCKS5: {error}")),
        }
    }

    /// There is none.
    pub async fn refuse(self, error: &ConnectError) {
        self.reply(&reply(error)).await;
    }

    /// There will be none: this side stops.
    pub async fn stop(self) {
        self.reply(&ReplyError::GeneralFailure).await;
    }

    async fn reply(self, reply: &ReplyError) {
        match self {
            Asked::Plainly(plain) => plain.reset(),
            Asked::Socks(protocol) => drop(protocol.reply_error(reply).await),
        }
    }
}

/// What RFC 1928 has for it.
fn reply(error: &ConnectError) -> ReplyError {
    match error {
        ConnectError::Io { stage: None, .. } => ReplyError::NetworkUnreachable,
        ConnectError::Timeout { .. } => ReplyError::TtlExpired,
        ConnectError::Protocol(failure) => match &failure.error {
            Error::Refused(refusal) if refusal.reason == Reason::ServiceUnavailable => ReplyError::HostUnreachable,
            Error::Refused(refusal) if refusal.reason == Reason::Busy => ReplyError::GeneralFailure,
            Error::Refused(_) | Error::Untrusted(_) => ReplyError::ConnectionNotAllowed,
            _ => ReplyError::GeneralFailure,
        },
        _ => ReplyError::GeneralFailure,
    }
}

/// The address at the server's side is nobody's business here.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
