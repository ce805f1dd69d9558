//! Bar charts in SVG, drawn by hand: a bar for each peer, its quartiles as a line.

use std::fmt::Write;

use crate::catalog::ids;
use crate::id::{Family, Id};
use crate::measures::Measure;
use crate::runner::Samples;
use crate::stats::{Asked, Spread};

/// A chart for each measure that was made and that has one: the name of its file, and its content.
pub fn plots(samples: &Samples) -> Vec<(String, String)> {
    let charts = [
        (Measure::Handshake, "both us", "CPU per handshake, both sides, us"),
        (Measure::Bulk, "both s/GiB", "Bulk: CPU per GiB, both sides, s"),
        (Measure::Small, "both s/GiB", "Writes of 1 KiB: CPU per GiB, both sides, s"),
        (Measure::Echo, "beyond tcp us", "Echo of 64 B: CPU beyond TCP, both sides, us"),
        (Measure::Memory, "after 64 B B", "Memory of an idle connection after 64 B, both ends, bytes"),
        (Measure::Idle, "rss B at 10000", "Resident memory of an idle session, both ends, bytes"),
        (Measure::Wire, "handshake B", "Bytes of a handshake"),
    ];
    charts.into_iter().filter_map(|(measure, figure, title)| chart(Asked { samples, measure, figure }, title)).collect()
}

fn chart(asked: Asked<'_>, title: &str) -> Option<(String, String)> {
    let all = ids(asked.measure).unwrap_or_default();
    let mut bars: Vec<(&Id, Spread)> = all.iter().filter_map(|id| Some((id, asked.of(id)?))).collect();
    bars.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let longest = bars.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    if longest <= 0.0 {
        return None;
    }
    let height = TOP + ROW * bars.len() as f64 + MARGIN;
    let width = LABELS + BARS + VALUES;
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{MARGIN}" y="20" font-size="14" font-weight="bold">{title}</text>"##
    );
    for (n, (id, spread)) in bars.iter().enumerate() {
        let x = |value: f64| LABELS + value.max(0.0) / longest * BARS;
        let (y, middle) = (TOP + ROW * n as f64, TOP + ROW * (n as f64 + 0.5));
        let Spread { low, median, high } = *spread;
        let digits = if median.abs() < 10.0 { 2 } else { 0 };
        let _ = writeln!(
            svg,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end">{id}</text>
<rect x="{LABELS}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{}"/>
<line x1="{:.1}" y1="{middle:.1}" x2="{:.1}" y2="{middle:.1}" stroke="#222222" stroke-width="2"/>
<text x="{:.1}" y="{:.1}">{median:.digits$}</text>"##,
            LABELS - 6.0,
            middle + 4.0,
            y + 2.0,
            x(median) - LABELS,
            ROW - 4.0,
            colour(id.family),
            x(low),
            x(high),
            x(high) + 6.0,
            middle + 4.0,
        );
    }
    svg.push_str("</svg>\n");
    Some((format!("{}.svg", asked.measure), svg))
}

fn colour(family: Family) -> &'static str {
    match family {
        Family::Tcp => "#999999",
        Family::Countersign => "#1b7f5a",
        Family::CountersignPure => "#7cc4a4",
        Family::RustlsAws | Family::RustlsRing => "#d08a4e",
        Family::SnowDefault | Family::SnowRing | Family::Libp2pNoise | Family::Commonware => "#6f8fc4",
    }
}

const MARGIN: f64 = 10.0;
const TOP: f64 = 34.0;
const ROW: f64 = 20.0;
const LABELS: f64 = 320.0;
const BARS: f64 = 480.0;
const VALUES: f64 = 80.0;
