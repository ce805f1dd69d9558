//! `countersign ca` as an operator uses it; what it makes is judged by the real openssl.
#![allow(missing_docs)]
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

mod cmd;

#[path = "cmd/ca.rs"]
mod ca;

use ca::{field, issue, list, mode, ok, openssl, openssl_ok, verify, with_ca};
use cmd::{House, code, set_mode, text};

/// From nothing to a certificate, with the files and permissions that the README in the directory tells of; nothing
/// that is secret is printed.
#[test]
fn first_steps() {
    let house = House::new();
    let made = ok(&house, &["ca", "init", "ca", "--name", "Example CA"]);
    assert!(
        made.contains("made the CA \"Example CA\" in ca, valid until ")
            && made.contains("next: countersign ca issue ca")
    );
    assert_eq!(
        ["ca", "ca/issued", "ca/ca.key", "ca/revoked"].map(|name| mode(&house, name)),
        [0o700, 0o700, 0o600, 0o600]
    );
    assert_eq!(["ca/ca.pem", "ca/README"].map(|name| mode(&house, name) & 0o600), [0o600, 0o600]);
    assert_eq!(ok(&house, &["ca", "list", "ca"]), "nothing was issued yet\n");
    let root = openssl_ok(&house, &["x509", "-in", "ca/ca.pem", "-noout", "-text"]);
    for words in ["Issuer: CN = Example CA", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "ED25519"] {
        assert!(root.contains(words), "{words}: {root}");
    }
    openssl_ok(&house, &["pkey", "-in", "ca/ca.key", "-noout"]);

    let names = ["--dns", "Alice.Example.org", "--dns", "*.x", "--ip", "10.0.0.1", "--ip", "fd00::1"];
    let names = [&names[..], &["--uri", "spiffe://example.org/alice"]].concat();
    let printed = ok(&house, &issue("alice.key.pub", "alice.pem", &names));
    let id = ok(&house, &["id", "alice.key.pub"]);
    assert!(id.contains(&field(&printed, "key")), "{printed}");
    let all = "dns:alice.example.org dns:*.x ip:10.0.0.1 ip:fd00::1 uri:spiffe://example.org/alice";
    assert_eq!((field(&printed, "names").as_str(), field(&printed, "subject").as_str()), (all, "alice"));
    verify(&house, "alice.pem");
    for purpose in ["sslserver", "sslclient"] {
        openssl_ok(&house, &["verify", "-purpose", purpose, "-CAfile", "ca/ca.pem", "alice.pem"]);
    }
    for (option, name, right) in [
        ("-verify_hostname", "alice.example.org", true),
        ("-verify_hostname", "bob.example.org", false),
        ("-verify_ip", "fd00::1", true),
        ("-verify_ip", "10.0.0.2", false),
    ] {
        let verified = openssl(&house, &["verify", "-CAfile", "ca/ca.pem", option, name, "alice.pem"]);
        assert_eq!(verified.status.success(), right, "{option} {name}");
    }
    let shown = openssl_ok(&house, &["x509", "-in", "alice.pem", "-noout", "-text"]);
    for words in ["CA:FALSE", "Digital Signature", "URI:spiffe://example.org/alice", "Authority Key Identifier"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(
        fs::read_to_string(house.path("alice.pem")).expect("chain").matches("BEGIN").count(),
        1,
        "with the root"
    );

    // Without names; its subject is the comment of the key.
    let plain = ok(&house, &issue("bob.key.pub", "bob.pem", &[]));
    assert_eq!((field(&plain, "names").as_str(), field(&plain, "subject").as_str()), ("none", "bob"));
    verify(&house, "bob.pem");
    let listed = list(&house);
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["serial"], field(&printed, "serial"), "the newest is last");
    assert_eq!((&listed[1]["state"], &listed[1]["subject"]), (&Value::from("valid"), &Value::from("bob")));
    let table = ok(&house, &["ca", "list", "ca"]);
    assert!(table.contains(&field(&printed, "serial")) && table.contains(all) && table.contains("(bob)"), "{table}");
    let secret = fs::read_to_string(house.path("ca/ca.key")).expect("key");
    let secret = secret.lines().nth(1).expect("base64");
    assert!(![made, printed, plain, table].concat().contains(secret));
    let left: Vec<_> =
        fs::read_dir(house.path("ca")).expect("folder").map(|entry| entry.expect("entry").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

/// A request: its names are taken and printed unless others are given, whatever else it asks for is not.
#[test]
fn requests() {
    let house = with_ca();
    openssl_ok(&house, &["genpkey", "-algorithm", "ed25519", "-out", "carol.pem"]);
    let req = |out: &str, more: &[&str]| {
        openssl_ok(
            &house,
            &[&["req", "-new", "-key", "carol.pem", "-subj", "/CN=root/O=all", "-out", out], more].concat(),
        );
    };
    let names = "subjectAltName=DNS:carol.example,IP:192.0.2.7,URI:spiffe://example.org/carol";
    req("carol.csr", &["-addext", names]);
    req("newhdr.csr", &["-newhdr", "-addext", names]);
    req(
        "wants.csr",
        &["-addext", names, "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"],
    );
    req("none.csr", &[]);
    req("mail.csr", &["-addext", "subjectAltName=DNS:carol.example,email:carol@example.org"]);
    let wanted = "dns:carol.example ip:192.0.2.7 uri:spiffe://example.org/carol";
    for csr in ["carol.csr", "newhdr.csr", "wants.csr"] {
        let issued = house.run(&issue(csr, "carol.crt", &[]));
        assert_eq!(code(&issued), 0, "{csr}: {}", text(&issued.stderr));
        assert_eq!(text(&issued.stderr), format!("the names are those that the request asks for: {wanted}\n"));
        assert_eq!(field(&text(&issued.stdout), "names"), wanted);
        assert_eq!(field(&text(&issued.stdout), "subject"), "carol.example");
        verify(&house, "carol.crt");
        let shown = openssl_ok(&house, &["x509", "-in", "carol.crt", "-noout", "-text"]);
        assert!(
            shown.contains("CA:FALSE") && !shown.contains("Certificate Sign") && !shown.contains("O = all"),
            "{shown}"
        );
        let keys = ["x509", "-in", "carol.crt", "-noout", "-pubkey"];
        assert_eq!(openssl_ok(&house, &keys), openssl_ok(&house, &["pkey", "-in", "carol.pem", "-pubout"]));
    }
    for csr in ["carol.csr", "mail.csr"] {
        let printed = ok(&house, &issue(csr, "carol.crt", &["--dns", "other.example"]));
        assert_eq!(field(&printed, "names"), "dns:other.example");
    }
    let printed = ok(&house, &issue("none.csr", "carol.crt", &[]));
    assert_eq!((field(&printed, "names").as_str(), field(&printed, "subject")), ("none", field(&printed, "key")));
    verify(&house, "carol.crt");
    let refused = house.run(&issue("mail.csr", "mail.crt", &[]));
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("email:\"carol@example.org\" is neither DNS, IP nor URI"), "{refused:?}");
}

/// A renewed certificate has the key, the names and the length of the old one, and stands in its place.
#[test]
fn renewed() {
    let house = with_ca();
    let first =
        ok(&house, &issue("alice.key.pub", "alice.pem", &["--dns", "a.example", "--ip", "::1", "--hours", "5"]));
    let second = ok(&house, &["ca", "renew", "ca", "alice.pem"]);
    let third = ok(&house, &["ca", "renew", "ca", &field(&second, "serial"), "--hours", "9", "--out", "third.pem"]);
    for name in ["names", "subject", "key"] {
        assert_eq!(field(&first, name), field(&second, name));
        assert_eq!(field(&first, name), field(&third, name));
    }
    let hours = |certificate: &Value| {
        let hour = |name: &str| certificate[name].as_str().expect("a time")[11..13].parse::<i32>().expect("hours");
        (hour("not_after") - hour("not_before") + 24) % 24
    };
    let listed = list(&house);
    assert_eq!(listed.len(), 3);
    // A not_before five minutes back may be in the hour before.
    assert!((5..=6).contains(&hours(&listed[1])) && (9..=10).contains(&hours(&listed[2])), "{listed:?}");
    verify(&house, "alice.pem");
    verify(&house, "third.pem");
    let serial = openssl_ok(&house, &["x509", "-in", "alice.pem", "-noout", "-serial"]);
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", field(&second, "serial")));

    // One that has expired, as if it had been issued last year.
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(house.path("ca/ca.key")).expect("key")).expect("key");
    let root = fs::read_to_string(house.path("ca/ca.pem")).expect("root");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&root, key).expect("issuer");
    let mut params = rcgen::CertificateParams::new(["old.example".to_string()]).expect("names");
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x4A; 16]));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let holder = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("key");
    let old = params.signed_by(&holder, &issuer).expect("signed").pem();
    fs::write(house.path(&format!("ca/issued/{}.pem", "4a".repeat(16))), &old).expect("written");
    fs::write(house.path("old.pem"), &old).expect("written");
    assert_eq!(list(&house)[0]["state"], "expired");
    let printed = ok(&house, &["ca", "renew", "ca", "old.pem"]);
    assert_eq!(field(&printed, "names"), "dns:old.example");
    verify(&house, "old.pem");

    ok(&house, &["ca", "revoke", "ca", "third.pem", "--reason", "superseded"]);
    let refused = house.run(&["ca", "renew", "ca", "third.pem"]);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("(superseded), and is not renewed"), "{refused:?}");
}

