//! Files that are there whole or not at all, whenever the machine stops: written beside, synced, renamed, and the
//! folder synced.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use countersign::identity::create_file;
use zeroize::Zeroizing;

use super::random_hex;
use crate::report::{IO, Report};

/// Writes a file in place of the one that is there; when it returns, the new one survives a crash.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Report> {
    let failed = |error: io::Error| Report::io(format!("can't write {}", path.display()), &error);
    let folder = folder_of(path);
    let name = file_name(path)?;
    remove_left_overs(folder, &format!(".{name}."));
    let temporary = folder.join(format!(".{name}.{}{TEMPORARY}", random_hex()?));
    create_file(&temporary, content, mode).map_err(failed)?;
    let renamed = fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)));
    renamed.and_then(|()| sync_folder(folder)).map_err(failed)
}

/// Makes what happened in a folder survive a crash.
#[cfg(unix)]
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What a process that was killed left behind. Only called under the lock of the CA.
pub fn remove_left_overs(folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(prefix) && is_left_over(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is one that was not finished.
pub fn is_left_over(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(TEMPORARY)
}

/// The content of a file, which may be secret.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Report> {
    let failed = |error: io::Error| Report::io(format!("can't read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    // One place for all of it, so that nothing stays behind where it was before it grew.
    let mut content = Zeroizing::new(Vec::with_capacity(FIRST_LEN));
    file.take(MAX_LEN).read_to_end(&mut content).map_err(failed)?;
    if u64::try_from(content.len()).is_ok_and(|length| length < MAX_LEN) {
        return Ok(content);
    }
    Err(Report::new(IO, format!("{}: a file of more than 16 MiB, which is none of ours", path.display()), None))
}

/// The content of a text file.
pub fn read_text(path: &Path) -> Result<String, Report> {
    let content = read(path)?;
    let text = std::str::from_utf8(&content).map(str::to_string);
    text.map_err(|_| Report::new(IO, format!("{}: not a text file", path.display()), None))
}

/// Refuses a secret that others can read, as ssh does.
#[cfg(unix)]
pub fn check_secret(path: &Path) -> Result<(), Report> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|error| Report::io(format!("can't read {}", path.display()), &error))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Report::new(
        IO,
        format!("{}: its permissions are {mode:04o}: others than its owner can read a secret key", path.display()),
        Some("run `chmod 600` on it; if others may have read it, make another key"),
    ))
}

#[cfg(not(unix))]
pub fn check_secret(_: &Path) -> Result<(), Report> {
    Ok(())
}

/// A place where something may be written: new, or a file of the same sort, and none of the CA's own.
pub struct Output {
    path: PathBuf,
}

impl Output {
    /// Checks it before anything is signed.
    pub fn check(path: &Path, ca: &Path, label: &str) -> Result<Self, Report> {
        // A link stays: what it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        file_name(&path)?;
        let shown = path.display();
        let folder = fs::canonicalize(folder_of(&path))
            .map_err(|error| Report::io(format!("can't write {shown}: its folder can't be used"), &error))?;
        let ca = fs::canonicalize(ca).map_err(|error| Report::io("can't find the directory of the CA", &error))?;
        if folder.starts_with(&ca) {
            let message = format!("{shown} is in the directory of the CA, which keeps its own files there");
            return Err(Report::new(IO, message, Some("give --out a place outside of it")));
        }
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => {
                Err(Report::new(IO, format!("can't write {shown}: it is not a file"), Some("give --out a file")))
            }
            Ok(metadata) if metadata.len() > 0 => {
                let start = format!("-----BEGIN {label}-----");
                let content = read(&path)?;
                if !content.windows(start.len()).any(|part| part == start.as_bytes())
                    || content.windows(SECRET.len()).any(|part| part == SECRET)
                {
                    let message = format!("{shown} exists, and is something else than we would write there");
                    return Err(Report::new(IO, message, Some("choose another name, or move the old file away")));
                }
                Ok(Output { path })
            }
            _ => Ok(Output { path }),
        }
    }

    pub fn write(&self, content: &str) -> Result<(), Report> {
        replace(&self.path, content.as_bytes(), 0o644)
    }
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("."),
    }
}

fn file_name(path: &Path) -> Result<String, Report> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_string).ok_or_else(|| {
        Report::new(IO, format!("can't write {}: expected the name of a file, in UTF-8", path.display()), None)
    })
}

const TEMPORARY: &str = ".unfinished";
const SECRET: &[u8] = b"PRIVATE KEY-----";
const FIRST_LEN: usize = 65_536;
const MAX_LEN: u64 = 16 << 20;
