//! The directory of a CA: its files, its lock, and what is on record.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::certificate::{Parsed, Serial};
use super::files;
use super::moment::Moment;
use crate::report::{IO, Report};

/// The directory of a CA; under its lock, unless it is only read.
pub struct Directory {
    path: PathBuf,
    /// Let go of when the file is closed, however the process ends.
    _lock: Option<File>,
}

impl Directory {
    /// For reading. Every file in it is replaced as a whole, so that no lock is needed.
    pub fn open(path: &Path) -> Result<Self, Report> {
        let directory = Directory { path: path.to_path_buf(), _lock: None };
        let not_a_ca = |why: &str| Report::new(IO, format!("{}: {why}", path.display()), Some(MAKE_ONE));
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(not_a_ca("there is no such directory")),
            Err(error) => Err(Report::io(format!("can't use {}", path.display()), &error)),
            Ok(metadata) if !metadata.is_dir() => Err(not_a_ca("expected the directory of a CA, and found a file")),
            Ok(_) if directory.file(CERTIFICATE).symlink_metadata().is_err() => {
                Err(not_a_ca("not the directory of a CA: there is no ca.pem in it"))
            }
            Ok(_) => Ok(directory),
        }
    }

    /// For changes: waits for a while if another process has it.
    pub fn lock(path: &Path, command: &str) -> Result<Self, Report> {
        let mut directory = Directory::open(path)?;
        directory._lock = Some(lock(&directory.file(LOCK), command)?);
        for folder in [directory.path.clone(), directory.file(ISSUED)] {
            files::remove_left_overs(&folder, ".");
        }
        Ok(directory)
    }

    /// For `init`, when there is no CA yet.
    pub fn lock_new(path: &Path) -> Result<Self, Report> {
        let lock = lock(&path.join(LOCK), "init")?;
        files::remove_left_overs(path, ".");
        Ok(Directory { path: path.to_path_buf(), _lock: Some(lock) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a certificate on record, durably; this comes before it is given to anybody.
    pub fn record(&self, serial: Serial, pem: &str) -> Result<(), Report> {
        let path = self.record_path(serial);
        if path.symlink_metadata().is_ok() {
            let message = format!("{} exists: a random serial number came twice", path.display());
            return Err(Report::new(IO, message, Some("the randomness of this machine can't be trusted")));
        }
        files::replace(&path, pem.as_bytes(), 0o644)
    }

    /// The certificate with this number, if it is on record.
    pub fn recorded(&self, serial: Serial) -> Result<Option<Parsed>, Report> {
        let path = self.record_path(serial);
        if path.symlink_metadata().is_err() { Ok(None) } else { self.read_record(&path, serial).map(Some) }
    }

    /// Every certificate on record, the newest last.
    pub fn all(&self) -> Result<Vec<(Serial, Parsed)>, Report> {
        let folder = self.file(ISSUED);
        let failed = |error: std::io::Error| Report::io(format!("can't read {}", folder.display()), &error);
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if files::is_left_over(&name) {
                continue;
            }
            let serial = name.strip_suffix(".pem").and_then(Serial::parse);
            let serial = serial.ok_or_else(|| {
                let message = format!("{}: expected only files named SERIAL.pem there", path.display());
                Report::new(IO, message, Some("move it away"))
            })?;
            // Several may be of the same second.
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(failed)?;
            all.push((written, serial, self.read_record(&path, serial)?));
        }
        all.sort_by_key(|(written, serial, certificate)| (certificate.not_before(), *written, *serial));
        Ok(all.into_iter().map(|(_, serial, certificate)| (serial, certificate)).collect())
    }

    fn read_record(&self, path: &Path, serial: Serial) -> Result<Parsed, Report> {
        let certificate = Parsed::read_chain(path)?.into_iter().next();
        certificate.filter(|certificate| certificate.serial() == Some(serial)).ok_or_else(|| {
            let message = format!("{}: it holds another certificate than its name says", path.display());
            Report::new(IO, message, Some("put back what was there, or move it away"))
        })
    }

    fn record_path(&self, serial: Serial) -> PathBuf {
        self.file(ISSUED).join(format!("{serial}.pem"))
    }
}

fn lock(path: &Path, command: &str) -> Result<File, Report> {
    let failed = |error: std::io::Error| Report::io(format!("can't lock {}", path.display()), &error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if start.elapsed() < LONGEST_WAIT => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = Read::by_ref(&mut file).take(200).read_to_string(&mut holder);
                let holder = holder.trim().escape_debug().to_string();
                let message = format!("{} is held by another process for too long: {holder}", path.display());
                return Err(Report::new(
                    IO,
                    message,
                    Some("wait until it has ended, or end it; no file has to be removed"),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    // Only for people: who waits in vain is told.
    let holder = format!("process {}, `countersign ca {command}`, since {}\n", std::process::id(), Moment::now()?);
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
    Ok(file)
}

pub const CERTIFICATE: &str = "ca.pem";
pub const KEY: &str = "ca.key";
pub const CRL: &str = "ca.crl";
pub const CRL_NUMBER: &str = "crl-number";
pub const ISSUED: &str = "issued";
pub const LOCK: &str = "lock";
pub const README: &str = "README";
pub const REVOKED: &str = "revoked";
const MAKE_ONE: &str = "make a CA with `countersign ca init DIR --name NAME`";
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
