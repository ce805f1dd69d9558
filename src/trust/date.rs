//! Times as `YYYYMMDDHHMMSS`, in the Gregorian calendar and in UTC, without leap seconds.

use core::fmt;
use core::time::Duration;

use alloc::string::String;

/// Why a text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseTimeError {
    /// Neither 8, 12 nor 14 digits.
    Form,
    /// There is no such day, or no such time of day; or it is before 1970.
    Range,
}

/// The time since 1970 of `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, each with or without a final `Z`; always in
/// UTC.
///
/// # Errors
/// [`ParseTimeError`].
pub fn parse_time(text: &str) -> Result<Duration, ParseTimeError> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if ![8, 12, 14].contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseTimeError::Form);
    }
    let field = |from: usize, to: usize| digits.get(from..to).and_then(|field| field.parse::<u64>().ok());
    let part = |from: usize| field(from, from + 2).unwrap_or(0);
    let (year, month, day) = (field(0, 4).unwrap_or(0), part(4), part(6));
    let (hour, minute, second) = (part(8), part(10), part(12));
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return Err(ParseTimeError::Range);
    }
    let seconds = days_since_1970(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    Ok(Duration::from_secs(seconds))
}

/// A time since 1970 for people: `2026-01-31 12:00:00 UTC`.
pub(crate) fn show(time: Duration) -> String {
    let (days, second) = (time.as_secs() / DAY, time.as_secs() % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    alloc::format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn days_in(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts from March on, so that the leap day is the last of its year; 400 years are a cycle.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - BEFORE_1970
}

fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(BEFORE_1970);
    let (cycle, day) = (days / CYCLE, days % CYCLE);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

impl core::error::Error for ParseTimeError {}

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseTimeError::Form => {
                "expected a time in UTC as YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with or without Z"
            }
            ParseTimeError::Range => "there is no such day or no such time of day since 1970",
        })
    }
}

const DAY: u64 = 86_400;
/// Days of 400 years.
const CYCLE: u64 = 146_097;
/// Days from March 1 of the year 0 to 1970.
const BEFORE_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds are those of `date -u -d TIME +%s`.
    #[test]
    fn times_and_what_is_shown_of_them() {
        for (text, seconds, shown) in [
            ("19700101", 0, "1970-01-01 00:00:00 UTC"),
            ("20000229", 951_782_400, "2000-02-29 00:00:00 UTC"),
            ("20240229Z", 1_709_164_800, "2024-02-29 00:00:00 UTC"),
            ("202603011200", 1_772_366_400, "2026-03-01 12:00:00 UTC"),
            ("20380119031407z", 2_147_483_647, "2038-01-19 03:14:07 UTC"),
            ("21000301", 4_107_542_400, "2100-03-01 00:00:00 UTC"),
            ("99991231235959Z", 253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(parse_time(text), Ok(time), "{text}");
            assert_eq!(show(time), shown);
        }
        assert!(show(Duration::MAX).ends_with("UTC"));
    }

    #[test]
    fn every_day_of_five_hundred_years_is_itself() {
        let mut expected = 0;
        for year in 1970..2470 {
            for (month, day) in (1..=12).flat_map(|month| (1..=days_in(year, month)).map(move |day| (month, day))) {
                assert_eq!(days_since_1970(year, month, day), expected);
                assert_eq!(date(expected), (year, month, day));
                expected += 1;
            }
        }
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "Z",
            "2026",
            "20260101ZZ",
            "2026010112",
            "2026-01-01",
            "20260101 ",
            "+2026010",
            "202601011200UTC",
            "2026010\u{661}",
        ] {
            assert_eq!(parse_time(text), Err(ParseTimeError::Form), "{text:?}");
        }
        for text in ["20260229", "21000229", "20261301", "20260001", "20260100", "20260431", "19691231", "00000101"] {
            assert_eq!(parse_time(text), Err(ParseTimeError::Range), "{text:?}");
        }
        for text in ["202601012400", "202601011260", "20260101115960"] {
            assert_eq!(parse_time(text), Err(ParseTimeError::Range), "{text:?}");
        }
    }
}
