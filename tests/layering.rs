//! The house has floors, and imports point down: no file names a module of a higher floor, or a neighbour on its own.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of the library, from the ground. Modules that share a line don't know each other, with the exceptions below.
const FLOORS: &[&[&str]] = &[
    &["role", "limits", "secret"],
    &["error"],
    &["wire", "crypto"],
    &["transcript", "identity", "keylog"],
    &["trust"],
    &["session", "live", "reload"],
    &["config"],
    &["handshake"],
    &["failure", "halves", "buffers", "clock"],
    &["blocking", "stream"],
    &["net"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_point_down() {
    let mut found = Vec::new();
    files(Path::new("src"), &mut found);
    let mut checked = 0;
    for path in found.iter().filter(|path| !path.starts_with("src/bin") && !path.ends_with("lib.rs")) {
        let own = path.components().nth(1).expect("module").as_os_str().to_string_lossy().replace(".rs", "");
        let own_floor = floor(&own).unwrap_or_else(|| panic!("{} is on no floor", path.display()));
        let text = fs::read_to_string(path).expect("source");
        for piece in text.split("crate::").skip(1) {
            let module: String = piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(other) = floor(&module) else { continue };
            assert!(module == own || other < own_floor, "{} imports {module}, which is not below it", path.display());
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} imports found: does this test still read the sources?");
}

/// The core has no socket, clock, task or ambient randomness; key and trust files are the only things that touch the system.
#[test]
fn the_core_is_without_io() {
    let mut found = Vec::new();
    files(Path::new("src"), &mut found);
    let outside = [
        "src/bin",
        "src/net",
        "src/stream",
        "src/blocking",
        "src/buffers",
        "src/failure.rs",
        "src/halves.rs",
        "src/identity/agent.rs",
        "src/identity/file.rs",
        "src/trust/file.rs",
        "src/trust/x509/load.rs",
        "src/reload.rs",
        "src/clock.rs",
        "src/trust/known",
        "src/trust/load.rs",
    ];
    for path in found.iter().filter(|path| !outside.iter().any(|folder| path.starts_with(folder))) {
        let text = fs::read_to_string(path).expect("source");
        let code = text.split("mod tests").next().expect("code");
        for word in ["tokio::", "std::net", "std::io", "std::fs", "std::time", "Instant", "SystemTime", "thread"] {
            assert!(!code.contains(word), "{} uses {word}", path.display());
        }
    }
}
