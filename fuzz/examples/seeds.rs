//! Writes the seeds of all targets, `corpus/TARGET/seed-NAME`: honest frames, honest texts, and one of each sort of operation.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`

use std::fs;
use std::path::Path;

use countersign::role::Role;
use countersign_fuzz::parties::{Machine, identity, key, split, wide_config};

fn main() {
    let frames = honest_frames(b"seed", 1);
    let [hello, reply, auth_r, auth_i, verdict] = [0, 1, 2, 3, 4].map(|i| &frames[i][..]);
    let x25519 = &hello[42..];
    let [wide_hello, wide_reply, wide_auth_r] = wide_frames(false);
    let [tagged_hello, ..] = wide_frames(true);

    // Bodies and plaintexts.
    let mut wide = vec![0, 1];
    wide.extend([7; 32]);
    wide.extend([3, 0, 2, 0, 1, 0xFF, 0xFE, 2, 1, 0, 32]);
    wide.extend(&x25519[x25519.len() - 32..]);
    wide.extend([2, 0, 3, 9, 9, 9]);
    let mut auth = vec![1, 0, 32];
    auth.extend(key(Role::Responder).as_bytes());
    auth.extend([5; 64 + 32]);
    let padded = [&auth[..], &[0; 20]].concat();
    let with_service = [&b"\x04echo"[..], &auth].concat();
    save("cursor_message", "hello", &hello[4..]);
    save("cursor_message", "hello-unknown-suites", &wide);
    save("cursor_message", "hello-trailing", &[&hello[4..], &[0]].concat());
    save("cursor_message", "hello-hybrid", &wide_hello[4..]);
    save("cursor_message", "hello-tagged", &tagged_hello[4..]);
    save("cursor_message", "hello-version", &[&[0, 2], &hello[6..]].concat());
    save("cursor_message", "hello-reply", &reply[4..]);
    save("cursor_message", "auth-r", &auth);
    save("cursor_message", "auth-r-padded", &padded);
    save("cursor_message", "auth-r-bad-padding", &[&padded[..], &[1]].concat());
    save("cursor_message", "auth-i", &with_service);
    save("cursor_message", "code-text", "\u{5}not today, bär".as_bytes());
    save("cursor_message", "code-control", "\u{5}a\u{85}".as_bytes());

    // All types legal (0x3F), the connection at its start (0x80).
    for (name, choice, stream) in [
        ("handshake", 0x3F, frames.concat()),
        ("initiator", 0x80 | 0x22, [reply, &[0xC6, 0, 0, 1, 5]].concat()),
        ("unexpected", 0xA1, [hello, auth_i].concat()),
        ("tls", 0x81, b"\x16\x03\x01\x02\x00".to_vec()),
        ("http", 0x81, b"GET / HTTP/1.1\r\n".to_vec()),
        ("ssh", 0x81, b"SSH-2.0-x\r\n".to_vec()),
        ("too-long", 0x3F, b"\xC5\xFF\xFF\xFFabc".to_vec()),
        ("too-short", 0x3F, b"\xC5\0\0\x10abc".to_vec()),
        ("incomplete", 0x10, b"\xC5\0\x01\0abc".to_vec()),
    ] {
        save("frame_chunks", name, &[&[choice, 5, 1, 2, 1, 40, 200], &stream[..]].concat());
    }

    // Victim; then the choices of a claim, with its arguments.
    for (name, choices) in [
        ("honest", &[0_u8][..]),
        ("stranger", &[1]),
        ("bad-confirm", &[4]),
        ("bad-signature", &[8]),
        ("other-role", &[16]),
        ("impersonation", &[2 << 5 | 1]),
        ("own-key", &[3 << 5 | 1]),
        ("low-order", &[4 << 5, 1, 0, 0]),
        ("non-canonical", &[0x80; 33]),
        ("kind", &[5 << 5, 2, 4, 1, 2, 3, 4]),
        ("length", &[5 << 5, 1, 31]),
        ("chain", &[5 << 5, 2, 2, 0, 0, 0]),
        ("chain-stranger", &[5 << 5 | 1, 2, 0, 0, 0]),
        ("chain-edited", &[5 << 5, 2, 2, 1, 0, 0, 2, 1, 0, 0]),
        ("chain-framed-wrongly", &[5 << 5, 2, 0, 0, 1, 0, 0, 0, 1]),
        ("service", b"\xC0\x05other"),
        ("bad-service", b"\xC0\x03a b"),
        ("padding", &[7 << 5, 3, 0, 0, 0]),
        ("bad-padding", &[7 << 5, 3, 0, 1, 0]),
    ] {
        for victim in [0, 1] {
            save("identity_presented", &format!("{name}-{victim}"), &[&[victim], choices].concat());
        }
    }
    save("identity_presented", "raw-0", &[&[0, 2], &auth[..]].concat());
    save("identity_presented", "raw-1", &[&[1, 2], &with_service[..]].concat());

    let line = key(Role::Initiator).to_string();
    let pem = identity(Role::Initiator).with_comment("a b").to_openssh(None).expect("a key file");
    let pkcs8 = [&b"\x30\x2e\x02\x01\0\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"[..], &[0x11; 32]].concat();
    let fingerprint = key(Role::Initiator).fingerprint().to_string();
    let trust =
        format!("\u{feff}# peers\n\n{line} alice of the lab\r\n  {}\tbob\n{line} again\n", key(Role::Responder));
    save("key_text", "line", format!("{line} user@example.com").as_bytes());
    save("key_text", "fingerprint", fingerprint.as_bytes());
    save("key_text", "trust", trust.as_bytes());
    save("key_text", "trust-options", format!("from=\"::1\" {line}").as_bytes());
    save("key_text", "rsa", b"ssh-rsa AAAAB3NzaC1yc2E= x");
    save("key_text", "openssh", pem.as_bytes());
    save("key_text", "openssh-binary", &[&[0], &unarmour(&pem)[..]].concat());
    save("key_text", "pkcs8-binary", &[&[1], &pkcs8[..]].concat());
    save("key_text", "encrypted", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n");

    // A choice, the number of a case of the vectors, edits.
    let none = [0; 16];
    for (name, choice, case, more) in [
        ("leaf", 5, 0, &none[..]),
        ("intermediate", 5, 2, &none),
        ("names", 5, 70, &none),
        ("responder", 37, 1, &none),
        ("pinned", 5, 130, &none),
        ("flipped", 5, 2, &[1, 0, 0, 40, 1, 1, 0, 1, 60, 255, 0, 0]),
        ("inserted", 5, 2, &[1, 2, 0, 4, 0, 0]),
        ("cut", 5, 2, &[1, 3, 1, 0, 200, 0]),
        ("reordered", 13, 2, &[0, 14, 3, 1, 0, 2, 0, 0, 0]),
        ("frame", 21, 2, &[0, 0, 1, 1, 0, 0, 5]),
        ("ca", 4, 0, &[1, 0, 0, 80, 4, 0]),
        ("lists", 3, 100, &none),
        ("lists-edited", 3, 100, &[1, 0, 0, 60, 1, 0, 0]),
        ("list", 2, 0, &[0x30, 0x03, 0x02, 0x01, 0x01]),
        ("list-pem", 2, 0, b"-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
        ("pem", 1, 0, b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
        ("data", 0, 0, &[0, 2, 0x30, 0, 0, 2, 0x30, 0]),
    ] {
        save("certificate_chain", name, &[&[choice, 0, case][..], more].concat());
    }

    for (name, list) in [
        ("services", "db-*,metrics,!db-test\ndb-1\ndb-test\nmetrics\n"),
        ("stars", "*a*b*a?b*,!**c\nabababab\naxbaab\nabaabc\n"),
        (
            "names",
            "*.example.org,!db.example.org,spiffe://prod/*,10.*\nDB.example.org.\n*.example.org\nspiffe://prod/x\n10.0.0.1",
        ),
        (
            "addresses",
            "10.0.0.0/8,!10.9.0.0/16,::1,2001:db8::/32,::ffff:10.0.0.0/104\n10.1.2.3\n10.9.1.1\n::1\n::ffff:10.1.2.3\n2001:db8::1",
        ),
        ("everywhere", "0.0.0.0/0,::/0,!127.0.0.1\n127.0.0.1\n::\n1.1.1.1"),
        ("only-negated", "!a\na"),
    ] {
        save("match_lists", name, list.as_bytes());
    }
    for (name, text) in [
        ("plain", "\0\u{1} alice\n# nobody\n\n\u{2} bob\n\u{1} again\n"),
        (
            "options",
            "\u{1}from=\"10.0.0.0/8,!10.9.0.0/16\",services=\"db-*\" \u{1} alice\nservices=\"*\" \u{1} later\nexpiry-time=\"20991231Z\" \u{2} bob",
        ),
        ("authority", "\0cert-authority,names=\"*.example.org\",expiry-time=\"20991231\" \u{1} CA\n\u{3} guest\n"),
        ("quotes", "\0services=\"a\\\"b\" \u{1}\r\nfrom=\"::1\"\t\u{2} x y \n"),
    ] {
        save("trust_lines", name, text.as_bytes());
    }
    for (name, choice, host, text) in [
        ("check", 0, "a.example", "a.example,b.example \u{1} old\n@revoked * \u{3}\n[a.example]:7000 \u{2}\n"),
        ("add", 2, "c.example", "a.example \u{2}"),
        ("add-hashed", 11, "c.example", "*.example,!c.example \u{2}\n# x\n"),
        ("add-known", 2, "A.Example", "a.example \u{1} old\n"),
        ("replace", 6, "c.example", "a.example,c.example \u{1} old\n@cert-authority * \u{2}\nc.example \u{1}"),
        ("replace-pattern", 6, "c.example", "*.example \u{1}\n"),
        ("hashed", 6, "a", "|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|AAAAAAAAAAAAAAAAAAAAAAAAAAA= \u{1}\n"),
    ] {
        let len = u8::try_from(host.len()).expect("a short host");
        save("known_peers", name, &[&[choice, len][..], host.as_bytes(), text.as_bytes()].concat());
    }

    // A state, no pieces or some, bytes.
    let cut: &[u8] = &[6, 1, 3, 1, 40, 60, 1];
    for (state, name, bytes) in [
        (0, "hello-reply", reply.to_vec()),
        (0, "both", [reply, auth_r].concat()),
        (0, "alert", vec![0xC6, 0, 0, 1, 8]),
        (0, "zero-share", [&reply[..40], &[0; 32]].concat()),
        (0, "order-eight", [&reply[..40], &ORDER_8].concat()),
        (0, "foreign", b"HTTP/1.1 400 Bad Request\r\n".to_vec()),
        (1, "auth-r", auth_r.to_vec()),
        (1, "unexpected", hello.to_vec()),
        (2, "verdict", verdict.to_vec()),
        (2, "alert", vec![0xC6, 0, 0, 1, 99]),
        (2, "unknown", vec![0x00]),
        (0, "reply-long", [&[0xC2, 0, 0, 69], &reply[4..], &[0]].concat()),
        (0, "reply-not-offered", with(reply, 6, &[0, 3])),
        (0x80, "hybrid-both", [&wide_reply[..], &wide_auth_r].concat()),
        (0x80, "hybrid-short", [&wide_reply[..1], &[0, 0, 68], &wide_reply[4..72]].concat()),
        (0x80, "hybrid-zero-share", [&wide_reply[..40], &[0; 32], &wide_reply[72..]].concat()),
        (0x80, "classical", reply.to_vec()),
        (0xC1, "network-auth-r", wide_auth_r.clone()),
    ] {
        save("initiator_feed", &format!("{state:x}-{name}"), &[&[state], cut, &bytes].concat());
    }
    for (state, name, bytes) in [
        (0, "hello", hello.to_vec()),
        (0, "both", [hello, auth_i].concat()),
        (0, "unknown-suites", [&[0xC1, 0, 0, 82], &wide[..]].concat()),
        (0, "version", [&hello[..4], &[0, 2], &hello[6..]].concat()),
        (0, "zero-share", [&hello[..hello.len() - 32], &[0; 32]].concat()),
        (0, "alert", vec![0xC6, 0, 0, 1, 8]),
        (0, "tls", b"\x16\x03\x01\x02\x00".to_vec()),
        (1, "auth-i", auth_i.to_vec()),
        (1, "again", hello.to_vec()),
        (1, "record", verdict.to_vec()),
        (0, "share-missing", [&[0xC1, 0, 0, 75], &hello[4..38], &[2, 0, 1, 0, 2], &hello[41..]].concat()),
        (0, "hybrid", wide_hello.clone()),
        (0, "tagged", tagged_hello.clone()),
        (0x80, "hybrid", wide_hello.clone()),
        (0x80, "hybrid-bad-key", with(&wide_hello, wide_hello.len() - 1_184, &[0xFF, 0xFF])),
        (0x80, "hybrid-long-key", [&[0xC1, 0, 2, 0xB0], &wide_hello[4..692]].concat()),
        (0x80, "classical", hello.to_vec()),
        (0xC0, "tagged", tagged_hello.clone()),
        (0xC0, "untagged", wide_hello.clone()),
        (0xC0, "short", hello.to_vec()),
        (0xC0, "tls", b"\x16\x03\x01\x02\x00".to_vec()),
        (0xC1, "again", tagged_hello.clone()),
    ] {
        save("responder_feed", &format!("{state:x}-{name}"), &[&[state], cut, &bytes].concat());
    }
    save("responder_feed", "whole", &[&[0, 0], hello].concat());

    // Choices, a length, edits.
    save("man_in_middle", "honest", &[0, 40]);
    save("man_in_middle", "honest-eager", &[1, 251]);
    for place in [0, 1, 2, 4, 0x80, 0x81, 0x82, 0x84] {
        save("man_in_middle", &format!("flip-{place:02x}"), &[place & 1, 9, place, 0, 0, 50]);
    }
    for (name, edit) in [
        ("drop", &[0x81, 1][..]),
        ("duplicate", &[0x00, 2]),
        ("truncate", &[0x82, 3, 0, 10]),
        ("hold", &[0x80, 4]),
        ("before", &[0x81, 5, 5, 0xC6, 0, 0, 1, 5]),
        ("after", &[0x01, 6, 5, 0xC6, 0, 0, 1, 5]),
        ("reflect", &[0x00, 7]),
        ("replay-hello", &[0x00, 8, 0]),
        ("replay-reply", &[0x80, 8, 0, 0x81, 8, 1]),
        ("replay-auth", &[0x01, 8, 1]),
        ("overwrite", &[0x80, 9, 0, 40, 4, 0, 0, 0, 0]),
        ("insert", &[0x02, 10, 0, 9, 2, 1, 1]),
        ("remove", &[0x03, 11, 0, 0, 9]),
    ] {
        save("man_in_middle", name, &[&[0, 20], edit].concat());
    }
    // Suites are at byte 39 of HELLO: one that is known is left.
    let downgrade = [0x00, 9, 0, 39, 8, 0, 3, 7, 1, 7, 2, 7, 3];
    for (name, choice, edit) in [
        ("all-suites", 0x02, &[][..]),
        ("all-suites-downgrade", 0x02, &downgrade),
        ("all-suites-flip-ciphertext", 0x06, &[0x80, 0, 2, 0x58]),
        ("network", 0x0C, &[]),
        ("network-flip", 0x08, &[0x00, 0, 0, 80]),
        ("network-replay", 0x09, &[0x00, 8, 0]),
        ("rekey", 0xC0, &[]),
        ("rekey-eager-padded", 0xE3, &[]),
        ("rekey-flip", 0xD4, &[0x83, 0, 0, 60]),
        ("rekey-drop", 0x70, &[0x02, 1]),
    ] {
        save("man_in_middle", name, &[&[choice, 20], edit].concat());
    }

    // Choices, operations.
    for (name, operations) in [
        ("data-end", &[0, 0, 10, 0, 200, 20, 3, 13, 12, 0][..]),
        ("padded", &[0, 1, 10, 0, 5, 1, 251, 0xFF, 0xFF, 3, 13]),
        ("parts", &[0, 2, 100, 4, 2, 250, 2, 14, 14]),
        ("largest", &[0, 0, 251, 0, 252, 13, 3]),
        ("alert", b"\x00\x00\x05\x04\x03\x04text\x0d\x0d"),
        ("accept", &[1, 5, 2, 4, 0, 0, 7, 3, 13]),
        ("refuse", b"\x01\x05\x04\x04\x05no\x0d"),
        ("early-data", &[1, 0, 7, 13]),
        ("alert-frame", &[1, 7, 8, 14, 14]),
        ("limit", &[2, 0, 5, 0, 5, 0, 5, 0, 5, 3, 0, 5, 13]),
        ("limit-end", &[2, 0, 5, 0, 5, 0, 5, 3, 13]),
        ("flip", &[0, 0, 9, 0, 9, 8, 0, 60, 13, 0, 9, 13]),
        ("remove", &[0, 0, 9, 0, 9, 9, 0, 0, 30, 13]),
        ("replay", &[0, 0, 9, 11, 30, 13]),
        ("piecemeal", &[0, 0, 9, 12, 0, 12, 3, 12, 4, 12, 20, 12, 30]),
        ("after-end", &[0, 3, 14, 10, 0, 0, 1, 0xC5, 14, 13]),
        ("any-kinds", &[0, 6, 0x81, 5, 9, 6, 0x82, 0, 4, 13]),
        ("end-with-content", &[0, 6, 0x02, 3, 0, 13]),
        ("over-long", &[0, 6, 0x81, 251, 2, 13]),
        ("poison", &[0, 0, 4, 15, 1, 13, 15, 2, 3]),
        ("truncated", &[0, 0, 4, 12, 9, 15, 0, 13]),
        ("rekey", &[0, 0, 9, 16, 0, 9, 16, 19, 13, 16, 0, 5, 3, 13]),
        ("rekey-aes", &[4, 0, 9, 16, 0, 9, 13, 3, 13]),
        ("rekey-crossing", &[0, 24, 16, 27, 16, 24, 0, 9, 13, 27, 24, 16, 27, 16, 0, 9, 13, 3, 13]),
        ("rekey-at-limit", &[2, 0, 5, 0, 5, 0, 5, 0, 5, 16, 0, 5, 3, 13]),
        ("rekey-too-late", &[6, 5, 1, 7, 5, 1, 7, 5, 1, 7, 5, 1, 7, 16, 13]),
        ("rekey-early", &[1, 16, 13]),
        (
            "rekey-storm",
            &[0, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 19, 19, 19, 19, 16, 16, 13],
        ),
        (
            "rekey-forged-storm",
            &[
                0, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10,
                22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 22, 0x10, 13,
            ],
        ),
        ("rekey-forged", &[0, 24, 22, 0x00, 13, 22, 0x10, 0, 5, 13]),
        ("rekey-forged-stale", &[0, 24, 22, 0x00, 13, 22, 0x02, 13]),
        ("rekey-forged-ahead", &[0, 22, 0x18, 13]),
        ("rekey-forged-zero", &[0, 24, 22, 0xC0, 13]),
        ("rekey-bad-share", &[0, 30, 0x03, 16, 0, 5, 13]),
        ("rekey-short", &[0, 6, 6, 39, 0, 13]),
        ("keepalive", &[0, 19, 21, 1, 0, 0, 19, 13]),
        ("keepalive-at-limit", &[2, 19, 19, 19, 19, 13]),
        ("keepalive-with-content", &[0, 6, 7, 1, 0, 13]),
        ("padding-block", &[0, 21, 2, 3, 0xE8, 0, 10, 0, 251, 16, 19, 4, 5, 1, b'x', 13]),
        ("padding-not-zero", &[0, 5, 5, 0x81, b'x', 1, 0, 1, 13]),
        ("padding-power", &[0, 21, 1, 0, 0, 0, 10, 0, 251, 0, 250, 16, 3, 13]),
    ] {
        save("session_ops", name, operations);
    }

    // AEAD, padding and policies, operations; the other side's have 0x80.
    for (name, operations) in [
        ("echo", &[0, 0, 9, 11, 0x80, 9, 0x8B, 15, 0, 11, 0x8F, 0, 0x8B][..]),
        ("crossing", &[0, 3, 0x83, 0, 9, 0x80, 9, 11, 0x8B, 3, 0x83, 0x83, 3, 0, 9, 0x80, 9, 0x8B, 11, 3, 0, 9]),
        ("lagging", &[0, 3, 3, 3, 0, 9, 0x83, 0x83, 0x83, 11, 0x83, 3, 0x8B, 3, 0x80, 20, 0, 20]),
        ("storm", &[1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 6, 6, 6, 6, 3, 3, 6, 6, 6, 6, 3, 3, 11]),
        ("policy", &[0x30, 0, 150, 0, 150, 0x80, 199, 11, 0x80, 199, 0x8B, 0, 150, 13, 70, 0x86, 6, 11, 0x8B, 6]),
        ("policy-padded", &[0x15, 0, 9, 0, 9, 0x80, 9, 11, 0x8B, 0, 9, 0x83, 0x8B, 0, 9]),
        ("pieces", &[7, 0, 100, 3, 0, 100, 7, 3, 7, 1, 7, 200, 8, 90, 9, 2, 10, 4]),
        (
            "schedule",
            &[
                0, 0, 9, 13, 255, 13, 255, 13, 255, 13, 255, 0, 9, 11, 0x83, 0x8B, 0, 9, 11, 0x83, 0x8B, 0, 9, 0x80, 9,
                11, 0x8B,
            ],
        ),
        ("flip", &[0, 0, 9, 3, 0, 9, 14, 1, 30, 11, 0, 9, 11, 0x83, 0x80, 9, 0x8B]),
        ("flip-length", &[0, 3, 0, 9, 14, 0, 20, 11, 0, 200, 200, 11]),
        ("after-end", &[0, 15, 0, 3, 6, 0, 9, 0x83, 0x80, 9, 11, 0x8B]),
    ] {
        save("rekey_pair", name, operations);
    }

    // Choices, the answer to an eager initiator, the transport's script, operations.
    let slow: &[u8] = &[12, 0, 1, 5, 0, 9, 1, 0, 2, 3, 1, 0, 5];
    for (name, choice, operations) in [
        ("echo", 0, &[0, 20, 0x84, 100, 30, 0x80, 20, 4, 100, 30, 4, 0, 0x84, 0][..]),
        ("halves", 3, &[0, 250, 0x85, 200, 100, 0x80, 251, 5, 253, 3, 0x83]),
        ("vectored", 1, &[2, 90, 2, 3, 0x87, 5, 0x87, 200, 1]),
        ("shutdown", 0, &[0, 9, 4, 0, 4, 0, 0, 9, 0x85, 20, 0x85, 20]),
        ("tamper", 0, &[0, 50, 9, 0, 80, 0x85, 60, 0x85, 60, 0x80, 5]),
        ("cut", 2, &[0, 50, 11, 0x85, 60, 0x85, 60]),
        ("remove", 0, &[0, 50, 10, 0, 30, 5, 0x85, 60]),
        ("broken-read", 1, &[0, 50, 12, 0x85, 60, 0x80, 5]),
        ("broken-write", 0, &[13, 0, 50, 0, 50, 5, 1]),
        ("full", 0, &[14, 0, 50, 3, 0, 5]),
        ("abort", 0, &[0, 50, 15, 9, 0x85, 200, 0x85, 1, 0, 5]),
        ("nothing", 0, &[0, 0, 5, 0, 7, 0, 2, 0]),
        ("rekey", 0xC4, &[0, 20, 0, 120, 0x84, 100, 90, 0x80, 150, 0x80, 20, 4, 100, 200, 0, 9, 0, 9, 4, 0, 0x84, 0]),
        ("rekey-halves", 0xFB, &[0, 250, 0x85, 200, 100, 0x80, 251, 5, 253, 0, 9, 0x80, 9, 3, 0x83]),
        ("rekey-tamper", 0x60, &[0, 150, 0, 150, 9, 5, 80, 0x85, 60, 0x85, 250, 0x80, 5]),
        ("padded", 0x28, &[0, 20, 2, 250, 0x85, 60, 0x85, 250, 0x80, 5, 5, 9]),
        ("padded-power", 0x1C, &[0, 20, 2, 251, 0x85, 60, 0x85, 251, 0x80, 5, 5, 9]),
    ] {
        save("stream_schedule", name, &[&[choice, 0], slow, operations].concat());
    }
    for (name, choice, answer, operations) in [
        ("eager", 0x40, 1, &[0, 20, 0x84, 100, 30, 0x80, 20, 4, 100, 30, 4, 0, 0x84, 0][..]),
        ("eager-halves", 3, 1, &[0, 250, 0x85, 200, 100, 0x80, 251, 5, 253, 3, 0x83]),
        ("eager-late", 0, 2, &[0, 20, 5, 9, 4, 0, 5, 9, 3, 0x43, 4, 0, 5, 9, 0x80, 20, 5, 90]),
        ("eager-refused", 0, 3, &[0, 20, 4, 0, 5, 9, 3]),
        ("eager-refused-halves", 1, 3, &[0, 20, 4, 0, 5, 9, 0, 4]),
        ("eager-tamper", 0, 2, &[0, 20, 0x43, 0x89, 0, 90, 4, 0, 5, 9]),
    ] {
        save("stream_schedule", name, &[&[choice, answer], slow, operations].concat());
    }

    check_states();
}

/// A point of order 8 (RFC 7748 has none to copy).
const ORDER_8: [u8; 32] = [
    0xE0, 0xEB, 0x7A, 0x7C, 0x3B, 0x41, 0xB8, 0xAE, 0x16, 0x56, 0xE3, 0xFA, 0xF1, 0x9F, 0xC4, 0x6A, 0xDA, 0x09, 0x8D,
    0xEB, 0x9C, 0x32, 0xB1, 0xFD, 0x86, 0x62, 0x05, 0x16, 0x5F, 0x49, 0xB8, 0x00,
];

/// HELLO, HELLO_REPLY and AUTH_R of parties that have all suites, with a network key or without.
fn wide_frames(network: bool) -> [Vec<u8>; 3] {
    let party = |role, stream| Machine::with(wide_config(role, network), role, b"seed", stream, false);
    let (mut initiator, mut responder) = (party(Role::Initiator, 1), party(Role::Responder, 2));
    let hello = initiator.output.split();
    responder.feed(&hello);
    let answer = responder.output.split();
    initiator.feed(&answer);
    responder.feed(&initiator.output.split());
    initiator.feed(&responder.output.split());
    assert!(initiator.accepted && responder.accepted, "an honest hybrid handshake fails");
    let [reply, auth_r] = split(&answer).try_into().expect("two frames");
    [hello.to_vec(), reply, auth_r]
}

fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("seed-{name}")), bytes).expect("a file");
}

