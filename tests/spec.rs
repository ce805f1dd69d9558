//! The specification and the tests know each other, and the worked example is what the vectors say.
#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;

const SPEC: &str = include_str!("../protocol-spec.md");

/// The tags such as `[HS-3]` in a text.
fn tags(text: &str) -> BTreeSet<String> {
    text.split('[')
        .skip(1)
        .filter_map(|piece| piece.split_once(']'))
        .map(|(tag, _)| tag)
        .filter(|tag| {
            tag.split_once('-').is_some_and(|(area, number)| {
                area.len() == 2 && area.bytes().all(|byte| byte.is_ascii_uppercase()) && number.parse::<u8>().is_ok()
            })
        })
        .map(Into::into)
        .collect()
}

/// The texts of the tests: everything in `tests/`, and the test modules inside `src/`.
fn test_texts(folder: &Path, inside_src: bool, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            test_texts(&path, inside_src, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source");
            let text = match inside_src {
                true => text.split_once("mod tests").map(|(_, tests)| tests.to_string()).unwrap_or_default(),
                false => text,
            };
            texts.insert(path.display().to_string(), text);
        }
    }
}

/// Every rule is named by at least one test, and no test names a rule that does not exist.
#[test]
fn every_rule_has_a_test() {
    let rules = tags(SPEC);
    assert!(rules.len() > 50, "{} rules found", rules.len());
    let mut texts = BTreeMap::new();
    test_texts(Path::new("src"), true, &mut texts);
    test_texts(Path::new("tests"), false, &mut texts);
    texts.remove("tests/spec.rs");
    let named: BTreeSet<String> = texts.values().flat_map(|text| tags(text)).collect();
    let untested: Vec<_> = rules.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&rules).collect();
    assert!(untested.is_empty(), "rules that no test names: {untested:?}");
    assert!(unknown.is_empty(), "tests name rules that do not exist: {unknown:?}");
}

/// Every MUST stands in a rule: its paragraph or list item carries a tag.
#[test]
fn every_must_has_a_tag() {
    let body = SPEC.split("## 3. Goals").nth(1).expect("section 3").split("## 15.").next().expect("section 15");
    let mut items: Vec<String> = vec![String::new()];
    for line in body.lines() {
        let starts =
            line.is_empty() || line.starts_with(['*', '#', '|']) || line.starts_with(|c: char| c.is_ascii_digit());
        if starts {
            items.push(String::new());
        }
        let item = items.last_mut().expect("an item");
        item.push_str(line);
        item.push(' ');
    }
    for item in items.iter().filter(|item| item.contains("MUST")) {
        assert!(!tags(item).is_empty(), "no tag: {item}");
    }
}

/// The numbers of section 4 are those of `limits.rs`.
#[test]
fn constants_are_the_same() {
    use countersign::limits;
    let known: [(&str, u64); 20] = [
        ("VERSION", limits::VERSION.into()),
        ("HEADER_LEN", limits::HEADER_LEN as u64),
        ("NONCE_LEN", limits::NONCE_LEN as u64),
        ("TAG_LEN", limits::TAG_LEN as u64),
        ("SIGNATURE_LEN", limits::SIGNATURE_LEN as u64),
        ("CONFIRM_LEN", limits::CONFIRM_LEN as u64),
        ("SESSION_ID_LEN", limits::SESSION_ID_LEN as u64),
        ("MAX_HELLO_LEN", limits::MAX_HELLO_LEN as u64),
        ("MAX_AUTH_LEN", limits::MAX_AUTH_LEN as u64),
        ("MAX_CREDENTIAL_LEN", limits::MAX_CREDENTIAL_LEN as u64),
        ("MAX_SUITES", limits::MAX_SUITES as u64),
        ("MAX_SHARES", limits::MAX_SHARES as u64),
        ("MAX_SERVICE_LEN", limits::MAX_SERVICE_LEN as u64),
        ("MAX_CONTEXT_LEN", limits::MAX_CONTEXT_LEN as u64),
        ("MAX_TEXT_LEN", limits::MAX_TEXT_LEN as u64),
        ("MAX_CONTENT_LEN", limits::MAX_CONTENT_LEN as u64),
        ("MAX_RECORD_LEN", limits::MAX_RECORD_LEN as u64),
        ("MAX_RECORDS", limits::MAX_RECORDS),
        ("HANDSHAKE_SECONDS", limits::HANDSHAKE_SECONDS),
        ("MAX_HANDSHAKES", limits::MAX_HANDSHAKES as u64),
    ];
    let section = SPEC.split("## 4. Constants").nth(1).expect("section 4").split("## 5.").next().expect("section 5");
    for (name, value) in known {
        let row = section.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let Some(row) = row else {
            assert!(section.contains(&value.to_string()) || section.contains("1,024"), "{name} is not in section 4");
            continue;
        };
        let cell = row.split('|').nth(2).expect("a value").trim().replace(',', "");
        let written = match cell.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).expect("hex"),
            None => match cell.split_once('^') {
                Some((base, power)) => base.parse::<u64>().expect("base").pow(power.parse().expect("power")),
                None => cell.parse().expect("number"),
            },
        };
        assert_eq!(written, value, "{name}");
    }
}

