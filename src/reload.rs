//! Files that are watched: whatever was made from them is made anew when they change, and swapped in at once. A file that is broken changes
//! nothing.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant, SystemTime};
use std::vec::Vec;
use std::{fmt, thread};

use crate::crypto::signature::{PublicKey, SignatureInput};
use crate::identity::{Credential, SignFuture, Signer};
use crate::trust::{DecisionFuture, Request, Trust, Watcher};

/// Something made from files, which is made anew when one of them changes: a [`Trust`], or a [`Signer`]. Cheap to clone; all clones change
/// together.
///
/// The files are looked at seven times a second, by one thread for each `Reload`, which ends when the last clone is dropped. A change is noticed by the
/// file that the path leads to, so symbolic links may be turned, as Kubernetes does. What is new takes effect only once all files have been
/// quiet for a moment, and load without an error; until then the old stays, and [`Reload::stats`] and the observer say why.
pub struct Reload<T>(Arc<Shared<T>>);

/// How the reloading gets on; for logs and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadStats {
    /// How often new files were loaded, without the first time.
    pub reloads: u64,
    /// How often new files were broken.
    pub failures: u64,
    /// Why the files that are there now are not in use; `None` if they are.
    pub failing: Option<String>,
}

/// What happened to watched files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadEvent {
    /// What they hold is in use.
    Loaded,
    /// They can't be loaded; the old stays in use, and they are tried again from time to time. Told once, until the reason is another.
    Failed(String),
}

/// Who is to be told of changes, and told of by what is new as well.
struct Subscriber<T> {
    watcher: Weak<dyn Watcher>,
    watch: fn(&T, &Weak<dyn Watcher>),
}

/// Why files can't be loaded.
pub type LoadError = Box<dyn std::error::Error + Send + Sync>;

struct Shared<T> {
    files: Vec<PathBuf>,
    current: RwLock<Arc<T>>,
    load: Box<dyn Fn() -> Result<T, LoadError> + Send + Sync>,
    observer: Box<dyn Fn(&ReloadEvent) + Send + Sync>,
    /// Held while loading and swapping in: what was read earlier never replaces what was read later.
    loading: Mutex<()>,
    stats: Mutex<ReloadStats>,
    watchers: Mutex<Vec<Subscriber<T>>>,
}

