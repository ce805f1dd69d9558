//! A new process takes the listening sockets of the one that runs, which then drains. They go over a Unix socket (SCM_RIGHTS), with the names that the
//! configuration has for them; connections that nobody has accepted yet stay in them.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::sync::{mpsc, oneshot};

use crate::report::{IO, Report};
use crate::tunnel::sockets::{Socket, bind_unix, remove_socket};

/// The sockets of the process that is to be replaced, by their names.
#[derive(Debug)]
pub struct Taken {
    pub sockets: BTreeMap<String, Socket>,
    pub from: Predecessor,
}

/// The process that is to be replaced: it goes on until it is released.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

/// Where the next process asks; removed when dropped, unless it is another's by then.
#[derive(Debug)]
pub struct Heir(Option<PathBuf>);

/// What the next process asks for.
pub struct Asked(UnixStream);

/// Asks the process at this path for its sockets, if there is one.
pub fn take(path: &Path) -> Result<Option<Taken>, Report> {
    let failed = |error: io::Error| Report::io(format!("can't take over from {}", path.display()), &error);
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    // One that is about to end gives nothing.
    let sockets = receive(&stream).map_err(failed)?;
    Ok(sockets.map(|sockets| Taken { sockets, from: Predecessor(stream) }))
}

fn receive(stream: &UnixStream) -> io::Result<Option<BTreeMap<String, Socket>>> {
    let mut bytes = vec![0; MAX_NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    if message.bytes == 0 {
        return Ok(None);
    }
    let unclear = || io::Error::new(ErrorKind::InvalidData, "what came are not the sockets of a tunnel");
    let text = std::str::from_utf8(bytes.get(..message.bytes).unwrap_or_default()).map_err(|_| unclear())?;
    let names: Vec<&str> =
        text.strip_suffix("\n\n").ok_or_else(unclear)?.split('\n').filter(|n| !n.is_empty()).collect();
    if names.len() != descriptors.len() {
        return Err(unclear());
    }
    let sockets = names.into_iter().zip(descriptors);
    let named = |(name, descriptor): (&str, _)| Ok((name.to_string(), Socket::from_descriptor(descriptor)?));
    sockets.map(named).collect::<io::Result<_>>().map(Some)
}

impl Predecessor {
    /// Everything is ready here: the other one takes nothing more from now on. If it does not say so, it goes on, and this one must not begin.
    pub fn release(mut self) -> Result<(), Report> {
        let mut answer = [0; GO.len()];
        let told = self.0.write_all(READY).and_then(|()| self.0.read_exact(&mut answer));
        match told {
            Ok(()) if answer == *GO => Ok(()),
            Ok(()) => Err(Report::new(IO, "can't take over: the other process answers something else", None)),
            Err(error) => Err(Report::io("can't take over: the other process goes on", &error)),
        }
    }
}

impl Heir {
    /// Listens at a path; whoever asks comes out of the channel. Only our own user can.
    pub fn listen(path: &Path) -> Result<(Self, mpsc::Receiver<Asked>), Report> {
        let failed = |error: io::Error| Report::io(format!("can't listen on {}", path.display()), &error);
        // The one there is that of the process that we replace, or of none.
        remove_socket(path);
        let listener = bind_unix(path, 0o600).map_err(failed)?;
        let (asks, asked) = mpsc::channel(1);
        thread::Builder::new().name("takeover".to_string()).spawn(move || accept(&listener, &asks)).map_err(failed)?;
        Ok((Heir(Some(path.to_path_buf())), asked))
    }

    /// Another process has the path now.
    pub fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove_socket(path);
        }
    }
}

fn accept(listener: &UnixListener, asks: &mpsc::Sender<Asked>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if asks.blocking_send(Asked(stream)).is_err() {
            return;
        }
    }
}

/// Sockets that are being handed over, by a thread of their own; it is broken off when this is dropped.
#[derive(Debug)]
pub struct Giving {
    stream: UnixStream,
    given: oneshot::Receiver<io::Result<bool>>,
}

impl Giving {
    /// Whether the other process has them and begins.
    pub async fn done(&mut self) -> io::Result<bool> {
        (&mut self.given).await.unwrap_or_else(|_| Err(io::Error::other("panicked")))
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Asked {
    /// Gives the sockets away.
    pub fn give(self, sockets: Vec<(String, OwnedFd)>) -> io::Result<Giving> {
        let stream = self.0.try_clone()?;
        let (tell, given) = oneshot::channel();
        let give = move || drop(tell.send(self.give_now(&sockets)));
        thread::Builder::new().name("takeover".to_string()).spawn(give)?;
        Ok(Giving { stream, given })
    }

    fn give_now(mut self, sockets: &[(String, OwnedFd)]) -> io::Result<bool> {
        if sockets.len() > MAX_SOCKETS {
            return Err(io::Error::new(ErrorKind::InvalidInput, "more sockets than can be handed over"));
        }
        let mut names: String = sockets.iter().map(|(name, _)| format!("{name}\n")).collect();
        names.push_str(if sockets.is_empty() { "\n\n" } else { "\n" });
        let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, descriptor)| descriptor.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for the sockets"));
        }
        sendmsg(&self.0, &[IoSlice::new(names.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        self.0.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; READY.len()];
        let ready = self.0.read_exact(&mut answer).is_ok() && answer == *READY;
        Ok(ready && self.0.write_all(GO).is_ok())
    }
}

const READY: &[u8; 6] = b"ready\n";
const GO: &[u8; 3] = b"go\n";
/// As many as Linux hands over in one message.
const MAX_SOCKETS: usize = 253;
const MAX_NAMES: usize = 64 * 1024;
/// How long one process waits for the other, which may have to ask for a passphrase.
const PATIENCE: Duration = Duration::from_secs(300);
