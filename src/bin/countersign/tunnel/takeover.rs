//! A new process takes the listening sockets of the one that runs, which then drains. They go over a Unix socket (SCM_RIGHTS), with the names that the
//! configuration has for them; connections that nobody has accepted yet stay in them.

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::log;
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
struct Heir(Option<PathBuf>);

/// What the next process asks for.
struct Asked(UnixStream);

/// Asks the process at this path for its sockets, if there is one.
pub fn take(path: &Path) -> Result<Option<Taken>, Report> {
    let failed = |error: io::Error| Report::io(format!("can't take over from {}", path.display()), &error);
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    check_user(&stream).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    // If it is about to end nobody reads this.
    let _ = (&stream).write_all(TAKE);
    // One that is about to end gives nothing.
    let sockets = match receive(&stream) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        received => received.map_err(failed)?,
    };
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
    /// Everything is ready here: the other one takes nothing more from now on. If it does not say so, it goes on, and this one must not begin. Returns whether
    /// this one was told to stop meanwhile.
    pub async fn release(self, stop: impl Future<Output = ()>) -> Result<bool, Report> {
        let failed = |error: io::Error| Report::io("can't take over", &error);
        let stream = self.0.try_clone().map_err(failed)?;
        let (tell, mut told) = oneshot::channel();
        let wait = move || drop(tell.send(self.wait()));
        thread::Builder::new().name("takeover".to_string()).spawn(wait).map_err(failed)?;
        let gone = |_| Err(failed(io::Error::other("panicked")));
        tokio::select! {
            biased;
            told = &mut told => return told.unwrap_or_else(gone).map(|()| false),
            () = stop => {}
        }
        // What has been said by now counts: then nobody else serves.
        let _ = stream.shutdown(Shutdown::Read);
        told.await.unwrap_or_else(gone).map(|()| true)
    }

    fn wait(mut self) -> Result<(), Report> {
        let mut answer = [0; GO.len()];
        // One that was told to stop meanwhile has said its word already, and may be gone.
        let _ = self.0.write_all(READY);
        let told = self.0.read_exact(&mut answer);
        match told {
            Ok(()) if answer == *GO => Ok(()),
            Ok(()) => Err(Report::new(IO, "can't take over: the other process answers something else", None)),
            Err(_) => Err(Report::new(
                IO,
                "can't take over: the other process goes on, or another one takes over from it",
                Some("its log says why; start this one again"),
            )),
        }
    }
}

impl Heir {
    /// Listens at a path; whoever asks comes out of the channel. Only our own user can.
    fn listen(path: &Path) -> Result<(Self, mpsc::Receiver<Asked>), Report> {
        let failed = |error: io::Error| Report::io(format!("can't listen on {}", path.display()), &error);
        // The one there is that of the process that we replace, or of none.
        remove_socket(path);
        let listener = bind_unix(path, 0o600).map_err(failed)?;
        let (asks, asked) = mpsc::channel(1);
        thread::Builder::new().name("takeover".to_string()).spawn(move || accept(&listener, &asks)).map_err(failed)?;
        Ok((Heir(Some(path.to_path_buf())), asked))
    }

    /// Another process has the path now.
    fn leave(mut self) {
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
        if asks.is_closed() {
            return;
        }
        let asks = asks.clone();
        // Whoever says nothing holds nobody up.
        let ask = move || {
            if is_asking(&stream).is_ok_and(|asking| asking) {
                let _ = asks.blocking_send(Asked(stream));
            }
        };
        let _ = thread::Builder::new().name("takeover".to_string()).spawn(ask);
    }
}

fn is_asking(mut stream: &UnixStream) -> io::Result<bool> {
    check_user(stream)?;
    stream.set_read_timeout(Some(ASKING))?;
    let mut word = [0; TAKE.len()];
    stream.read_exact(&mut word)?;
    Ok(word == *TAKE)
}

/// The next process: it may ask for the sockets at any time, and is given them.
pub struct Handover {
    heir: Heir,
    asked: mpsc::Receiver<Asked>,
    giving: Option<Giving>,
    /// Who asked last, when who asked before is not done with yet.
    next: Option<Asked>,
}

impl Handover {
    /// Whoever asks at this path is given the sockets.
    pub fn listen(path: &Path) -> Result<Self, Report> {
        let (heir, asked) = Heir::listen(path)?;
        Ok(Handover { heir, asked, giving: None, next: None })
    }