/// Revoked certificates are in every list, with their reason; lists are numbered; openssl refuses who is in them.
#[test]
fn revoked() {
    let house = with_ca();
    let mut serials = Vec::new();
    for (who, reason) in [("alice", "key-compromise"), ("bob", "unspecified"), ("eve", "")] {
        let printed = ok(&house, &issue(&format!("{who}.key.pub"), &format!("{who}.pem"), &[]));
        serials.push((field(&printed, "serial"), reason));
    }
    openssl_ok(&house, &["crl", "-help"]);
    ok(&house, &["ca", "crl", "ca", "--out", "list.crl", "--days", "30"]);
    let checked = |chain: &str, list: &str| {
        let args = ["verify", "-crl_check", "-CRLfile", list, "-CAfile", "ca/ca.pem", chain];
        let output = openssl(&house, &args);
        (output.status.success(), text(&output.stderr))
    };
    assert!(checked("alice.pem", "list.crl").0, "{}", checked("alice.pem", "list.crl").1);
    // By its number in another spelling, and by its file.
    let upper = serials[0].0.to_uppercase();
    let spelled: Vec<String> = (0..16).map(|index| upper[2 * index..2 * index + 2].to_string()).collect();
    let done = ok(&house, &["ca", "revoke", "ca", &spelled.join(":"), "--reason", "key-compromise"]);
    assert!(done.starts_with(&format!("revoked {} (alice, key-compromise)\n", serials[0].0)), "{done}");
    assert!(done.contains("made ca/ca.crl, number 2;"), "{done}");
    ok(&house, &["ca", "revoke", "ca", "bob.pem"]);
    let again = ok(&house, &["ca", "revoke", "ca", "bob.pem", "--reason", "superseded"]);
    assert!(again.starts_with(&format!("{} is revoked already, since 20", serials[1].0)), "{again}");
    assert!(again.contains("(unspecified)\nmade ca/ca.crl, number 4;"), "{again}");
    let made = ok(&house, &["ca", "crl", "ca", "--out", "list.crl"]);
    assert!(made.starts_with("made list.crl, number 5, with 2 revoked\nnext update 20"), "{made}");
    assert_eq!(fs::read(house.path("list.crl")).expect("list"), fs::read(house.path("ca/ca.crl")).expect("list"));
    let list_text = openssl_ok(&house, &["crl", "-in", "list.crl", "-CAfile", "ca/ca.pem", "-noout", "-text"]);
    for (serial, _) in &serials[..2] {
        assert!(list_text.contains(&serial.to_uppercase()), "{serial}: {list_text}");
    }
    assert!(list_text.contains("verify OK") && list_text.contains("Key Compromise"), "{list_text}");
    let number = openssl_ok(&house, &["crl", "-in", "list.crl", "-noout", "-crlnumber"]);
    assert_eq!(number.trim(), "crlNumber=0x05");
    for (chain, fine) in [("alice.pem", false), ("bob.pem", false), ("eve.pem", true)] {
        let (accepted, told) = checked(chain, "list.crl");
        assert_eq!(accepted, fine, "{chain}: {told}");
        assert!(fine || told.contains("certificate revoked"), "{told}");
    }
    let states: Vec<String> =
        list(&house).iter().map(|row| row["state"].as_str().expect("state").to_string()).collect();
    assert_eq!(states, ["revoked", "revoked", "valid"]);
    assert!(ok(&house, &["ca", "list", "ca"]).contains("Z key-compromise\n"));
    // A key that somebody else has gets none again; one that was revoked for another reason does.
    let refused = house.run(&issue("alice.key.pub", "new.pem", &[]));
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("with key-compromise"), "{refused:?}");
    ok(&house, &issue("bob.key.pub", "new.pem", &[]));
    assert!(checked("new.pem", "list.crl").0);
    // The usual place may be named.
    assert!(ok(&house, &["ca", "crl", "ca", "--out", "ca/ca.crl"]).starts_with("made ca/ca.crl, number 6"));
    let mut inside = house.command(&["ca", "crl", ".", "--out", "ca.crl"]);
    assert_eq!(code(&inside.current_dir(house.path("ca")).output().expect("run")), 0);
}

