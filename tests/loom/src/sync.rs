//! What the crate takes from `std::sync`, of loom. Reference counts are not the question here: `Arc` is the real one, which wakers need.

pub(crate) use std::sync::{Arc, PoisonError, Weak};

use std::fmt;

use loom::cell::UnsafeCell;
pub(crate) use loom::sync::{Mutex, MutexGuard};

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};

    /// Loom lets a swap read past a store that happened before it, which no machine does. Here a store is a swap as well, of which loom keeps the
    /// order.
    #[derive(Debug)]
    pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            AtomicBool(loom::sync::atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, ordering: Ordering) -> bool {
            self.0.load(ordering)
        }

        pub(crate) fn store(&self, value: bool, ordering: Ordering) {
            self.0.swap(value, ordering);
        }

        pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
            self.0.swap(value, ordering)
        }
    }
}

/// As that of the standard library, which loom does not have: set once under a lock, read without one.
pub(crate) struct OnceLock<T> {
    set: atomic::AtomicBool,
    lock: Mutex<()>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, under the lock, before `set` is; it is read only when `set` was seen.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        OnceLock { set: atomic::AtomicBool::new(false), lock: Mutex::new(()), value: UnsafeCell::new(None) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if !self.set.load(atomic::Ordering::Acquire) {
            return None;
        }
        // SAFETY: as above; nobody writes any more.
        self.value.with(|value| unsafe { (*value).as_ref() })
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("once"));
        value.map_or(Ok(()), Err)
    }

    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let locked = self.lock.lock().expect("lock");
        if self.get().is_none() {
            // SAFETY: as above; we have the lock.
            self.value.with_mut(|value| unsafe { *value = Some(init()) });
            self.set.store(true, atomic::Ordering::Release);
        }
        drop(locked);
        self.get().expect("set")
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceLock")
    }
}