/// The state tables have no blank cell, and as many cells in each row as in their head.
#[test]
fn tables_have_no_blank_cell() {
    let section =
        SPEC.split("## 13. State tables").nth(1).expect("section 13").split("## 14.").next().expect("section 14");
    let mut width = 0;
    let mut rows = 0;
    for line in section.lines() {
        if !line.starts_with('|') {
            width = 0;
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.iter().all(|cell| !cell.is_empty()), "a blank cell: {line}");
        assert!(width == 0 || width == cells.len(), "cells missing: {line}");
        width = cells.len();
        rows += 1;
    }
    assert!(rows >= 14, "{rows} rows found");
}

/// Appendix A is the first case of `handshake.json`, word for word. `UPDATE_SPEC=1 cargo test --test spec` writes it.
#[test]
fn the_worked_example_is_the_vector() {
    let text = fs::read_to_string("tests/vectors/handshake.json").expect("vectors");
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let example = example(&vectors["cases"][1]);
    let (before, rest) = SPEC.split_once("<!-- example -->\n").expect("start of the example");
    let (written, after) = rest.split_once("<!-- end of example -->").expect("end of the example");
    if written != example && std::env::var_os("UPDATE_SPEC").is_some() {
        let updated = format!("{before}<!-- example -->\n{example}<!-- end of example -->{after}");
        fs::write("protocol-spec.md", updated).expect("written");
        return;
    }
    assert!(written == example, "appendix A differs from tests/vectors/handshake.json: run with UPDATE_SPEC=1");
}

fn example(case: &Value) -> String {
    let mut out = String::from("```\n");
    let mut put = |name: &str, value: &Value| {
        let text = value.as_str().expect("a string");
        let _ = write!(out, "{name:<22}");
        if text.is_empty() {
            out.push_str("(empty)\n");
        }
        for (index, chunk) in text.as_bytes().chunks(96).enumerate() {
            let indent = if index == 0 { "" } else { "                      " };
            let _ = writeln!(out, "{indent}{}", String::from_utf8_lossy(chunk));
        }
    };
    put("context", &case["context"]);
    put("service (text)", &case["service"]);
    for side in ["initiator", "responder"] {
        put(&format!("{side} seed"), &case[side]["seed"]);
        put(&format!("{side} key"), &case[side]["public_key"]);
        put(if side == "initiator" { "nonce_i" } else { "nonce_r" }, &case[side]["randomness"][0]);
        put(if side == "initiator" { "x" } else { "y" }, &case[side]["randomness"][1]);
    }
    put("HELLO", &case["wire"]["hello"]);
    put("HELLO_REPLY", &case["wire"]["hello_reply"]);
    put("TH_hello", &case["transcript"]["TH_hello"]);
    for name in ["shared", "early_secret", "handshake_secret", "hs_secret_r", "hs_key_r", "hs_iv_r", "confirm_key_r"] {
        put(name, &case["secrets"][name]);
    }
    for name in ["hs_secret_i", "hs_key_i", "hs_iv_i", "confirm_key_i"] {
        put(name, &case["secrets"][name]);
    }
    for (side, message) in [("r", "AUTH_R"), ("i", "AUTH_I")] {
        put(&format!("TH_sign_{side}"), &case["transcript"][format!("TH_sign_{side}")]);
        put(&format!("signature_input_{side}"), &case[format!("signature_input_{side}")]);
        put(&format!("signature_{side}"), &case[format!("signature_{side}")]);
        put(&format!("TH_confirm_{side}"), &case["transcript"][format!("TH_confirm_{side}")]);
        put(&format!("confirm_{side}"), &case[format!("confirm_{side}")]);
        put(&format!("{message} plaintext"), &case[format!("auth_{side}_plaintext")]);
        put(message, &case["wire"][format!("auth_{side}")]);
    }
    put("TH_final", &case["transcript"]["TH_final"]);
    for name in ["master_secret", "traffic_secret_r", "traffic_key_r", "traffic_iv_r", "traffic_secret_i"] {
        put(name, &case["secrets"][name]);
    }
    for name in ["traffic_key_i", "traffic_iv_i", "exporter_secret", "session_id"] {
        put(name, &case["secrets"][name]);
    }
    put("VERDICT plaintext", &case["verdict_plaintext"]);
    put("VERDICT", &case["wire"]["verdict"]);
    for record in case["records"].as_array().expect("records") {
        let name = format!("{} {}", record["from"].as_str().expect("from"), record["kind"].as_str().expect("kind"));
        put(&format!("{name} nonce"), &record["nonce"]);
        put(&format!("{name} text"), &record["plaintext"]);
        put(&name, &record["frame"]);
    }
    out.push_str("```\n");
    out
}
