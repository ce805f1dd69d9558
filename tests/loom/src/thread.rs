//! What the crate takes from `std::thread`. A park never ends by itself, whatever its timeout.

use std::time::Duration;

pub(crate) use loom::thread::{Thread, current, park};

pub(crate) fn park_timeout(_: Duration) {
    park();
}
