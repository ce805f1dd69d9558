//! Replays the committed corpora of all fuzz targets: every input that once broke a property, or reached a place that no other
//! did, goes through the same property in every test run, without a fuzzer.

#![allow(missing_docs)]

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod properties;

// Protects what each property names: see `fuzz/README.md`. A target without a corpus, and a corpus without a target, fail.
#[test]
fn every_corpus_holds_its_property() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let names: Vec<&str> = properties::TARGETS.iter().map(|(name, _)| *name).collect();
    let folders: Vec<String> = entries(&root).iter().map(|path| file_name(path)).collect();
    assert_eq!(folders, names, "one corpus for each target");
    for (name, property) in properties::TARGETS {
        let files = entries(&root.join(name));
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in &files {
            let data = fs::read(file).expect("a readable file");
            let held = panic::catch_unwind(|| property(&data));
            assert!(held.is_ok(), "{name} fails for fuzz/corpus/{name}/{}", file_name(file));
        }
        println!("{name}: {} files", files.len());
    }
}

// A wrapper that is missing, or one too many, would leave a property to nobody.
#[test]
fn every_target_has_a_wrapper() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let wrappers: Vec<String> = entries(&folder).iter().map(|path| file_name(path)).collect();
    let expected: Vec<String> = properties::TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(wrappers, expected);
}

/// The content of a folder in order, but for hidden files.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.expect("a folder entry").path()).collect();
    paths.retain(|path| !file_name(path).starts_with('.'));
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
