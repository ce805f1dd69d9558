//! What trust files and known-peers files have in common: how they are read, and what is said about a bad line.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use crate::identity::ParseKeyError;
use crate::trust::options::OptionError;

/// Why a trust file or a known-peers file could not be loaded.
#[derive(Debug)]
pub struct TrustFileError {
    /// `trust file` or `known-peers file`.
    what: &'static str,
    path: PathBuf,
    cause: Cause,
}

/// The first bad line of a trust file or a known-peers file, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustLineError {
    line: usize,
    problem: Problem,
}

#[derive(Debug)]
pub(crate) enum Cause {
    Io(io::Error),
    NotText,
    Writable(u32),
    Line(TrustLineError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    Control(char),
    Hash,
    Hosts,
    Key(ParseKeyError),
    KeyType,
    Marker,
    Option(OptionError),
    TooLong,
}

impl TrustFileError {
    pub(crate) fn new(what: &'static str, path: &Path, cause: Cause) -> Self {
        TrustFileError { what, path: path.into(), cause }
    }

    /// Whether there is no such file.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(&self.cause, Cause::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// The number of the bad line, counted from 1, if the file could be read and a line is bad.
    pub fn line(&self) -> Option<usize> {
        match &self.cause {
            Cause::Line(error) => Some(error.line),
            _ => None,
        }
    }
}

impl TrustLineError {
    pub(crate) fn new(line: usize, problem: Problem) -> Self {
        TrustLineError { line, problem }
    }

    /// The number of the line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }
}

/// The text of a file that not everybody can write.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<String, TrustFileError> {
    let error = |cause| TrustFileError::new(what, path, cause);
    let bytes = read_guarded(path).map_err(|unreadable| {
        error(match unreadable {
            Unreadable::Io(cause) => Cause::Io(cause),
            Unreadable::Writable(mode) => Cause::Writable(mode),
        })
    })?;
    String::from_utf8(bytes).map_err(|_| error(Cause::NotText))
}

/// Why a file that says whom to trust is not read.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    /// Everybody can write it; its permission bits.
    Writable(u32),
}

/// What a file holds that not everybody can write. The permissions are those of the file that is read.
pub(super) fn read_guarded(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let mut file = File::open(path).map_err(Unreadable::Io)?;
    check_permissions(&file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    Ok(bytes)
}

/// The lines that say something, with their numbers: neither empty nor comments. Their ends may be those of any system,
/// but no other control character than a tab is in them: a line that looks like two, or like none, lets in somebody
/// whom nobody sees.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<(usize, &str), TrustLineError>> {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
        if line.len() > MAX_LINE_LEN {
            return Err(TrustLineError::new(number, Problem::TooLong));
        }
        match line.chars().find(|c| c.is_control() && *c != '\t') {
            Some(bad) => Err(TrustLineError::new(number, Problem::Control(bad))),
            None => Ok((number, line)),
        }
    })
}

#[cfg(unix)]
fn check_permissions(file: &File) -> Result<(), Unreadable> {
    use std::os::unix::fs::MetadataExt;
    let mode = file.metadata().map_err(Unreadable::Io)?.mode() & 0o7777;
    if mode & 0o002 != 0 { Err(Unreadable::Writable(mode)) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_permissions(_: &File) -> Result<(), Unreadable> {
    Ok(())
}

impl std::error::Error for TrustFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TrustFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TrustFileError { what, path, cause } = self;
        let path = path.display();
        match cause {
            Cause::Io(error) => write!(f, "can't read the {what} {path}: {error}"),
            Cause::NotText => write!(f, "the {what} {path} is not UTF-8 text"),
            Cause::Writable(mode) => {
                write!(f, "the {what} {path} can be written by anyone (permissions {mode:04o}): run `chmod o-w` on it")
            }
            Cause::Line(error) => write!(f, "the {what} {path}, {error}"),
        }
    }
}

impl std::error::Error for TrustLineError {}

impl fmt::Display for TrustLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.problem {
            Problem::Control(c) => write!(f, "expected text, and a control character came ({c:?})"),
            Problem::Hash => f.write_str("expected a hashed host `|1|salt|hash`, with 20 bytes of base64 in each part"),
            Problem::Hosts => f.write_str("expected hosts separated by commas, and one of them is empty"),
            Problem::Key(error) => error.fmt(f),
            Problem::KeyType => f.write_str("expected `ssh-ed25519` or another type of ssh after the hosts"),
            Problem::Marker => f.write_str("expected hosts and a key after the marker"),
            Problem::Option(error) => error.fmt(f),
            Problem::TooLong => write!(f, "expected at most {MAX_LINE_LEN} bytes; are line ends missing?"),
        }
    }
}

/// As sshd has it.
const MAX_LINE_LEN: usize = 8_192;