    /// Returns once another process has the sockets and begins; to be asked for them. Cancel-safe.
    pub async fn done(&mut self, sockets: impl Fn() -> io::Result<Vec<(String, OwnedFd)>>) {
        loop {
            if let Some(giving) = &mut self.giving {
                // Whoever asks last is given them: who asked before may hang.
                let given = tokio::select! {
                    biased;
                    given = giving.done() => given,
                    Some(asked) = self.asked.recv(), if self.next.is_none() => {
                        log::line("warning: a process wants to take over and is not ready; another one asks, and comes next");
                        // It may have been told to begin just now: then it is the one, which the next round finds.
                        let _ = giving.stream.shutdown(Shutdown::Both);
                        self.next = Some(asked);
                        continue;
                    }
                };
                self.giving = None;
                match given {
                    Ok(true) => return,
                    Ok(false) => {
                        log::line("warning: a process that wanted to take over did not get so far; this one goes on");
                    }
                    Err(error) => {
                        log::line(format!("warning: the sockets were not handed over: {error}; this one goes on"));
                    }
                }
            } else {
                let asked = match self.next.take() {
                    Some(asked) => asked,
                    None => match self.asked.recv().await {
                        Some(asked) => asked,
                        None => pending().await,
                    },
                };
                self.giving = begin(asked, sockets());
            }
        }
    }

    /// This process was told to stop. One that has asked for the sockets has them at once; whether there is one is returned.
    pub async fn hurry(&mut self, sockets: impl Fn() -> io::Result<Vec<(String, OwnedFd)>>) -> bool {
        loop {
            let giving = self.giving.take().or_else(|| {
                let asked = self.next.take().or_else(|| self.asked.try_recv().ok())?;
                begin(asked, sockets())
            });
            let Some(mut giving) = giving else { return false };
            giving.hurried.store(true, Ordering::Release);
            let _ = giving.stream.shutdown(Shutdown::Read);
            let given = match timeout(HURRY, giving.done()).await {
                Ok(given) => given,
                // It takes nothing; what has been said to it counts.
                Err(_) => {
                    let _ = giving.stream.shutdown(Shutdown::Both);
                    giving.done().await
                }
            };
            if matches!(given, Ok(true)) {
                return true;
            }
        }
    }

    /// Nobody can ask any more. If the sockets were handed over, the path is another's.
    pub fn end(self, handed_over: bool) {
        if handed_over {
            self.heir.leave();
        }
    }
}

fn begin(asked: Asked, sockets: io::Result<Vec<(String, OwnedFd)>>) -> Option<Giving> {
    let giving = sockets.and_then(|sockets| asked.give(sockets));
    giving.map_err(|error| log::line(format!("warning: the sockets can't be handed over: {error}"))).ok()
}

/// Sockets that are being handed over, by a thread of their own; it is broken off when this is dropped.
#[derive(Debug)]
struct Giving {
    stream: UnixStream,
    hurried: Arc<AtomicBool>,
    given: oneshot::Receiver<io::Result<bool>>,
}

impl Giving {
    /// Whether the other process has them and begins.
    async fn done(&mut self) -> io::Result<bool> {
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
    fn give(self, sockets: Vec<(String, OwnedFd)>) -> io::Result<Giving> {
        let stream = self.0.try_clone()?;
        let hurried = Arc::<AtomicBool>::default();
        let (tell, given) = oneshot::channel();
        let asked = hurried.clone();
        let give = move || drop(tell.send(self.give_now(&sockets, &asked)));
        thread::Builder::new().name("takeover".to_string()).spawn(give)?;
        Ok(Giving { stream, hurried, given })
    }

    fn give_now(mut self, sockets: &[(String, OwnedFd)], hurried: &AtomicBool) -> io::Result<bool> {
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
        Ok((ready || hurried.load(Ordering::Acquire)) && self.0.write_all(GO).is_ok())
    }
}

/// Sockets go to and come from our own user, or root, and nobody else, whoever can write to the directory.
#[cfg(target_os = "linux")]
fn check_user(stream: &UnixStream) -> io::Result<()> {
    let (other, own) = (rustix::net::sockopt::socket_peercred(stream)?.uid, rustix::process::geteuid());
    if other == own || other.is_root() {
        return Ok(());
    }
    let text = format!("the other process is of user {}, this one of {}", other.as_raw(), own.as_raw());
    Err(io::Error::new(ErrorKind::PermissionDenied, text))
}

/// The modes of socket and directory are all that protects it.
#[cfg(not(target_os = "linux"))]
fn check_user(_: &UnixStream) -> io::Result<()> {
    Ok(())
}

const TAKE: &[u8; 5] = b"take\n";
const READY: &[u8; 6] = b"ready\n";
const GO: &[u8; 3] = b"go\n";
/// As many as Linux hands over in one message.
const MAX_SOCKETS: usize = 253;
const MAX_NAMES: usize = 64 * 1024;
/// How long one process waits for the other, which may have to ask for a passphrase.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long who asks may take to say so.
const ASKING: Duration = Duration::from_secs(5);
/// How long it takes to say a word.
const HURRY: Duration = Duration::from_secs(3);
