//! One session on our standard input and output, for `connect` and `serve --once`.

use std::io::IsTerminal;
use std::time::Duration;

use countersign::Stream;
use countersign::stream::{ReadHalf, WriteHalf};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::pipe::{CopyError, receive, send};
use crate::report::{INTERRUPTED, IO, Report};

/// Standard input to the peer, the peer to standard output, until both have ended. An interrupt ends our direction properly.
pub async fn on_stdio(stream: Stream<TcpStream>, interrupted: impl Future<Output = ()>) -> Result<u8, Report> {
    let (mut read, mut write) = stream.into_split();
    let code = tokio::select! {
        code = pump(&mut read, &mut write) => code,
        () = interrupted => Ok(INTERRUPTED),
    };
    if code.is_err() {
        // The peer is told why, and gets the time to read it.
        let _ = timeout(GRACE, write.shutdown()).await;
        read.linger().await;
    }
    let code = code?;
    // If the copy has not ended our direction, it ends here: an authenticated end, within reason.
    let _ = timeout(GRACE, write.shutdown()).await;
    Ok(code)
}

async fn pump(read: &mut ReadHalf<OwnedReadHalf>, write: &mut WriteHalf<OwnedWriteHalf>) -> Result<u8, Report> {
    let (mut sent, mut received) = (0, 0);
    let mut stdout = tokio::io::stdout();
    let up = async {
        send(tokio::io::stdin(), write, &mut sent).await?;
        write.shutdown().await.map_err(CopyError::Write)
    };
    let down = receive(read, &mut stdout, &mut received);
    tokio::pin!(up, down);
    let (mut up_done, mut down_done) = (false, false);
    while !(up_done && down_done) {
        tokio::select! {
            result = &mut up, if !up_done => {
                result.map_err(|error| sending(error, down_done))?;
                up_done = true;
            }
            result = &mut down, if !down_done => {
                result.map_err(receiving)?;
                down_done = true;
                // Nobody types into a session that the peer has ended.
                if std::io::stdin().is_terminal() {
                    break;
                }
            }
        }
    }
    Ok(0)
}

fn sending(error: CopyError, peer_ended: bool) -> Report {
    match error {
        CopyError::Read(error) => Report::io("standard input", &error),
        CopyError::Write(error) if peer_ended => {
            Report::new(IO, format!("the peer was done before all of our input was sent: {error}"), None)
        }
        CopyError::Write(error) => Report::session(&error),
    }
}

fn receiving(error: CopyError) -> Report {
    match error {
        CopyError::Read(error) => Report::session(&error),
        CopyError::Write(error) => Report::io("standard output", &error),
    }
}

const GRACE: Duration = Duration::from_secs(2);
