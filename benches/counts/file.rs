//! The file that keeps the counts: lines of a name and a number, below lines that say by which tools they were made.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;

use crate::valgrind;

/// Numbers by name, in order.
type Counts = [(String, [u64; 1])];

/// Prints all, and what is out of bounds. Whether nothing is above.
pub fn compare(now: &Counts) -> bool {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    let mut kept = parse(&text);
    let (mut worse, mut better) = (Vec::new(), Vec::new());
    for (name, [count]) in now {
        let before = kept.remove(name.as_str());
        println!("{name:<40} {count:>12}{}", before.map_or("  new".into(), |before| change(before, *count)));
        match before {
            None => worse.push(format!("{name}: {count}, and no number in the file")),
            Some(before) => {
                let line = format!("{name}: {} ({before} before, {count} now)", change(before, *count).trim());
                if is_more(*count, before) {
                    worse.push(line);
                } else if is_more(before, *count) {
                    better.push(line);
                }
            }
        }
    }
    worse.extend(kept.keys().map(|name| format!("{name}: in the file, and not measured any more")));
    let tell = |what: &str, lines: &[String]| {
        if !lines.is_empty() {
            println!("\n{what}");
            lines.iter().for_each(|line| println!("  {line}"));
        }
    };
    tell("Fewer instructions: keep that by writing the file anew (benches/counts/run --update).", &better);
    tell("TOO MANY INSTRUCTIONS: more than 5 % and 100 above the file, or not in both.", &worse);
    if !worse.is_empty() {
        println!("\nIf it has to be so: benches/counts/run --update, and say why where the file is committed.");
        if let Some(then) = text.strip_prefix(MADE_BY).and_then(|rest| rest.lines().next()) {
            let (then, now) = (then.trim(), tools());
            if then != now {
                println!("The file was made by {then}; this is {now}: that may be why.");
            }
        }
    }
    worse.is_empty()
}

/// Writes the file anew.
pub fn write(now: &Counts) {
    let mut text =
        format!("{MADE_BY} {}\n# Written by benches/counts/run --update, compared by benches/counts/run.\n", tools());
    now.iter().for_each(|(name, [count])| text += &format!("{name:<40} {count:>12}\n"));
    fs::write(FILE, text).expect("the file can be written");
    println!("{FILE}: {} counts", now.len());
}

fn parse(text: &str) -> BTreeMap<&str, u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, count) = line.split_once(' ').expect("a name and a count");
            (name, count.trim().parse().expect("a count"))
        })
        .collect()
}

/// Whether that is more than the compiler's moods explain: what is inlined where changes with whatever stands around it, by
/// some tens of instructions.
fn is_more(count: u64, before: u64) -> bool {
    count > before + (before / 20).max(SLACK)
}

fn change(before: u64, now: u64) -> String {
    format!("{:>+8.1} %", (now as f64 / before as f64 - 1.0) * 100.0)
}

/// What the numbers depend on.
fn tools() -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    let rustc = rustc.unwrap_or_else(|_| "an unknown rustc".into());
    format!("{rustc}, {}, {}", valgrind::version().unwrap_or_default(), env::consts::ARCH)
}

const FILE: &str = "benches/counts/counts.txt";
/// How many more may be where 5 % would be fewer.
const SLACK: u64 = 100;
const MADE_BY: &str = "# Instructions for each operation, by";
