//! The responder: answers measures, within the bounds that `protocol` tells.

use std::io;
use std::time::{Duration, Instant};

use countersign::error::Alert;
use countersign::stream::{IntoSplit, ReadHalf, WriteHalf};
use countersign::{Listener, Stream};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::bench::protocol::{Command, MAX_SESSIONS, MAX_TIME, REQUEST_LEN, block};
use crate::log;
use crate::pipe::{CopyError, discard, meanwhile, send_back};

/// Answers until the listener fails. `log` is for the operator: a line for each measure, and for each peer that breaks
/// the protocol; none for the handshakes, of which there are thousands a second.
pub async fn answer_all(listener: Listener, patience: Duration, log: bool) -> io::Error {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            stream = listener.accept() => match stream {
                Ok(stream) if sessions.len() < MAX_SESSIONS => {
                    sessions.spawn(session(stream, patience, log));
                }
                Ok(mut stream) => {
                    let _ = timeout(TURN_AWAY, stream.abort(Alert::Busy, "bench: too many measures at a time")).await;
                }
                Err(error) => return error,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

/// One measure.
async fn session<T>(mut stream: Stream<T>, patience: Duration, log: bool)
where
    T: AsyncRead + AsyncWrite + IntoSplit + Unpin,
{
    // Everything below has a deadline; during a download the peer has nothing to say.
    stream.set_idle_timeout(None);
    let (started, peer, id) = (Instant::now(), stream.peer().to_string(), stream.session_id());
    let (what, outcome) = match request(&mut stream, patience).await {
        Ok(command) => (command.name(), answer(stream, command).await),
        Err(error) => ("request", Err(error)),
    };
    let time = started.elapsed().as_secs_f64();
    match outcome {
        Ok(_) if !log || what == Command::Close.name() => {}
        Ok(bytes) => log::line(format!("measured session={id} peer={peer} what={what} bytes={bytes} time={time:.3}s")),
        Err(error) if log => {
            log::line(format!("failed session={id} peer={peer} what={what} time={time:.3}s error={error}"))
        }
        Err(_) => {}
    }
}

/// Waits for a request. One that is none, or that does not come, ends the session with an alert that says so.
async fn request<T>(stream: &mut Stream<T>, patience: Duration) -> io::Result<Command>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = [0; REQUEST_LEN];
    let (alert, text) = match timeout(patience, stream.read_exact(&mut request)).await {
        Ok(read) => {
            read?;
            match Command::parse(request) {
                Ok(command) => return Ok(command),
                Err(text) => (Alert::Malformed, text),
            }
        }
        Err(_) => (Alert::Timeout, "bench: no request came".to_string()),
    };
    let _ = timeout(TURN_AWAY, stream.abort(alert, &text)).await;
    Err(io::Error::other(text))
}

/// Does what was asked for; the number of bytes that went by. However it goes our direction ends properly, if it can.
async fn answer<T>(stream: Stream<T>, command: Command) -> io::Result<u64>
where
    T: AsyncRead + AsyncWrite + IntoSplit + Unpin,
{
    let (mut read, mut write) = stream.into_split();
    let mut bytes = 0;
    let work = async {
        write.write_all(&command.answer()).await?;
        write.flush().await?;
        match command {
            Command::Close => Ok(()),
            Command::Upload => take(&mut read, &mut write, &mut bytes).await,
            Command::Download { size } => pour(&mut read, &mut write, block(size), &mut bytes).await,
            Command::Echo => send_back(&mut read, &mut write, &mut bytes).await.map_err(CopyError::into_inner),
        }
    };
    let outcome = timeout(MAX_TIME, work).await.unwrap_or_else(|_| Err(io::Error::other("the measure took too long")));
    let end = async {
        write.shutdown().await?;
        // Closing with bytes unread would reset the connection, and what we sent with it.
        discard(&mut read).await
    };
    let ended = timeout(LINGER, end).await.unwrap_or_else(|_| Err(io::Error::other("the peer does not end")));
    outcome.and(ended).map(|()| bytes)
}

/// Counts what comes until the peer ends, and says how much it was.
async fn take<R, W>(read: &mut ReadHalf<R>, write: &mut WriteHalf<W>, bytes: &mut u64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let len = meanwhile(write, read.fill_buf()).await??.len();
        if len == 0 {
            return write.write_u64(*bytes).await;
        }
        read.consume(len);
        *bytes += u64::try_from(len).unwrap_or(u64::MAX);
    }
}

/// Sends until the peer ends.
async fn pour<R, W>(read: &mut ReadHalf<R>, write: &mut WriteHalf<W>, block: &[u8], bytes: &mut u64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let len = u64::try_from(block.len()).unwrap_or(u64::MAX);
    let send = async {
        loop {
            write.write_all(block).await?;
            *bytes += len;
        }
    };
    tokio::select! {
        failed = send => failed,
        end = read.fill_buf() => match end?.len() {
            0 => Ok(()),
            _ => Err(io::Error::other("the peer sent something during a download")),
        }
    }
}

/// How long an alert may take that ends a session.
const TURN_AWAY: Duration = Duration::from_secs(1);
/// How long a peer may take to end a session that is done.
const LINGER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
