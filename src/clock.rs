//! What time it is, for trust with a validity.

use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::trust::Request;

/// Now, since 1970 in UTC: by the clock of the configuration, or by the system's. A system clock before 1970 is at 1970, when no certificate is valid.
pub(crate) fn now(config: &Config) -> Duration {
    match &config.clock {
        Some(clock) => clock.now(),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}

/// The question with a time.
pub(crate) fn dated(request: Request, config: &Config) -> Request {
    if request.time.is_some() { request } else { request.at(now(config)) }
}