impl<T: Send + Sync + 'static> Reload<T> {
    /// Loads, and loads again whenever one of `files` changes. `observer` is told of each change, by the thread that watches.
    ///
    /// # Errors
    /// That of the first `load`, or of starting the thread.
    pub fn new<P: Into<PathBuf>>(
        files: impl IntoIterator<Item = P>,
        load: impl Fn() -> Result<T, LoadError> + Send + Sync + 'static,
        observer: impl Fn(&ReloadEvent) + Send + Sync + 'static,
    ) -> Result<Self, LoadError> {
        let files: Vec<PathBuf> = files.into_iter().map(Into::into).collect();
        // Looked at before they are read, so that a change in between is seen.
        let seen = look(&files);
        let current = RwLock::new(Arc::new(load()?));
        let shared = Arc::new(Shared {
            files,
            current,
            load: Box::new(load),
            observer: Box::new(observer),
            loading: Mutex::default(),
            stats: Mutex::default(),
            watchers: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        thread::Builder::new().name("countersign-watch".to_string()).spawn(move || watch(&weak, seen))?;
        Ok(Reload(shared))
    }

    /// What is in use now.
    pub fn current(&self) -> Arc<T> {
        self.0.current()
    }

    /// Loads now, whether anything seems to have changed or not, and says whether what is there is in use: for SIGHUP. Waits while the watching
    /// thread loads; the observer is told by whoever calls this. Neither it nor what loads may call this themselves.
    pub fn refresh(&self) -> bool {
        self.0.reload()
    }

    /// How the reloading gets on.
    pub fn stats(&self) -> ReloadStats {
        self.0.stats().clone()
    }
}

impl<T> Shared<T> {
    fn current(&self) -> Arc<T> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stats(&self) -> MutexGuard<'_, ReloadStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<Subscriber<T>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads, and swaps in what is new. Returns whether it is in use.
    fn reload(&self) -> bool {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // What the application does when it loads, is watched or dropped is no reason to stop watching.
        let loaded = catch_unwind(AssertUnwindSafe(|| (self.load)().map(|new| self.swap(new))));
        let event = match loaded.unwrap_or_else(|_| Err("loading it panicked".into())) {
            Ok(()) => Some(ReloadEvent::Loaded),
            Err(error) => {
                let why = error.to_string();
                let mut stats = self.stats();
                let told = stats.failing.replace(why.clone()).is_some_and(|before| before == why);
                stats.failures += u64::from(!told);
                (!told).then_some(ReloadEvent::Failed(why))
            }
        };
        let loaded = event == Some(ReloadEvent::Loaded);
        // An observer that panics is no reason to stop watching.
        let tell = || event.iter().for_each(|event| (self.observer)(event));
        let _ = catch_unwind(AssertUnwindSafe(tell));
        loaded
    }

    fn swap(&self, new: T) {
        let new = Arc::new(new);
        let (watchers, old): (Vec<_>, _) = {
            // Under this lock, so that nobody subscribes in between.
            let mut subscribers = self.watchers();
            subscribers.retain(|subscriber| subscriber.watcher.strong_count() > 0);
            subscribers.iter().for_each(|subscriber| (subscriber.watch)(&new, &subscriber.watcher));
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *current, new);
            (subscribers.iter().filter_map(|subscriber| subscriber.watcher.upgrade()).collect(), old)
        };
        drop(old);
        let mut stats = self.stats();
        stats.reloads += 1;
        stats.failing = None;
        drop(stats);
        watchers.iter().for_each(|watcher| watcher.changed());
    }
}

/// Looks at the files until nobody holds what is made of them.
fn watch<T>(shared: &Weak<Shared<T>>, mut loaded: Vec<Option<Sight>>) {
    let mut last = loaded.clone();
    let (mut waited, mut failed): (u32, Option<(Instant, Duration)>) = (0, None);
    loop {
        thread::sleep(PAUSE);
        let Some(shared) = shared.upgrade() else { return };
        let now = look(&shared.files);
        // Others load too: what failed for them is tried again, and what they loaded is not.
        let failing = shared.stats().failing.is_some();
        failed = failed.or_else(|| Some((Instant::now(), FIRST_RETRY))).filter(|_| failing);
        // What could not be loaded may be so later, though it stays the same: when there are descriptors again, for example.
        let again = failed.is_some_and(|(when, pause)| when.elapsed() >= pause);
        // Two looks that agree: nobody is writing just now. What is replaced by renaming could be read at once, but who knows. Where one file never rests,
        // the others don't wait for it for ever.
        waited = if now == loaded { 0 } else { waited + 1 };
        if (again || now != loaded) && (now == last || waited > MAX_WAITS) {
            (loaded, waited) = (now.clone(), 0);
            let pause = failed.map_or(FIRST_RETRY, |(_, pause)| (2 * pause).min(LAST_RETRY));
            failed = if shared.reload() { None } else { Some((Instant::now(), pause)) };
        }
        last = now;
    }
}

/// What tells one state of a file from another, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sight {
    len: u64,
    modified: Option<SystemTime>,
    #[cfg(unix)]
    inode: [i128; 4],
}

fn look(files: &[PathBuf]) -> Vec<Option<Sight>> {
    files.iter().map(|path| sight(path)).collect()
}

fn sight(path: &Path) -> Option<Sight> {
    let metadata = fs::metadata(path).ok()?;
    Some(Sight {
        len: metadata.len(),
        modified: metadata.modified().ok(),
        #[cfg(unix)]
        inode: {
            use std::os::unix::fs::MetadataExt;
            [metadata.dev().into(), metadata.ino().into(), metadata.ctime().into(), metadata.ctime_nsec().into()]
        },
    })
}

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_millis(150);
/// How many looks are taken at files that never rest.
const MAX_WAITS: u32 = 12;
/// How long after a failure the same files are tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

