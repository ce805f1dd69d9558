//! The key log that COUNTERSIGN_KEYLOG names, for debugging only (specification, section 16.1).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign::keylog::KeyLog;
use zeroize::Zeroizing;

use crate::log;
use crate::report::{IO, Report};

/// A file that lines are appended to.
pub struct KeyLogFile {
    file: Mutex<File>,
    failed: AtomicBool,
}

/// The key log of the environment, if there is one, and a warning that nobody overlooks.
pub fn from_environment() -> Result<Option<KeyLogFile>, Report> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = Path::new(&path);
    let log = KeyLogFile::open(path)?;
    let path = path.display();
    log::line(format!(
        "warning: {VARIABLE} is set: every secret of every session goes to {path}; whoever has it reads everything"
    ));
    Ok(Some(log))
}

impl KeyLogFile {
    /// Opens or makes it.
    pub fn open(path: &Path) -> Result<Self, Report> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let failed = |error| Report::io(format!("can't write the key log {} ({VARIABLE})", path.display()), &error);
        let file = options.open(path).map_err(failed)?;
        check_permissions(path, &file)?;
        Ok(KeyLogFile { file: Mutex::new(file), failed: AtomicBool::new(false) })
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, line: &str) {
        // In one write, so that processes may share the file. The copy is wiped.
        let mut whole = Zeroizing::new(String::with_capacity(line.len() + 1));
        whole.push_str(line);
        whole.push('\n');
        let written = match self.file.lock() {
            Ok(mut file) => file.write_all(whole.as_bytes()),
            Err(_) => return,
        };
        if let Err(error) = written
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            log::line(format!("warning: the key log ({VARIABLE}) can't be written and has holes: {error}"));
        }
    }
}

#[cfg(unix)]
fn check_permissions(path: &Path, file: &File) -> Result<(), Report> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().map_err(|error| Report::io(path.display(), &error))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Report::new(
        IO,
        format!(
            "the key log {} ({VARIABLE}) has permissions {mode:04o}: others than its owner could read it",
            path.display()
        ),
        Some("run `chmod 600` on it, or name a file that does not exist yet"),
    ))
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &File) -> Result<(), Report> {
    Ok(())
}

const VARIABLE: &str = "COUNTERSIGN_KEYLOG";
