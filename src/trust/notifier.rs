//! For trust that is not in files: tells that decisions may turn out otherwise now.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::vec::Vec;

use crate::trust::decision::{DecisionFuture, Request, Trust, Watcher};

/// Tells the sessions of a trust that it has changed; made into one with it by [`TrustExt::notified_by`](crate::trust::TrustExt::notified_by). Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Arc<Mutex<Vec<Weak<dyn Watcher>>>>);

/// A trust, and who tells of its changes.
#[derive(Clone, Debug)]
pub struct Notified<T> {
    inner: T,
    notifier: Notifier,
}

impl Notifier {
    /// One that nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the peers of all live sessions decided about again. Returns at once.
    pub fn notify(&self) {
        let watchers: Vec<_> = {
            let mut watchers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            watchers.retain(|watcher| watcher.strong_count() > 0);
            watchers.iter().filter_map(Weak::upgrade).collect()
        };
        watchers.iter().for_each(|watcher| watcher.changed());
    }
}

impl<T> Notified<T> {
    pub(super) fn new(inner: T, notifier: &Notifier) -> Self {
        Notified { inner, notifier: notifier.clone() }
    }
}

impl<T: Trust> Trust for Notified<T> {
    fn decide<'a>(&'a self, request: &'a Request) -> DecisionFuture<'a> {
        self.inner.decide(request)
    }

    fn watch(&self, watcher: &Weak<dyn Watcher>) -> bool {
        let mut watchers = self.notifier.0.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|other| other.strong_count() > 0 && !Weak::ptr_eq(other, watcher));
        watchers.push(watcher.clone());
        drop(watchers);
        self.inner.watch(watcher);
        true
    }
}
