//! Looks into the memory of another process (Linux).
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Something that is looked for.
#[derive(Clone, Debug)]
pub struct Needle {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Needle {
    pub fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        let (name, bytes) = (name.into(), bytes.to_vec());
        assert!(bytes.len() >= SHORTEST && bytes.iter().any(|byte| *byte != bytes[0]), "{name} is nothing to look for");
        Needle { name, bytes }
    }

    /// The pieces whose presence gives much of the whole away: a copy may be torn or overwritten in part.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(PIECE).filter(|piece| piece.len() >= SHORTEST)
    }
}

/// Where the needles are, by name.
pub type Found = BTreeMap<String, Vec<String>>;

/// Searches all memory that the process can write; `stack` is an address on the stack of the thread that matters.
pub fn search(process: u32, stack: u64, needles: &[Needle]) -> Found {
    // By the first two bytes, so that a look at the memory is cheap.
    let mut starts: Vec<Vec<(usize, &[u8])>> = vec![Vec::new(); 1 << 16];
    for (number, needle) in needles.iter().enumerate() {
        for piece in needle.pieces() {
            starts[usize::from(u16::from_le_bytes([piece[0], piece[1]]))].push((number, piece));
        }
    }
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("maps");
    let memory = File::open(format!("/proc/{process}/mem")).expect("the memory of a child");
    let mut found = Found::new();
    let mut searched = 0;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().expect("range"), fields.next().expect("rights"));
        let mapped = fields.nth(3);
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').expect("range");
        let address = |hex| u64::from_str_radix(hex, 16).expect("address");
        let (start, end) = (address(start), address(end));
        let name = match mapped {
            _ if (start..end).contains(&stack) => "stack",
            None | Some("[heap]") => "heap",
            Some(name) => name,
        };
        let mut bytes = vec![0; usize::try_from(end - start).expect("length")];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            assert!(name.starts_with("[v"), "{line} can't be read");
            continue;
        }
        searched += bytes.len();
        for (at, pair) in bytes.windows(2).enumerate() {
            for (number, piece) in &starts[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] {
                if bytes[at..].starts_with(piece) {
                    let place = format!("{name} {:#x}", start + at as u64);
                    found.entry(needles[*number].name.clone()).or_default().push(place);
                }
            }
        }
    }
    assert!(searched > 1 << 16, "only {searched} bytes were searched");
    found
}

const PIECE: usize = 16;
/// The shortest thing that is looked for, the iv of an AEAD.
const SHORTEST: usize = 12;
