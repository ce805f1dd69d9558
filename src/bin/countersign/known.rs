//! Trust on first use: who answers at an address is remembered, and must be the same the next time.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use countersign::PublicKey;
use countersign::trust::{Decision, DecisionFuture, Known, KnownPeers, Request, Trust};

use crate::args::ConnectArgs;
use crate::log;
use crate::report::{IO, PEER_REFUSED, Report};
use crate::watch::{Watched, watch};

/// The address, and what was seen there.
#[derive(Clone)]
pub struct Place {
    host: String,
    port: u16,
    seen: Arc<Mutex<Option<Seen>>>,
}

#[derive(Clone)]
struct Seen {
    key: PublicKey,
    known: Known,
    /// The known key that vouches for it.
    predecessor: Option<PublicKey>,
}

impl Place {
    /// The place of `HOST:PORT`, which has been checked to be that.
    pub fn new(address: &str) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        Place { host, port: port.parse().unwrap_or_default(), seen: Arc::default() }
    }

    /// Trusts who is known at this place, and notes who answers. The file is watched.
    pub fn trust(&self, file: &Path) -> Result<(impl Trust + use<>, Watched), Report> {
        KnownPeers::open(file).map_err(|error| Report::new(IO, error, None))?;
        let (path, place) = (file.to_path_buf(), self.clone());
        watch("known peers", vec![path.clone()], move || {
            let known = KnownPeers::open(&path)?;
            Ok(Noting { inner: known.trust(&place.host, place.port), known, place: place.clone() })
        })
    }

    /// After a call that succeeded: a new key that the known one vouches for takes its place in the file.
    pub fn remember(&self, file: &Path) {
        let Some(Seen { key, predecessor: Some(old), .. }) = self.take() else { return };
        let (was, is) = (old.fingerprint(), key.fingerprint());
        log::line(format!("the peer has a new key, {is}, for which the known one, {was}, vouches"));
        match KnownPeers::replace(file, &self.host, self.port, &old, &key) {
            Ok(()) => log::line(format!("{} has the new key now", file.display())),
            Err(error) => log::line(format!("warning: {} keeps the old key: {error}", file.display())),
        }
    }

    fn take(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// After a call that failed: goes on if the peer is new and a person says yes. `Ok(false)` if that was not the reason.
    pub fn settle(&self, args: &ConnectArgs, file: &Path) -> Result<bool, Report> {
        let Some(Seen { key, known, predecessor: None }) = self.take() else { return Ok(false) };
        let shown = format!("[{}]:{}", self.host.escape_debug(), self.port);
        match known {
            Known::New => {
                if !args.accept_new && !ask(&shown, &key)? {
                    return Err(Report::new(PEER_REFUSED, format!("{shown}: not accepted"), None));
                }
                KnownPeers::add(file, &self.host, self.port, &key, args.hash_names)
                    .map_err(|error| Report::io(format!("can't write {}", file.display()), &error))?;
                log::line(format!("{shown} is known from now on as {} ({})", key.fingerprint(), file.display()));
                Ok(true)
            }
            Known::Changed { expected, line } => Err(changed(&shown, &key, &expected, file, line)),
            Known::Revoked { line } => Err(Report::new(
                PEER_REFUSED,
                format!("{shown}: the key {} is revoked, {} line {line}", key.fingerprint(), file.display()),
                Some("somebody uses a key that was withdrawn: ask the peer's operator over another channel"),
            )),
            _ => Ok(false),
        }
    }
}

/// What ssh says, as loudly.
fn changed(shown: &str, key: &PublicKey, expected: &[PublicKey], file: &Path, line: usize) -> Report {
    let expected: Vec<String> = expected.iter().map(|key| key.fingerprint().to_string()).collect();
    let bar = "@".repeat(64);
    log::line(format!("{bar}\n@  WARNING: THE IDENTITY OF THE PEER HAS CHANGED\n{bar}"));
    log::line("Somebody may be answering in its place. Or its key was replaced.");
    let known = expected.join(" or ");
    Report::new(
        PEER_REFUSED,
        format!("{shown}: known as {known} ({} line {line}), but {} answered", file.display(), key.fingerprint()),
        Some(
            "ask the peer's operator for `countersign id FILE` over another channel; if the new key is right, take that line out",
        ),
    )
}

/// Asks on the terminal, since standard input is for the peer.
fn ask(shown: &str, key: &PublicKey) -> Result<bool, Report> {
    let no_terminal = || {
        Report::new(
            PEER_REFUSED,
            format!("{shown}: {} answered, who is not known, and there is no terminal to ask", key.fingerprint()),
            Some(
                "compare this fingerprint with the peer's (`countersign id FILE` there), then give --accept-new once, or --peer",
            ),
        )
    };
    if !std::io::stderr().is_terminal() && !std::io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| no_terminal())?;
    let fingerprint = key.fingerprint().to_string();
    let failed = |error| Report::io("can't ask on the terminal", &error);
    let text = format!(
        "The identity of {shown} is not known yet.\nIt has the key {fingerprint}\n{}\nCompare this with the peer's `countersign id FILE --art`. Go on (yes, no, or the fingerprint)? ",
        key.randomart()
    );
    answer(&terminal, &text, &fingerprint).map_err(failed)
}

fn answer(terminal: &File, text: &str, fingerprint: &str) -> std::io::Result<bool> {
    let (mut output, mut input) = (terminal, BufReader::new(terminal));
    output.write_all(text.as_bytes())?;
    for _ in 0..MAX_QUESTIONS {
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        match line.trim() {
            "yes" => return Ok(true),
            "no" => return Ok(false),
            typed if typed == fingerprint => return Ok(true),
            _ => output.write_all(b"Please type 'yes', 'no' or the fingerprint: ")?,
        }
    }
    Ok(false)
}

/// Notes who answered, for what is said afterwards.
struct Noting<T> {
    inner: T,
    known: KnownPeers,
    place: Place,
}

impl<T: Trust> Trust for Noting<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        Box::pin(async move {
            let decision = self.inner.decide(request).await;
            let key = *request.public_key();
            let known = self.known.check(&self.place.host, self.place.port, &key);
            let predecessor = match &decision {
                Decision::Accept(grant) => grant.predecessor,
                Decision::Refuse(_) => None,
            };
            let seen = Some(Seen { key, known, predecessor });
            *self.place.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
            decision
        })
    }
}

const MAX_QUESTIONS: usize = 3;