/// The verifier of this crate agrees with openssl about chains and lists.
#[test]
fn webpki_agrees() {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
    use webpki::{EndEntityCert, KeyUsage, RevocationOptionsBuilder, anchor_from_trusted_cert, ring};

    let house = with_ca();
    for who in ["alice", "bob"] {
        ok(&house, &issue(&format!("{who}.key.pub"), &format!("{who}.pem"), &["--dns", "a.example"]));
    }
    ok(&house, &["ca", "revoke", "ca", "bob.pem"]);
    let root = CertificateDer::from_pem_file(house.path("ca/ca.pem")).expect("root");
    let anchors = [anchor_from_trusted_cert(&root).expect("an anchor")];
    let list = CertificateRevocationListDer::from_pem_file(house.path("ca/ca.crl")).expect("list");
    let list = webpki::OwnedCertRevocationList::from_der(&list).expect("a list").into();
    for (who, right) in [("alice", Ok(())), ("bob", Err(webpki::Error::CertRevoked))] {
        let chain = CertificateDer::from_pem_file(house.path(&format!("{who}.pem"))).expect("chain");
        let leaf = EndEntityCert::try_from(&chain).expect("a leaf");
        for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
            let lists = [&list];
            let options = RevocationOptionsBuilder::new(&lists).expect("lists");
            let options = options.with_expiration_policy(webpki::ExpirationPolicy::Enforce).build();
            let algorithms = [ring::ED25519];
            let now = UnixTime::now();
            let verified = leaf.verify_for_usage(&algorithms, &anchors, &[], now, usage, Some(options), None);
            assert_eq!(verified.map(|_| ()), right, "{who}");
        }
    }
}

