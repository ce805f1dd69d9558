//! Moving bytes between a stream and something else. Whoever waits with a writing half in his hands keeps the session alive meanwhile.

use std::io;

use countersign::stream::WriteHalf;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why a copy ended early: which of the two ends failed.
#[derive(Debug)]
pub enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl CopyError {
    pub fn into_inner(self) -> io::Error {
        match self {
            CopyError::Read(error) | CopyError::Write(error) => error,
        }
    }
}

/// Waits for something, and sends keepalives. Fails if the session does; only then is `waited` dropped before it ends.
pub async fn meanwhile<W: AsyncWrite + Unpin, T>(
    write: &mut WriteHalf<W>,
    waited: impl Future<Output = T>,
) -> io::Result<T> {
    tokio::select! {
        biased;
        done = waited => Ok(done),
        failed = write.keep_alive() => match failed? {},
    }
}

/// Copies to the peer until `from` ends; counts what was taken. Dropping the future loses nothing that was counted.
pub async fn send<W: AsyncWrite + Unpin>(
    mut from: impl AsyncRead + Unpin,
    write: &mut WriteHalf<W>,
    count: &mut u64,
) -> Result<(), CopyError> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let read = meanwhile(write, from.read(&mut buffer)).await.map_err(CopyError::Write)?;
        let len = read.map_err(CopyError::Read)?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else { return Ok(()) };
        write.write_all(data).await.map_err(CopyError::Write)?;
        write.flush().await.map_err(CopyError::Write)?;
        *count += u64::try_from(len).unwrap_or(u64::MAX);
    }
}

/// Sends everything back until `from` ends, straight from its buffer.
pub async fn send_back<W: AsyncWrite + Unpin>(
    from: &mut (impl AsyncBufRead + Unpin),
    write: &mut WriteHalf<W>,
    count: &mut u64,
) -> Result<(), CopyError> {
    loop {
        let read = meanwhile(write, from.fill_buf()).await.map_err(CopyError::Write)?;
        let data = read.map_err(CopyError::Read)?;
        let len = data.len();
        if len == 0 {
            return Ok(());
        }
        write.write_all(data).await.map_err(CopyError::Write)?;
        write.flush().await.map_err(CopyError::Write)?;
        from.consume(len);
        *count += u64::try_from(len).unwrap_or(u64::MAX);
    }
}

/// Copies from the buffer of `from` until it ends; counts what `to` has taken.
pub async fn receive(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &mut u64,
) -> Result<(), CopyError> {
    loop {
        let data = from.fill_buf().await.map_err(CopyError::Read)?;
        let len = data.len();
        if len == 0 {
            return Ok(());
        }
        to.write_all(data).await.map_err(CopyError::Write)?;
        to.flush().await.map_err(CopyError::Write)?;
        from.consume(len);
        *count += u64::try_from(len).unwrap_or(u64::MAX);
    }
}

/// Reads and discards.
pub async fn discard(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let len = from.fill_buf().await?.len();
        if len == 0 {
            return Ok(());
        }
        from.consume(len);
    }
}

const BUFFER_LEN: usize = 64 * 1024;
