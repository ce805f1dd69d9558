//! Lines on standard error. A closed standard error is no reason to stop.

use std::fmt::Display;
use std::io::Write;

/// Writes one line.
pub fn line(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