/// Every type of key that a CA may have, made by openssl.
#[test]
fn keys_of_openssl() {
    let house = House::new();
    for (name, args) in [
        ("ed25519", &["-algorithm", "ed25519"][..]),
        ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ] {
        let key = format!("{name}.key");
        openssl_ok(&house, &[&["genpkey", "-out", &key], args].concat());
        set_mode(&house.path(&key), 0o600);
        ok(&house, &["ca", "init", name, "--name", name, "--key", &key]);
        assert_eq!(mode(&house, &format!("{name}/ca.key")), 0o600);
        let (chain, root, crl) = (format!("{name}.pem"), format!("{name}/ca.pem"), format!("{name}.crl"));
        ok(&house, &["ca", "issue", name, "--for", "alice.key.pub", "--dns", "a.example", "--out", &chain]);
        ok(&house, &["ca", "crl", name, "--out", &crl]);
        openssl_ok(&house, &["verify", "-x509_strict", "-crl_check", "-CRLfile", &crl, "-CAfile", &root, &chain]);
        ok(&house, &["ca", "revoke", name, &chain]);
        let verified = openssl(&house, &["crl", "-in", &format!("{name}/ca.crl"), "-CAfile", &root, "-noout"]);
        assert!(text(&verified.stderr).contains("verify OK"), "{name}: {verified:?}");
    }
}

