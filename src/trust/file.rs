//! Trust in the keys of a file in the format of OpenSSH's `authorized_keys`: one `ssh-ed25519 AAAA... name` a line,
//! blank lines and lines that start with `#` passed over. The comment of a key is its name. Options are not supported.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::string::String;

use crate::identity::{ParseKeyError, PublicKey, parse_line};
use crate::trust::decision::{Decision, DecisionFuture, Grant, Request, Trust};

/// Trusts the keys of a file, for every service, in both directions, and nobody else.
#[derive(Clone, Debug)]
pub struct TrustFile {
    names: HashMap<PublicKey, Option<String>>,
}

/// Why a trust file could not be loaded.
#[derive(Debug)]
pub struct TrustFileError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Io(io::Error),
    NotText,
    Writable(u32),
    Line(usize, ParseKeyError),
}

impl TrustFile {
    /// Loads a file. A single bad line refuses the whole file, so that nobody is left out or let in by a slip.
    ///
    /// # Errors
    /// [`TrustFileError`], with the number of the bad line; also for a file that others than its owner and group can write.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TrustFileError> {
        let path = path.as_ref();
        let error = |cause| TrustFileError { path: path.into(), cause };
        check_permissions(path).map_err(error)?;
        let bytes = fs::read(path).map_err(|cause| error(Cause::Io(cause)))?;
        let text = String::from_utf8(bytes).map_err(|_| error(Cause::NotText))?;
        Self::parse(&text).map_err(|(line, cause)| error(Cause::Line(line, cause)))
    }

    /// Parses the text of a trust file.
    ///
    /// # Errors
    /// The number of the first bad line, counted from 1, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, (usize, ParseKeyError)> {
        let mut names = HashMap::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, comment) = parse_line(line).map_err(|error| (index + 1, error))?;
            let name = if comment.is_empty() { None } else { Some(comment.into()) };
            names.entry(key).or_insert(name);
        }
        Ok(TrustFile { names })
    }

    /// How many keys it trusts.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it trusts nobody.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl Trust for TrustFile {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        match self.names.get(request.public_key()) {
            Some(name) => Decision::Accept(Grant { name: name.clone(), ..Grant::default() }).ready(),
            None => Decision::not_trusted().ready(),
        }
    }
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), Cause> {
    use std::os::unix::fs::MetadataExt;
    let mode = fs::metadata(path).map_err(Cause::Io)?.mode() & 0o7777;
    if mode & 0o002 != 0 { Err(Cause::Writable(mode)) } else { Ok(()) }
}

#[cfg(not(unix))]
fn check_permissions(_: &Path) -> Result<(), Cause> {
    Ok(())
}

impl std::error::Error for TrustFileError {}

impl fmt::Display for TrustFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            Cause::Io(error) => write!(f, "can't read the trust file {path}: {error}"),
            Cause::NotText => write!(f, "the trust file {path} is not UTF-8 text"),
            Cause::Writable(mode) => {
                write!(
                    f,
                    "the trust file {path} can be written by anyone (permissions {mode:04o}): run `chmod o-w` on it"
                )
            }
            Cause::Line(line, error) => write!(f, "the trust file {path}, line {line}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn comments_blank_lines_and_names() {
        let text = std::format!("# peers\n\n \t\r\n{KEY} alice of the lab\r\n  # end\n{KEY} again");
        let trust = TrustFile::parse(&text).unwrap();
        assert_eq!(trust.len(), 1);
        assert_eq!(trust.names[&KEY.parse().unwrap()].as_deref(), Some("alice of the lab"));
        assert!(TrustFile::parse("").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_an_error_with_its_number() {
        let text = std::format!("# one\n{KEY}\nfrom=\"::1\" {KEY}\n");
        assert_eq!(TrustFile::parse(&text).unwrap_err(), (3, ParseKeyError::NotEd25519));
        assert_eq!(TrustFile::parse("\n\nssh-ed25519 AAAA x").unwrap_err(), (3, ParseKeyError::Malformed));
    }
}