/// The binary inside of a PEM text.
fn unarmour(pem: &str) -> Vec<u8> {
    let digits = pem.lines().filter(|line| !line.starts_with('-')).flat_map(str::bytes).filter(|byte| *byte != b'=');
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_le_bytes()[0]);
        }
    }
    out
}

/// The frames above are those of a handshake that works.
fn check_states() {
    let mut initiator = Machine::new(Role::Initiator, b"check", 1, false);
    let mut responder = Machine::new(Role::Responder, b"check", 2, false);
    responder.feed(&initiator.output.split());
    assert_eq!(split(&responder.output).len(), 2);
    initiator.feed(&responder.output.split());
    responder.feed(&initiator.output.split());
    initiator.feed(&responder.output.split());
    assert!(initiator.accepted && responder.accepted);
}

/// The frames of an honest handshake: HELLO, HELLO_REPLY, AUTH_R, AUTH_I, VERDICT.
fn honest_frames(data: &[u8], stream: u64) -> Vec<Vec<u8>> {
    let mut initiator = Machine::new(Role::Initiator, data, stream, false);
    let mut responder = Machine::new(Role::Responder, data, stream + 1, false);
    let mut sent = Vec::new();
    for _ in 0..2 {
        let output = initiator.output.split();
        responder.feed(&output);
        sent.extend(split(&output));
        let output = responder.output.split();
        initiator.feed(&output);
        sent.extend(split(&output));
    }
    assert!(initiator.accepted && responder.accepted && sent.len() == 5, "an honest handshake fails");
    sent
}