/// A CA below another one: its own certificate is in the chain, the root is not.
#[test]
fn intermediate() {
    let house = with_ca();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("key");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Root");
    let root = params.self_signed(&key).expect("signed").pem();
    let issuer = rcgen::Issuer::new(params, key);
    let mut below = rcgen::CertificateParams::default();
    below.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    below.distinguished_name.push(rcgen::DnType::CommonName, "Below");
    let key = rcgen::KeyPair::from_pem(&fs::read_to_string(house.path("ca/ca.key")).expect("key")).expect("key");
    let below = below.signed_by(&key, &issuer).expect("signed").pem();
    fs::write(house.path("root.pem"), &root).expect("written");
    fs::write(house.path("ca/ca.pem"), below + &root).expect("written");
    ok(&house, &issue("alice.key.pub", "alice.pem", &[]));
    assert_eq!(fs::read_to_string(house.path("alice.pem")).expect("chain").matches("BEGIN").count(), 2);
    openssl_ok(&house, &["verify", "-CAfile", "root.pem", "-untrusted", "alice.pem", "alice.pem"]);
    // Another key behind the same certificate would sign what nobody accepts.
    openssl_ok(&house, &["genpkey", "-algorithm", "ed25519", "-out", "ca/ca.key"]);
    let refused = house.run(&issue("bob.key.pub", "bob.pem", &[]));
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stderr).contains("does not belong to the secret key in ca.key"), "{refused:?}");
}

/// A certificate never outlives its CA, and the operator is told.
#[test]
fn no_longer_than_the_ca() {
    let house = House::new();
    ok(&house, &["ca", "init", "ca", "--name", "Short", "--days", "1"]);
    let issued = house.run(&issue("alice.key.pub", "alice.pem", &["--hours", "48"]));
    assert_eq!(code(&issued), 0);
    assert!(text(&issued.stderr).starts_with("warning: the certificate of the CA ends at "), "{issued:?}");
    let dates = |file: &str| openssl_ok(&house, &["x509", "-in", file, "-noout", "-enddate"]);
    assert_eq!(dates("alice.pem"), dates("ca/ca.pem"));
    let listed = house.run(&["ca", "crl", "ca"]);
    assert!(text(&listed.stderr).contains("nobody takes this list after that"), "{listed:?}");
}

