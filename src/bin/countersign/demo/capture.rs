//! `demo --capture`: the first connection goes on a little, and its bytes and secrets go to files for `inspect`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::identity::create_file;
use countersign::session::RekeyPolicy;
use countersign::{Config, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::demo::tap::Tap;
use crate::demo::{failed, say};
use crate::keylog::KeyLogFile;
use crate::report::{IO, Report};

/// Where a capture goes: three files that are not there yet.
pub struct Capture {
    initiator: PathBuf,
    responder: PathBuf,
    keylog: PathBuf,
}

impl Capture {
    pub fn new(prefix: &Path) -> Result<Self, Report> {
        let with = |end: &str| {
            let mut name = prefix.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let capture = Capture { initiator: with(".initiator"), responder: with(".responder"), keylog: with(".keylog") };
        for path in [&capture.initiator, &capture.responder, &capture.keylog] {
            if path.symlink_metadata().is_ok() {
                let message = format!("{} exists, and is not overwritten", path.display());
                return Err(Report::new(IO, message, Some("choose another PREFIX, or move the old files away")));
            }
        }
        // The log appends: it is made here, so that nobody else's is taken for it.
        create_file(&capture.keylog, b"# secrets of one connection, for debugging\n", 0o600)
            .map_err(|error| Report::io(format!("can't write {}", capture.keylog.display()), &error))?;
        Ok(capture)
    }

    /// A peer of the captured connection: changes keys often and logs them. Both sides know the same secrets: either log will do.
    pub fn set_up(&self, config: &Config) -> Config {
        let config = config.clone().rekey(RekeyPolicy::new(REKEY_BYTES, Duration::from_secs(900)));
        match KeyLogFile::open(&self.keylog) {
            Ok(log) => config.dangerous_key_log(log),
            Err(_) => config,
        }
    }

    /// A few records more both ways, then the files.
    pub async fn finish(self, alice: Stream<TcpStream>, bob: Stream<TcpStream>, tap: &Tap) -> Result<(), Report> {
        let talk = async { tokio::try_join!(talk(alice, b"hello bob "), talk(bob, b"hello alice ")) };
        talk.await.map_err(failed)?;
        let seen = tap.seen();
        for (path, from_initiator) in [(&self.initiator, true), (&self.responder, false)] {
            let frames = seen.iter().filter(|frame| frame.from_initiator == from_initiator);
            let bytes: Vec<u8> = frames.flat_map(|frame| frame.bytes.iter().copied()).collect();
            create_file(path, &bytes, 0o600)
                .map_err(|error| Report::io(format!("can't write {}", path.display()), &error))?;
        }
        let Capture { initiator, responder, keylog } = &self;
        say(format!("     captured: {}, {}, {}", initiator.display(), responder.display(), keylog.display()));
        Ok(())
    }
}

/// Sends lines until keys have changed more than once, and reads what comes.
async fn talk(mut stream: Stream<TcpStream>, text: &[u8]) -> std::io::Result<()> {
    for number in 1..=LINES {
        stream.write_all(&text.repeat(number)).await?;
        stream.flush().await?;
        let _ = stream.read(&mut [0; 4096]).await?;
    }
    stream.shutdown().await?;
    stream.read_to_end(&mut Vec::new()).await.map(|_| ())
}

const REKEY_BYTES: u64 = 200;
const LINES: usize = 10;
