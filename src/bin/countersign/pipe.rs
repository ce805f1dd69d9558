//! Moving bytes between a stream and something else.

use std::io;

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

/// Copies until `from` ends; counts what `to` has taken. Dropping the future loses nothing that was counted.
pub async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    count: &mut u64,
) -> Result<(), CopyError> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = from.read(&mut buffer).await.map_err(CopyError::Read)?;
        let Some(data) = buffer.get(..len).filter(|data| !data.is_empty()) else { return Ok(()) };
        to.write_all(data).await.map_err(CopyError::Write)?;
        to.flush().await.map_err(CopyError::Write)?;
        *count += u64::try_from(len).unwrap_or(u64::MAX);
    }
}

/// As [`copy`], straight from the buffer of `from`.
pub async fn copy_buffered(
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
