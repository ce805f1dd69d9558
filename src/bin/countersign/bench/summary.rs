//! What is printed at the end: a table for people, or one JSON object for machines.

use std::time::Duration;

use countersign::session::SessionInfo;

use crate::bench::measure::{ECHO_LEN, Measure, Measured, Plan};

pub struct Summary<'a> {
    pub address: &'a str,
    pub info: &'a SessionInfo,
    pub plan: Plan,
    pub both_ends: bool,
    pub measured: &'a [Measured],
}

impl Summary<'_> {
    pub fn table(&self) -> String {
        let Plan { time, parallel, size } = self.plan;
        let (suite, address) = (self.info.suite, self.address.escape_debug());
        let mut table = if self.both_ends {
            "both ends in this process, over 127.0.0.1\n".to_string()
        } else {
            format!("{address}, {}\n", self.info.peer)
        };
        table.push_str(&format!(
            "{suite}, {} s each, {parallel} at a time, writes of {size} bytes, round trips of {ECHO_LEN}\n\n",
            time.as_secs()
        ));
        table.push_str(&format!(
            "{:30}{:>9} {:>9} {:>9} {:>9} ms   CPU of {}\n",
            "",
            "median",
            "p90",
            "p99",
            "max",
            self.whose_cpu()
        ));
        for measured in self.measured {
            table.push_str(&measured.row());
        }
        table
    }

    pub fn json(&self) -> String {
        let Plan { time, parallel, size } = self.plan;
        let mut fields = vec![
            ("countersign", text(env!("CARGO_PKG_VERSION"))),
            ("both_ends", self.both_ends.to_string()),
            ("peer", text(self.info.peer.public_key().fingerprint())),
            ("suite", text(self.info.suite)),
            ("seconds", time.as_secs().to_string()),
            ("parallel", parallel.to_string()),
            ("size", size.to_string()),
            ("round_trip_size", ECHO_LEN.to_string()),
            ("cpu_of", text(self.whose_cpu())),
        ];
        fields.extend(self.measured.iter().map(|measured| (measured.measure.key(), measured.json())));
        object(&fields) + "\n"
    }

    fn whose_cpu(&self) -> &'static str {
        if self.both_ends { "both ends" } else { "this side" }
    }
}

impl Measured {
    fn row(&self) -> String {
        let (name, rate) = (self.measure.name(), rate(self.measure, self.done, self.took));
        let cpu = self.cpu_each();
        if self.measure.is_transfer() {
            let cpu = cpu.map_or_else(|| "-".to_string(), |cpu| format!("{cpu:.3} s/GiB"));
            return format!("{name:<14}{rate}{:30}{cpu}\n", "");
        }
        let [median, p90, p99, max] = self.times().map(ms);
        let cpu = cpu.map_or_else(|| "-".to_string(), |cpu| format!("{cpu:.4} ms each"));
        format!("{name:<14}{rate}{median:>9} {p90:>9} {p99:>9} {max:>9}      {cpu}\n")
    }

    fn json(&self) -> String {
        let cpu = self.cpu_each().map_or_else(|| "null".to_string(), |cpu| format!("{cpu:.6}"));
        let (done, seconds) = (self.done.to_string(), format!("{:.6}", self.took.as_secs_f64()));
        let rate = format!("{:.3}", per_second(self.done, self.took));
        if self.measure.is_transfer() {
            let fields =
                [("bytes", done), ("seconds", seconds), ("bytes_per_second", rate), ("cpu_seconds_per_gib", cpu)];
            return object(&fields);
        }
        let [median, p90, p99, max] = self.times().map(|time| format!("{:.6}", time.as_secs_f64() * 1e3));
        object(&[
            ("count", done),
            ("seconds", seconds),
            ("per_second", rate),
            ("median_ms", median),
            ("p90_ms", p90),
            ("p99_ms", p99),
            ("max_ms", max),
            ("cpu_ms_each", cpu),
        ])
    }

    fn times(&self) -> [Duration; 4] {
        let times = &self.times;
        [times.percentile(50), times.percentile(90), times.percentile(99), times.max()]
    }

    /// Milliseconds for each, or seconds for each GiB.
    fn cpu_each(&self) -> Option<f64> {
        let unit = if self.measure.is_transfer() { float(1 << 30) } else { 1e3 };
        self.cpu.filter(|_| self.done > 0).map(|cpu| cpu.as_secs_f64() * unit / float(self.done))
    }
}

impl Measure {
    pub fn name(self) -> &'static str {
        match self {
            Measure::Handshakes => "handshakes",
            Measure::Upload => "upload",
            Measure::Download => "download",
            Measure::RoundTrips => "round trips",
        }
    }

    fn key(self) -> &'static str {
        if self == Measure::RoundTrips { "round_trips" } else { self.name() }
    }
}

/// A JSON object.
fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON string of characters that need no escapes: versions, fingerprints, suites.
fn text(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}

/// So much in such a time, in a fixed width.
pub fn rate(measure: Measure, done: u64, time: Duration) -> String {
    let rate = per_second(done, time);
    if measure.is_transfer() {
        format!("{:9.1} MiB/s {:7.3} Gbit/s ", rate / float(1 << 20), rate * 8.0 / 1e9)
    } else {
        format!("{rate:9.1} /s    ")
    }
}

/// In milliseconds.
pub fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

pub fn float(number: u64) -> f64 {
    let half = |number: u64| f64::from(u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number)
}

fn per_second(done: u64, time: Duration) -> f64 {
    float(done) / time.as_secs_f64().max(1e-9)
}