/// The mistakes that are made with a CA: each has the exit code of its sort and says what to do, and nothing is issued.
#[test]
fn mistakes() {
    let house = with_ca();
    ok(&house, &["ca", "init", "other", "--name", "Other"]);
    ok(&house, &["ca", "issue", "other", "--for", "alice.key.pub", "--out", "other.pem"]);
    let write = |name: &str, content: &[u8]| fs::write(house.path(name), content).expect("written");
    for (name, args) in [
        ("rsa", &["-algorithm", "RSA"][..]),
        ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("carol", &["-algorithm", "ed25519"]),
    ] {
        let (key, csr) = (format!("{name}.pem"), format!("{name}.csr"));
        openssl_ok(&house, &[&["genpkey", "-out", &key], args].concat());
        openssl_ok(&house, &["req", "-new", "-key", &key, "-subj", "/CN=x", "-out", &csr]);
    }
    // One bit of the signature is another one.
    openssl_ok(&house, &["req", "-in", "carol.csr", "-outform", "DER", "-out", "carol.der"]);
    let mut der = fs::read(house.path("carol.der")).expect("request");
    *der.last_mut().expect("a byte") ^= 1;
    write("forged.der", &der);
    openssl_ok(&house, &["req", "-in", "forged.der", "-inform", "DER", "-out", "forged.csr"]);
    write("garbage", &[0xFF, 0, 1, 2]);
    write("text", b"some notes\nof somebody\n");
    write("cut.csr", b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n");
    write("der.csr", b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n");
    write("cut.pem", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    fs::create_dir(house.path("empty")).expect("folder");
    write("notes", b"keep");
    fs::create_dir(house.path("full")).expect("folder");
    write("full/notes", b"keep");
    set_mode(&house.path("rsa.pem"), 0o644);
    let sec1 = openssl_ok(&house, &["ec", "-in", "p256.pem"]);
    write("sec1.key", sec1.as_bytes());
    openssl_ok(&house, &["pkcs8", "-topk8", "-in", "carol.pem", "-passout", "pass:x", "-out", "locked.key"]);
    for key in ["sec1.key", "locked.key"] {
        set_mode(&house.path(key), 0o600);
    }
    let init = |dir: &'static str, more: &[&'static str]| [&["ca", "init", dir, "--name", "N"], more].concat();
    let pub_key = |more: &[&'static str]| issue("alice.key.pub", "out.pem", more);
    let serial = "4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a";
    let cases: Vec<(&str, Vec<&str>, i32, &str)> = vec![
        ("a CA twice", init("ca", &[]), 1, "ca is a CA already, and is not overwritten"),
        ("a directory with something in it", init("full", &[]), 1, "full is not empty: there is \"notes\""),
        ("a file as directory", init("notes", &[]), 1, "can't use notes"),
        ("a directory in none", init("no/ca", &[]), 1, "can't make no/ca"),
        ("an empty name", vec!["ca", "init", "new", "--name", " "], 2, "1 to 64 characters"),
        ("no days", init("new", &["--days", "0"]), 2, "1..=36500"),
        ("no name", vec!["ca", "init", "new"], 2, "--name"),
        ("a key that others can read", init("new", &["--key", "rsa.pem"]), 1, "its permissions are 0644"),
        ("a key in an older format", init("new", &["--key", "sec1.key"]), 1, "openssl pkcs8 -topk8 -nocrypt"),
        ("an encrypted key", init("new", &["--key", "locked.key"]), 1, "the key is encrypted"),
        ("a key of OpenSSH", init("new", &["--key", "alice.key"]), 1, "found one of OpenSSH"),
        ("no key", init("new", &["--key", "none"]), 1, "can't read none"),
        ("no CA", vec!["ca", "list", "nowhere"], 1, "nowhere: there is no such directory"),
        ("a directory without a CA", vec!["ca", "list", "empty"], 1, "there is no ca.pem in it"),
        ("a file as CA", vec!["ca", "list", "notes"], 1, "expected the directory of a CA"),
        (
            "no CA to issue",
            vec!["ca", "issue", "empty", "--for", "alice.key.pub", "--out", "x"],
            1,
            "countersign ca init DIR",
        ),
        ("nobody to issue for", issue("none.pub", "out.pem", &[]), 1, "can't read none.pub"),
        ("no --out", vec!["ca", "issue", "ca", "--for", "alice.key.pub"], 2, "--out"),
        ("a secret key", issue("alice.key", "out.pem", &[]), 1, "give the file that ends in .pub"),
        ("a secret key of openssl", issue("carol.pem", "out.pem", &[]), 1, "give the file that ends in .pub"),
        ("garbage", issue("garbage", "out.pem", &[]), 1, "found something that is not text"),
        ("some text", issue("text", "out.pem", &[]), 1, "found neither"),
        ("a certificate", issue("other.pem", "out.pem", &[]), 1, "use `countersign ca renew`"),
        ("an RSA request", issue("rsa.csr", "out.pem", &[]), 1, "its key is RSA: expected an Ed25519 key"),
        ("an ECDSA request", issue("p256.csr", "out.pem", &[]), 1, "its key is ECDSA: expected an Ed25519 key"),
        ("a forged request", issue("forged.csr", "out.pem", &[]), 1, "the request is not signed by its own key"),
        ("half a request", issue("cut.csr", "out.pem", &[]), 1, "the PEM of the request is damaged"),
        ("half a request inside", issue("der.csr", "out.pem", &[]), 1, "the request does not parse"),
        ("a name with a space", pub_key(&["--dns", "a b"]), 2, "not a host name"),
        ("an empty label", pub_key(&["--dns", "a..b"]), 2, "not a host name"),
        ("a star in the middle", pub_key(&["--dns", "a.*.b"]), 2, "not a host name"),
        ("a star alone", pub_key(&["--dns", "*"]), 2, "not a host name"),
        ("an address as name", pub_key(&["--dns", "10.0.0.1"]), 2, "use --ip"),
        ("umlauts", pub_key(&["--dns", "bücher.example"]), 2, "xn--"),
        ("not an address", pub_key(&["--ip", "10.0.0.256"]), 2, "invalid IP address"),
        ("a URI without scheme", pub_key(&["--uri", "example.org/x"]), 2, "no scheme"),
        ("a URI with a space", pub_key(&["--uri", "a:b c"]), 2, "not a URI"),
        ("a scheme alone", pub_key(&["--uri", "spiffe://"]), 2, "not a URI"),
        ("no hours", pub_key(&["--hours", "0"]), 2, "1..=17520"),
        ("too many hours", pub_key(&["--hours", "17521"]), 2, "1..=17520"),
        (
            "the secret key as output",
            issue("alice.key.pub", "alice.key", &[]),
            1,
            "alice.key exists, and is something else",
        ),
        ("a public key as output", issue("alice.key.pub", "alice.key.pub", &[]), 1, "is something else than we would"),
        ("a directory as output", issue("alice.key.pub", "empty", &[]), 1, "it is not a file"),
        ("an output in no folder", issue("alice.key.pub", "none/out.pem", &[]), 1, "its folder can't be used"),
        ("the CA as output", issue("alice.key.pub", "ca/ca.pem", &[]), 1, "is in the directory of the CA"),
        (
            "a chain as list",
            vec!["ca", "crl", "ca", "--out", "other.pem"],
            1,
            "other.pem exists, and is something else",
        ),
        ("renewing the unknown", vec!["ca", "renew", "ca", serial, "--out", "x"], 1, "was issued by this CA"),
        ("renewing by another CA", vec!["ca", "renew", "ca", "other.pem"], 1, "was not issued by this CA"),
        ("renewing what does not parse", vec!["ca", "renew", "ca", "cut.pem"], 1, "not a certificate"),
        ("renewing nothing", vec!["ca", "renew", "ca", "none.pem"], 1, "there is no such file"),
        ("revoking the unknown", vec!["ca", "revoke", "ca", serial], 1, "was issued by this CA"),
        ("revoking of another CA", vec!["ca", "revoke", "ca", "other.pem"], 1, "was not issued by this CA"),
        ("revoking the CA", vec!["ca", "revoke", "ca", "ca/ca.pem"], 1, "was not issued by this CA"),
        ("revoking a key", vec!["ca", "revoke", "ca", "alice.key.pub"], 1, "expected a certificate in PEM"),
        ("half a serial number", vec!["ca", "revoke", "ca", "4a4a"], 1, "a serial number has 32 hex digits"),
        ("a reason that is none", vec!["ca", "revoke", "ca", serial, "--reason", "x"], 2, "possible values"),
        ("a list of no days", vec!["ca", "crl", "ca", "--days", "0"], 2, "1..=3650"),
        ("nothing at all", vec!["ca"], 2, "Usage: countersign ca <COMMAND>"),
    ];
    for (what, args, expected, words) in cases {
        let run = house.run(&args);
        let told = text(&run.stderr);
        assert_eq!(code(&run), expected, "{what}: {told}");
        assert!(told.contains(words), "{what}: {told}");
        assert!(!told.contains("panicked") && run.stdout.is_empty(), "{what}: {told}{}", text(&run.stdout));
    }
    let printed = ok(&house, &issue("alice.key.pub", "alice.pem", &[]));
    let unnamed = house.run(&["ca", "renew", "ca", &field(&printed, "serial")]);
    assert_eq!(code(&unnamed), 2);
    assert!(text(&unnamed.stderr).contains("needs --out"), "{unnamed:?}");
    set_mode(&house.path("ca/ca.key"), 0o640);
    let readable = house.run(&issue("bob.key.pub", "bob.pem", &[]));
    assert_eq!(code(&readable), 1);
    assert!(text(&readable.stderr).contains("ca/ca.key: its permissions are 0640"), "{readable:?}");
    assert_eq!(list(&house).len(), 1);
    assert!(!house.path("new").exists() && !house.path("out.pem").exists() && !house.path("bob.pem").exists());
    assert_eq!(fs::read(house.path("notes")).expect("notes"), b"keep");
}

/// A state that somebody damaged is told, with the file and the line, and never taken for an empty one.
#[test]
fn damaged_state() {
    let house = with_ca();
    ok(&house, &issue("alice.key.pub", "alice.pem", &[]));
    ok(&house, &["ca", "revoke", "ca", "alice.pem"]);
    let commands: [&[&str]; 4] = [
        &["ca", "list", "ca"],
        &["ca", "crl", "ca"],
        &["ca", "revoke", "ca", "alice.pem"],
        &["ca", "issue", "ca", "--for", "bob.key.pub", "--out", "bob.pem"],
    ];
    let cases: [(&str, &[u8], &[usize], &str); 7] = [
        ("ca/revoked", b"# x\nnonsense\n", &[0, 1, 2, 3], "ca/revoked: line 2: expected `SERIAL TIME REASON`"),
        ("ca/revoked", &[0xFF], &[0, 1, 2, 3], "ca/revoked: not a text file"),
        ("ca/crl-number", b"many\n", &[1], "ca/crl-number: expected a number, and found \"many\""),
        ("ca/crl-number", b"18446744073709551615\n", &[1], "ca/crl-number: expected a number"),
        ("ca/ca.pem", b"\n", &[1, 3], "ca/ca.pem: expected a certificate in PEM"),
        ("ca/ca.key", b"\n", &[1, 3], "ca/ca.key: expected a PKCS#8 key"),
        ("ca/issued/readme.txt", b"\n", &[0], "expected only files named SERIAL.pem there"),
    ];
    for (file, content, which, words) in cases {
        let before = fs::read(house.path(file)).ok();
        fs::write(house.path(file), content).expect("written");
        for index in which {
            let run = house.run(commands[*index]);
            let told = text(&run.stderr);
            assert_eq!(code(&run), 1, "{file} {index}: {told}");
            assert!(told.contains(words), "{file} {index}: {told}");
        }
        match before {
            Some(before) => fs::write(house.path(file), before).expect("written"),
            None => fs::remove_file(house.path(file)).expect("removed"),
        }
    }
    for file in ["ca/revoked", "ca/crl-number"] {
        fs::rename(house.path(file), house.path("away")).expect("moved");
        let run = house.run(&["ca", "crl", "ca"]);
        assert_eq!(code(&run), 1);
        assert!(text(&run.stderr).contains(&format!("can't read {file}")), "{run:?}");
        fs::rename(house.path("away"), house.path(file)).expect("moved");
    }
    ok(&house, &["ca", "crl", "ca"]);
    // A revocation is on record even if no list can be made.
    ok(&house, &issue("bob.key.pub", "bob.pem", &[]));
    set_mode(&house.path("ca/ca.key"), 0o644);
    let half = house.run(&["ca", "revoke", "ca", "bob.pem"]);
    assert_eq!(code(&half), 1);
    assert!(text(&half.stdout).starts_with("revoked "), "{half:?}");
    assert!(text(&half.stderr).contains("the revocation itself is on record"), "{half:?}");
    assert_eq!(list(&house)[1]["state"], "revoked");
}

/// Eight at a time wait for each other: all succeed, with different numbers, and all are on record.
#[test]
fn at_the_same_time() {
    let house = with_ca();
    let children: Vec<_> = (0..8)
        .map(|index| {
            let out = format!("{index}.pem");
            let mut command = house.command(&issue("alice.key.pub", &out, &[]));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
        })
        .collect();
    let mut serials = Vec::new();
    for child in children {
        let output = child.wait_with_output().expect("exit");
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        serials.push(field(&text(&output.stdout), "serial"));
    }
    let mut listed: Vec<String> =
        list(&house).iter().map(|row| row["serial"].as_str().expect("serial").to_string()).collect();
    serials.sort();
    listed.sort();
    assert_eq!(serials, listed);
    serials.dedup();
    assert_eq!(serials.len(), 8);
    (0..8).for_each(|index| verify(&house, &format!("{index}.pem")));
    // Who waits for too long is told who is in the way; reading needs no lock.
    let lock = fs::File::options().write(true).open(house.path("ca/lock")).expect("lock");
    lock.lock().expect("locked");
    let waited = house.run(&issue("alice.key.pub", "late.pem", &[]));
    assert_eq!(code(&waited), 1);
    let told = text(&waited.stderr);
    assert!(told.contains("ca/lock is held by another process for too long: process ") && told.contains("ca issue`"));
    assert_eq!(list(&house).len(), 8);
}

/// The help, word for word, in `tests/cmd/ca.txt`. `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn help_word_for_word() {
    let house = House::empty();
    let mut help = String::new();
    for command in ["", "init", "issue", "renew", "revoke", "crl", "list"] {
        let args: Vec<&str> = ["ca", command, "--help"].into_iter().filter(|arg| !arg.is_empty()).collect();
        let output = house.command(&args).env("COLUMNS", "100").output().expect("run");
        assert_eq!(code(&output), 0);
        help += &format!("$ countersign {}\n{}\n", args.join(" "), text(&output.stdout));
    }
    let path = Path::new("tests/cmd/ca.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, &help).expect("written");
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(expected == help, "{} differs; the program says:\n{help}", path.display());
}
