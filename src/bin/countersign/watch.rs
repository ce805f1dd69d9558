//! Files that are watched while the program runs, and what is said about it.

use std::path::PathBuf;

use countersign::Reload;
use countersign::reload::{LoadError, ReloadEvent, ReloadStats};

use crate::log;
use crate::report::{IO, Report};

/// Watched files, for the metrics.
pub struct Watched {
    pub what: &'static str,
    stats: Box<dyn Fn() -> ReloadStats + Send + Sync>,
    refresh: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Watched {
    pub fn stats(&self) -> ReloadStats {
        (self.stats)()
    }

    /// Loads them now, whether they seem to have changed or not; returns whether what is there is in use.
    pub fn refresh(&self) -> bool {
        (self.refresh)()
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.what)
    }
}

/// Loads from files, and again when one of them changes; says so on standard error. A file that can't be used changes nothing.
pub fn watch<T: Send + Sync + 'static>(
    what: &'static str,
    files: Vec<PathBuf>,
    load: impl Fn() -> Result<T, LoadError> + Send + Sync + 'static,
) -> Result<(Reload<T>, Watched), Report> {
    watch_and_tell(what, files, load, || {})
}

/// The same; `changed` is called when what is new is in use.
pub fn watch_and_tell<T: Send + Sync + 'static>(
    what: &'static str,
    files: Vec<PathBuf>,
    load: impl Fn() -> Result<T, LoadError> + Send + Sync + 'static,
    changed: impl Fn() + Send + Sync + 'static,
) -> Result<(Reload<T>, Watched), Report> {
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let shown = shown.join(" ");
    let tell = move |event: &ReloadEvent| match event {
        ReloadEvent::Failed(why) => {
            log::line(format!("error: {what} not reloaded, the old stays in use: {why}"));
        }
        _ => {
            log::line(format!("reloaded {what}: {shown}"));
            changed();
        }
    };
    let reload = Reload::new(files, load, tell).map_err(|error| Report::new(IO, error, None))?;
    let (stats, refresh) = (reload.clone(), reload.clone());
    let watched =
        Watched { what, stats: Box::new(move || stats.stats()), refresh: Box::new(move || refresh.refresh()) };
    Ok((reload, watched))
}
