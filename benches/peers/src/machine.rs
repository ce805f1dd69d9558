//! Where and when, and with what.

use std::fs::read_to_string;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// What a reader of the results has to know.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub rustc: String,
    /// The system's congestion control, which handshakes have; data are sent with `reno`.
    pub congestion: String,
    pub date: String,
    pub command: String,
    /// Of one, five and fifteen minutes, at the beginning and at the end.
    pub load: [String; 2],
    /// The peers.
    pub versions: Vec<String>,
}

impl Machine {
    /// At the beginning of a run.
    pub fn look() -> Self {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let rustc = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Machine {
            cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: line("/proc/sys/kernel/osrelease"),
            congestion: line("/proc/sys/net/ipv4/tcp_congestion_control"),
            rustc: String::from_utf8_lossy(&rustc).trim().to_owned(),
            date: date(now),
            command: std::env::args().skip(1).fold("cargo run --release --".to_owned(), |line, arg| line + " " + &arg),
            load: [load(), String::new()],
            versions: versions(),
        }
    }

    /// At the end.
    pub fn look_again(&mut self) {
        self.load[1] = load();
    }

    /// A paragraph.
    pub fn text(&self) -> String {
        let [before, after] = &self.load;
        format!(
            "{}, {} cores, Linux {} ({} by default), {}. {}, load average {before} before and {after} after. `{}`\n\nCompared: {}.\n",
            self.cpu,
            self.cores,
            self.kernel,
            self.congestion,
            self.rustc,
            self.date,
            self.command,
            self.versions.join(", ")
        )
    }

    /// For the results.
    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "kernel": self.kernel, "congestion": self.congestion, "rustc": self.rustc, "date": self.date,
            "command": self.command, "load": self.load, "versions": self.versions,
        })
    }
}

fn line(path: &str) -> String {
    read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The versions that this program was built with.
fn versions() -> Vec<String> {
    let lock = include_str!("../Cargo.lock");
    let version = |name: &&str| {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{name}\"\n")))?;
        let version = entry.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))?;
        Some(format!("{name} {version}"))
    };
    COMPARED.iter().filter_map(version).collect()
}

/// A day and time in UTC from seconds since 1970 (Howard Hinnant's `civil_from_days`).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3_600 % 24, seconds / 60 % 60)
}

const COMPARED: [&str; 9] = [
    "countersign",
    "rustls",
    "tokio-rustls",
    "aws-lc-rs",
    "ring",
    "snow",
    "libp2p-noise",
    "commonware-stream",
    "tokio",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_827_640), "2000-02-29 12:34 UTC");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn every_peer_has_a_version() {
        assert_eq!(versions().len(), COMPARED.len());
    }
}
