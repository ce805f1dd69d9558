//! Points in time with seconds, as they stand in certificates.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use x509_cert::der::DateTime;

use crate::report::{IO, Report};

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    pub fn now() -> Result<Self, Report> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since = since.map_err(|_| Report::new(IO, "the clock of this machine stands before 1970: set it", None))?;
        Ok(Moment(since.as_secs()))
    }

    pub fn from_seconds(seconds: u64) -> Self {
        Moment(seconds)
    }

    pub fn after(self, seconds: u64) -> Self {
        Moment(self.0.saturating_add(seconds))
    }

    pub fn before(self, seconds: u64) -> Self {
        Moment(self.0.saturating_sub(seconds))
    }

    /// Seconds from an earlier one to this one.
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same for the maker of certificates.
    pub fn to_date(self) -> Result<OffsetDateTime, Report> {
        let date = i64::try_from(self.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        date.ok_or_else(|| Report::new(IO, "a date after the year 9999: is the clock of this machine right?", None))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(date) => date.fmt(f),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date: DateTime = text.parse().map_err(|_| "expected a time such as 2026-01-31T12:00:00Z".to_string())?;
        Ok(Moment(date.unix_duration().as_secs()))
    }
}
