//! The initiator's sessions.

use std::io;
use std::time::Duration;

use countersign::error::{Error, Reason};
use countersign::identity::PeerId;
use countersign::session::SessionInfo;
use countersign::stream::{ConnectError, protocol_error};
use countersign::{Config, Stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::args::SettingsArgs;
use crate::bench::protocol::{Command, REQUEST_LEN, SERVICE};
use crate::report::{IO, Report};

/// Whom we measure with.
#[derive(Debug)]
pub struct Target {
    config: Config,
    address: String,
    peer: PeerId,
    patience: Duration,
}

impl Target {
    pub fn new(config: Config, address: String, peer: PeerId, settings: &SettingsArgs) -> Self {
        Target { config, address, peer, patience: Duration::from_secs(settings.timeout) }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// A handshake. Whatever waits for its stream has a deadline of its own. An idle timeout would end an upload, during
    /// which the peer has nothing to say.
    pub async fn call(&self) -> Result<Stream<TcpStream>, Report> {
        let call = self.config.connect(self.address.clone()).peer(self.peer).service(SERVICE);
        let mut stream = call.await.map_err(|error| self.failed(&error))?;
        stream.set_idle_timeout(None);
        Ok(stream)
    }

    /// Opens and closes a session: the peer is there, accepts us, and answers measures.
    pub async fn probe(&self) -> Result<SessionInfo, Report> {
        let stream = self.call().await?;
        let info = stream.info().clone();
        self.close(stream).await?;
        Ok(info)
    }

    /// Says what the session is for, and waits for the answer.
    pub async fn request(&self, stream: &mut Stream<TcpStream>, command: Command) -> Result<(), Report> {
        let exchange = async {
            stream.write_all(&command.request()).await?;
            stream.flush().await?;
            let mut answer = [0; REQUEST_LEN];
            stream.read_exact(&mut answer).await?;
            io::Result::Ok(answer)
        };
        match timeout(self.patience, exchange).await {
            Ok(Ok(answer)) if answer == command.answer() => Ok(()),
            Ok(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof || protocol_error(&error).is_some() => {
                Err(Report::session(&error))
            }
            // Other words, an end, or silence.
            _ => {
                let message = format!("{}: the peer accepts us, but does not answer measures", self.address);
                Err(Report::new(IO, message, Some(NOT_BENCH)))
            }
        }
    }

    /// Ends a session that nothing was done with. The peer ends first.
    pub async fn close(&self, mut stream: Stream<TcpStream>) -> Result<(), Report> {
        self.request(&mut stream, Command::Close).await?;
        let end = async {
            let at_end = stream.fill_buf().await?.is_empty();
            stream.shutdown().await?;
            io::Result::Ok(at_end)
        };
        match timeout(self.patience, end).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Report::new(IO, MORE, Some(VERSIONS))),
            Ok(Err(error)) => Err(Report::session(&error)),
            Err(_) => Err(Report::session(&io::ErrorKind::TimedOut.into())),
        }
    }

    fn failed(&self, error: &ConnectError) -> Report {
        let report = Report::connect(&self.address, error);
        match error {
            ConnectError::Protocol(failure) => match &failure.error {
                Error::Refused(refusal) if refusal.reason == Reason::ServiceUnavailable => report.with_hint(NOT_BENCH),
                _ => report,
            },
            ConnectError::Io { stage: None, error } if error.kind() == io::ErrorKind::ConnectionRefused => {
                report.with_hint(NOBODY)
            }
            _ => report,
        }
    }
}

const NOBODY: &str =
    "nothing listens there: is `countersign bench --listen` running, and is the port the one it printed?";
const NOT_BENCH: &str = "is it `countersign bench --listen` that runs there? `countersign serve` answers no measures";
const MORE: &str = "the peer sent more than it was asked for";
pub const VERSIONS: &str = "are both programs of the same version?";