impl<T> Clone for Reload<T> {
    fn clone(&self) -> Self {
        Reload(self.0.clone())
    }
}

impl<T: fmt::Debug> fmt::Debug for Reload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("files", &self.0.files).field("current", &self.0.current()).finish()
    }
}

impl<T: Trust + 'static> Trust for Reload<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        let current = self.0.current();
        Box::pin(async move { current.decide(request).await })
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        let mut subscribers = self.0.watchers();
        subscribers.retain(|subscriber| subscriber.watcher.strong_count() > 0);
        subscribers.retain(|subscriber| !Weak::ptr_eq(&subscriber.watcher, watcher));
        subscribers.push(Subscriber {
            watcher: watcher.clone(),
            watch: |new, watcher| {
                new.watch(watcher);
            },
        });
        self.0.current().watch(watcher);
        true
    }
}

impl<T: Signer + 'static> Signer for Reload<T> {
    fn public_key(&self) -> PublicKey {
        self.0.current().public_key()
    }

    fn credential(&self) -> Credential {
        self.0.current().credential()
    }

    fn current(&self) -> Option<Arc<dyn Signer>> {
        Some(self.0.current())
    }

    fn sign<'a>(&'a self, input: &'a SignatureInput) -> SignFuture<'a> {
        let current = self.0.current();
        Box::pin(async move { current.sign(input).await })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// Loads what is there though no file has changed, says whether it is in use, and keeps the old where it is not.
    #[test]
    fn refreshing() {
        let value = Arc::new(Mutex::new(Ok(1)));
        let there = value.clone();
        let load = move || (*there.lock().unwrap()).map_err(LoadError::from);
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let reload: Reload<u64> =
            Reload::new(None::<PathBuf>, load, move |event| told.lock().unwrap().push(event.clone())).unwrap();
        *value.lock().unwrap() = Ok(2);
        assert!(reload.refresh());
        assert_eq!((*reload.current(), reload.stats().reloads), (2, 1));
        *value.lock().unwrap() = Err("broken");
        assert!(!reload.refresh());
        assert!(!reload.refresh());
        assert_eq!((*reload.current(), reload.stats().failing), (2, Some("broken".to_string())));
        assert_eq!(*events.lock().unwrap(), [ReloadEvent::Loaded, ReloadEvent::Failed("broken".to_string())]);
        // What could not be loaded is tried again, though no file changes.
        *value.lock().unwrap() = Ok(3);
        while *reload.current() != 3 {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(reload.stats(), ReloadStats { reloads: 2, failures: 1, failing: None });
    }

    /// A load that began earlier and takes longer does not replace what was loaded later.
    #[test]
    fn an_older_load_never_wins() {
        let count = AtomicU64::new(0);
        let (begun, begins) = mpsc::channel();
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let load = move || {
            let number = count.fetch_add(1, Ordering::SeqCst);
            begun.send(number).unwrap();
            if number == 1 {
                gate.lock().unwrap().recv().unwrap();
            }
            Ok(number)
        };
        let reload: Reload<u64> = Reload::new(None::<PathBuf>, load, |_| {}).unwrap();
        assert_eq!(begins.recv(), Ok(0));
        thread::scope(|scope| {
            let older = scope.spawn(|| reload.refresh());
            assert_eq!(begins.recv(), Ok(1));
            let newer = scope.spawn(|| reload.refresh());
            // Without the lock it begins now, and is over before the older is.
            assert_eq!(begins.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout));
            go_on.send(()).unwrap();
            assert!(older.join().unwrap() && newer.join().unwrap());
        });
        assert_eq!((*reload.current(), reload.stats().reloads), (2, 2));
    }
}
