//! What the tests of `countersign ca` have in common; `openssl` is the judge.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cmd::{House, code, text};

/// A house with a CA in `ca`.
pub fn with_ca() -> House {
    let house = House::new();
    ok(&house, &["ca", "init", "ca", "--name", "Example CA"]);
    house
}

/// Runs a command that has to succeed, and returns what it printed.
pub fn ok(house: &House, args: &[&str]) -> String {
    let output = house.run(args);
    assert_eq!(code(&output), 0, "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn openssl(house: &House, args: &[&str]) -> Output {
    Command::new("openssl").args(args).current_dir(&house.folder).stdin(Stdio::null()).output().expect("openssl")
}

/// Runs openssl, which has to be content.
pub fn openssl_ok(house: &House, args: &[&str]) -> String {
    let output = openssl(house, args);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {all}");
    all
}

pub fn verify(house: &House, chain: &str) {
    openssl_ok(house, &["verify", "-x509_strict", "-CAfile", "ca/ca.pem", chain]);
}

/// The word behind a field in what `issue` prints.
pub fn field(printed: &str, name: &str) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {printed}"));
    line.trim().to_string()
}

pub fn list(house: &House) -> Vec<Value> {
    let json = ok(house, &["ca", "list", "ca", "--json"]);
    serde_json::from_str::<Value>(&json).unwrap_or_else(|_| panic!("{json}")).as_array().expect("an array").clone()
}

pub fn mode(house: &House, name: &str) -> u32 {
    fs::metadata(house.path(name)).expect("metadata").permissions().mode() & 0o7777
}

pub fn issue<'a>(subject: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["ca", "issue", "ca", "--for", subject, "--out", out], more].concat()
}
