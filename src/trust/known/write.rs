//! Writing known-peers files: one line more, or one key for another; never less than was there, whoever writes at the
//! same time.

use std::format;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use crate::identity::PublicKey;
use crate::trust::known::host::{HASH_LEN, Hosts, host_name};
use crate::trust::known::{Known, KnownPeers, Line, field};

impl KnownPeers {
    /// Appends a line that the host has this key, in a file that is made if there is none; hashed, so that the file
    /// does not tell which hosts are known, or not. Does nothing if the file says so already.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` if the file has a bad line, `InvalidInput` if the host is neither a name
    /// nor an IP address, `AlreadyExists` if it has another key or if the key is revoked: then nothing is written.
    pub fn add(path: impl AsRef<Path>, host: &str, port: u16, key: &PublicKey, hashed: bool) -> io::Result<()> {
        let path = path.as_ref();
        let name = checked_name(host, port)?;
        let (mut file, text) = open_alone(path)?;
        match parse(path, &text)?.check(host, port, key) {
            Known::Same => return Ok(()),
            Known::New => {}
            Known::Changed { line, .. } => {
                let error = format!("{}, line {line} has another key for {name}", path.display());
                return Err(io::Error::new(ErrorKind::AlreadyExists, error));
            }
            Known::Revoked { line } => return Err(revoked(path, line)),
        }
        let hosts = if hashed { Hosts::hashed(&name, salt()?).text() } else { name };
        let before = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        append(&mut file, &format!("{before}{hosts} {key}\n"))?;
        if text.is_empty() { sync_folder(path) } else { Ok(()) }
    }

    /// Puts a new key of the host in place of an old one. Where a line is about other hosts too, they keep the old key.
    ///
    /// # Errors
    /// Those of the file system; `NotFound` if the host does not have the old key; `InvalidInput` if a pattern such as
    /// `*.example.org` says that it has; `InvalidData` if the file has a bad line; `AlreadyExists` if the new key is
    /// revoked. Then nothing is written.
    pub fn replace(path: impl AsRef<Path>, host: &str, port: u16, old: &PublicKey, new: &PublicKey) -> io::Result<()> {
        let name = checked_name(host, port)?;
        // Of a link the target is replaced, not the link.
        let path = &fs::canonicalize(path)?;
        let (file, text) = open_alone(path)?;
        let known = parse(path, &text)?;
        if let Known::Revoked { line } = known.check(host, port, new) {
            return Err(revoked(path, line));
        }
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        let mut found = false;
        let about = |line: &&Line| !line.is_revoked && line.key == *old && line.hosts.matches(&name);
        for line in known.lines.iter().filter(about) {
            let Some(place) = lines.get_mut(line.number - 1) else { continue };
            *place = replaced(place, line, &name, new).ok_or_else(|| {
                let error = format!("{}, line {} names the host by a pattern", path.display(), line.number);
                io::Error::new(ErrorKind::InvalidInput, format!("{error}: change it by hand"))
            })?;
            found = true;
        }
        if !found {
            let error = format!("{} does not have the key {} for {name}", path.display(), old.fingerprint());
            return Err(io::Error::new(ErrorKind::NotFound, error));
        }
        write_anew(path, &file, &(lines.join("\n") + "\n"))
    }
}

/// The line with the new key, or with a line more if it is about other hosts too.
fn replaced(text: &str, line: &Line, name: &str, new: &PublicKey) -> Option<String> {
    let (_, key) = field(text.trim_start_matches('\u{feff}').trim());
    let comment = field(field(key).1).1;
    let space = if comment.is_empty() { "" } else { " " };
    let Hosts::List(list) = &line.hosts else {
        return Some(format!("{} {new}{space}{comment}", line.hosts.text()));
    };
    let others: Vec<&str> = list.split(',').filter(|host| *host != name).collect();
    if others.iter().any(|host| host.starts_with('!')) || others.len() == list.split(',').count() {
        return None;
    }
    // What is left may match by a pattern.
    let rest = Hosts::List(others.join(","));
    if others.is_empty() {
        Some(format!("{name} {new}{space}{comment}"))
    } else if rest.matches(name) {
        None
    } else {
        Some(format!("{} {key}\n{name} {new}{space}{comment}", rest.text()))
    }
}

/// The name of a host that is none but itself: no pattern, no list, no hash.
fn checked_name(host: &str, port: u16) -> io::Result<String> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if !inner.is_empty() && inner.len() <= MAX_HOST_LEN && inner.chars().all(good) {
        return Ok(host_name(host, port));
    }
    let error = format!(
        "expected a host name or an IP address, and {:?} came",
        host.chars().take(MAX_HOST_LEN).collect::<String>()
    );
    Err(io::Error::new(ErrorKind::InvalidInput, error))
}

/// Opens the file, waits until nobody else writes it, and reads it. It is unlocked when it is closed.
fn open_alone(path: &Path) -> io::Result<(File, String)> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.lock()?;
        // Whoever had it may have put another in its place.
        if is_at(&file, path)? {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            return Ok((file, text));
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(other) => Ok(own.dev() == other.dev() && own.ino() == other.ino()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

fn parse(path: &Path, text: &str) -> io::Result<KnownPeers> {
    KnownPeers::parse(text)
        .map_err(|error| io::Error::new(ErrorKind::InvalidData, format!("{}, {error}", path.display())))
}

fn revoked(path: &Path, line: usize) -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, format!("{}, line {line} says that the key is revoked", path.display()))
}

/// Appends, or leaves the file as it was.
fn append(file: &mut File, text: &str) -> io::Result<()> {
    let len = file.metadata()?.len();
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = file.set_len(len);
    })
}

/// Writes a new file beside the old one and puts it in its place: at any moment one of them is there as a whole.
fn write_anew(path: &Path, old: &File, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    // What is left of one that was interrupted; nobody else is writing.
    let _ = fs::remove_file(&beside);
    crate::identity::create_file(&beside, text.as_bytes(), 0o600)?;
    let moved = fs::set_permissions(&beside, old.metadata()?.permissions());
    moved.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    sync_folder(path)
}

/// So that the name of the file is on the disk too.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

fn salt() -> io::Result<[u8; HASH_LEN]> {
    let mut salt = [0; HASH_LEN];
    getrandom::fill(&mut salt).map_err(|_| io::Error::other("the system gave no randomness"))?;
    Ok(salt)
}

const MAX_HOST_LEN: usize = 255;
