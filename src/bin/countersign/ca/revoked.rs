//! The record of what is revoked: lines `SERIAL TIME REASON`, in a file that is replaced as a whole.

use clap::ValueEnum;
use countersign::PublicKey;
use rcgen::{RevocationReason, RevokedCertParams, SerialNumber};

use super::certificate::Serial;
use super::directory::{Directory, REVOKED};
use super::files;
use super::moment::Moment;
use crate::report::{IO, Report};

/// Why a certificate was revoked (RFC 5280, 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    /// It left the organisation that the certificate names.
    AffiliationChanged,
    /// What it was for is no more.
    CessationOfOperation,
    /// Somebody else has or may have the secret key.
    KeyCompromise,
    /// It may no longer do what the certificate lets it do.
    PrivilegeWithdrawn,
    /// Another certificate took its place.
    Superseded,
    /// None that is told.
    Unspecified,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::AffiliationChanged => "affiliation-changed",
            Reason::CessationOfOperation => "cessation-of-operation",
            Reason::KeyCompromise => "key-compromise",
            Reason::PrivilegeWithdrawn => "privilege-withdrawn",
            Reason::Superseded => "superseded",
            Reason::Unspecified => "unspecified",
        }
    }

    fn code(self) -> RevocationReason {
        match self {
            Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
            Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
            Reason::KeyCompromise => RevocationReason::KeyCompromise,
            Reason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::Unspecified => RevocationReason::Unspecified,
        }
    }
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub serial: Serial,
    pub time: Moment,
    pub reason: Reason,
}

/// All that is revoked, in the order in which it was.
pub struct Revoked(Vec<Entry>);

impl Revoked {
    /// A line that can't be read is an error: what is revoked may not be forgotten.
    pub fn load(directory: &Directory) -> Result<Self, Report> {
        let path = directory.file(REVOKED);
        let text = files::read_text(&path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let entries = lines.map(|(index, line)| {
            parse(line).ok_or_else(|| {
                let expected = "expected `SERIAL TIME REASON`, such as `4f0c... 2026-01-31T12:00:00Z key-compromise`";
                let message = format!("{}: line {}: {expected}, and found {line:?}", path.display(), index + 1);
                Report::new(IO, message, Some("repair the line, or put a copy of the file back"))
            })
        });
        entries.collect::<Result<_, _>>().map(Revoked)
    }

    pub fn find(&self, serial: Serial) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.serial == serial)
    }

    /// Adds a line, durably.
    pub fn add(&mut self, directory: &Directory, entry: Entry) -> Result<(), Report> {
        self.0.push(entry);
        let mut text = HEADER.to_string();
        for Entry { serial, time, reason } in &self.0 {
            text.push_str(&format!("{serial} {time} {}\n", reason.name()));
        }
        files::replace(&directory.file(REVOKED), text.as_bytes(), 0o600)
    }

    /// For a revocation list. All stay in it for good: an entry may go only when a list after its validity had it.
    pub fn to_params(&self) -> Result<Vec<RevokedCertParams>, Report> {
        let params = self.0.iter().map(|entry| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.serial.bytes()),
                revocation_time: entry.time.to_date()?,
                reason_code: Some(entry.reason.code()),
                invalidity_date: None,
            })
        });
        params.collect()
    }

    /// A key that somebody else may have gets no certificate again.
    pub fn check_key(&self, directory: &Directory, key: &PublicKey) -> Result<(), Report> {
        for entry in self.0.iter().filter(|entry| entry.reason == Reason::KeyCompromise) {
            let certificate = directory.recorded(entry.serial)?;
            if certificate.and_then(|certificate| certificate.key().ok()).as_ref() == Some(key) {
                let Entry { serial, time, .. } = entry;
                let message = format!("this key was revoked at {time} with key-compromise (certificate {serial})");
                return Err(Report::new(
                    IO,
                    message,
                    Some("the holder has to make a new key with `countersign keygen`"),
                ));
            }
        }
        Ok(())
    }
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let (serial, time, reason) = (words.next()?, words.next()?, words.next()?);
    let entry = Entry {
        serial: Serial::parse(serial)?,
        time: time.parse().ok()?,
        reason: <Reason as ValueEnum>::from_str(reason, false).ok()?,
    };
    words.next().is_none().then_some(entry)
}

pub const HEADER: &str = "# SERIAL TIME REASON\n";
