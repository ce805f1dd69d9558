//! Certificates by another CA than ours, which stands for all of them: openssl, with roots of ECDSA and RSA, an
//! intermediate, keys of openssl in PKCS#8, and
//! revocation lists by `openssl ca -gencrl`; with real processes over loopback. And ours, judged by openssl.
#![allow(missing_docs)]
#![cfg(unix)]

use std::fs;
use std::process::{Output, Stdio};

mod cmd;

#[path = "cmd/ca.rs"]
mod ca;

use ca::openssl_ok;
use cmd::{House, Serve, code, text};

/// `crl_extensions` makes a list of version 2, and without it openssl writes version 1.
const CONFIG: &str = "
[ca]
default_ca = any
[any]
database = NAME.index
crlnumber = NAME.crlnumber
default_md = sha256
default_crl_days = 7
crl_extensions = crl
[crl]
authorityKeyIdentifier = keyid
[v1]
database = NAME.index
default_md = sha256
default_crl_days = 7
";
const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
const LEAF: &str =
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n";

/// A house with the names of keys and CAs as files.
struct Pki(House);

impl Pki {
    fn new() -> Self {
        Pki(House::new())
    }

    fn openssl(&self, args: &[&str]) -> String {
        openssl_ok(&self.0, args)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path(name)).expect("read")
    }

    /// A CA's key and files, without a certificate.
    fn ca_key(&self, name: &str, key: &[&str]) {
        let file = format!("{name}.key");
        self.openssl(&[&["genpkey", "-out", &file], key].concat());
        self.write(&format!("{name}.index"), "");
        self.write(&format!("{name}.crlnumber"), "01\n");
        self.write(&format!("{name}.cnf"), &CONFIG.replace("NAME", name));
    }

    fn root(&self, name: &str, key: &[&str]) {
        self.ca_key(name, key);
        let [key, pem, subject] = [format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}")];
        let mut args = vec!["req", "-x509", "-new", "-key", &key, "-subj", &subject, "-days", "30", "-out", &pem];
        args.extend(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        self.openssl(&args);
    }

    /// Signs a request for a key.
    fn sign(&self, issuer: &str, name: &str, extensions: &str) {
        self.sign_for(issuer, name, extensions, "7");
    }

    fn sign_for(&self, issuer: &str, name: &str, extensions: &str, days: &str) {
        let file = |end: &str| format!("{name}.{end}");
        let [key, csr, pem, ext] = ["key", "csr", "pem", "ext"].map(file);
        self.write(&ext, extensions);
        self.openssl(&["req", "-new", "-key", &key, "-subj", &format!("/CN={name}"), "-out", &csr]);
        let [ca, ca_key] = [format!("{issuer}.pem"), format!("{issuer}.key")];
        let mut args = vec!["x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        args.extend(["-days", days, "-sha256", "-extfile", &ext, "-out", &pem]);
        self.openssl(&args);
    }

    /// An Ed25519 key in PKCS#8, and a certificate.
    fn leaf(&self, issuer: &str, name: &str) {
        let key = format!("{name}.key");
        let _ = fs::remove_file(self.0.path(&key));
        self.openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]);
        assert!(self.read(&key).starts_with("-----BEGIN PRIVATE KEY-----"));
        self.sign(issuer, name, &format!("{LEAF}subjectAltName=URI:spiffe://test/{name},DNS:{name}.test\n"));
    }

    fn revoke(&self, issuer: &str, name: &str) {
        self.openssl_ca(issuer, &["-revoke", &format!("{name}.pem")]);
    }

    fn crl(&self, issuer: &str, more: &[&str]) {
        self.openssl_ca(issuer, &[&["-gencrl", "-out", &format!("{issuer}.crl.new")], more].concat());
        fs::rename(self.0.path(&format!("{issuer}.crl.new")), self.0.path(&format!("{issuer}.crl"))).expect("renamed");
    }

    fn openssl_ca(&self, issuer: &str, more: &[&str]) {
        let file = |end: &str| format!("{issuer}.{end}");
        let [config, key, pem] = ["cnf", "key", "pem"].map(file);
        self.openssl(&[&["ca", "-config", &config, "-keyfile", &key, "-cert", &pem], more].concat());
    }

    fn serve(&self, more: &[&str]) -> Serve {
        let args = ["serve", "--identity", "bob.key", "--listen", "127.0.0.1:0", "--echo"];
        self.0.start(self.0.command(&[&args, more].concat()))
    }

    fn connect(&self, who: &str, address: &str, more: &[&str]) -> Output {
        let key = format!("{who}.key");
        self.0.run_with(&[&["connect", "--identity", &key, address], more].concat(), b"hello")
    }
}

fn assert_echoed(output: &Output) {
    assert_eq!((code(output), text(&output.stdout).as_str()), (0, "hello"), "{}", text(&output.stderr));
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];

/// A P-256 root: names, both directions, a live session that ends when its certificate is revoked, and who is revoked
/// is told so.
#[test]
fn an_ecdsa_root() {
    let pki = Pki::new();
    pki.root("root", P256);
    ["alice", "bob", "eve"].iter().for_each(|name| pki.leaf("root", name));
    pki.crl("root", &[]);
    let trust = ["--ca", "root.pem", "--crl", "root.crl"];
    let serve = pki.serve(&[&trust, &["--cert", "bob.pem", "--peer-name", "spiffe://test/*"][..]].concat());
    for name in ["spiffe://test/bob", "bob.test"] {
        let more = [&trust, &["--cert", "alice.pem", "--peer-name", name][..]].concat();
        assert_echoed(&pki.connect("alice", &serve.address, &more));
        assert!(serve.next_line().starts_with("accepted "));
        assert!(serve.next_line().contains("outcome=ok"));
    }
    let wrong = ["--cert", "alice.pem", "--peer-name", "eve.test"];
    let refused = pki.connect("alice", &serve.address, &[&trust, &wrong[..]].concat());
    assert_eq!(code(&refused), 3, "{}", text(&refused.stderr));
    let refused = serve.next_line();
    assert!(refused.contains("fault="), "{refused}");

    let more = ["--cert", "eve.pem", "--peer-name", "bob.test"];
    let args = [&["connect", "--identity", "eve.key", &serve.address], &trust[..], &more[..]].concat();
    let mut live = pki.0.command(&args);
    let mut live = live.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("connect");
    // Its end would end the session.
    let stdin = live.stdin.take();
    assert!(serve.next_line().starts_with("accepted "));
    pki.revoke("root", "eve");
    pki.crl("root", &[]);
    let ended = live.wait_with_output().expect("the end");
    drop(stdin);
    let said = text(&ended.stderr);
    assert!(code(&ended) == 4 && said.contains("certificate revoked"), "{said}");
    let refused = pki.connect("eve", &serve.address, &[&trust[..2], &more[..]].concat());
    assert!(code(&refused) == 4 && text(&refused.stderr).contains("certificate revoked"), "{}", text(&refused.stderr));
    assert_echoed(&pki.connect("alice", &serve.address, &[&trust[..], &["--cert", "alice.pem"]].concat()));
}

/// An RSA root with an intermediate: the chain has both certificates, and every issuer needs a list.
#[test]
fn an_rsa_root_and_an_intermediate() {
    let pki = Pki::new();
    pki.root("root", RSA);
    pki.ca_key("middle", RSA);
    pki.sign("root", "middle", CA);
    for name in ["alice", "bob", "eve"] {
        pki.leaf("middle", name);
        pki.write(&format!("{name}.chain"), &(pki.read(&format!("{name}.pem")) + &pki.read("middle.pem")));
    }
    pki.revoke("middle", "eve");
    ["root", "middle"].iter().for_each(|name| pki.crl(name, &[]));
    let trust = ["--ca", "root.pem", "--crl", "root.crl", "--crl", "middle.crl"];
    let serve = pki.serve(&[&trust[..], &["--cert", "bob.chain"]].concat());
    let name = ["--peer-name", "spiffe://test/bob"];
    for trust in [&trust[..], &trust[..2]] {
        let more = [trust, &name, &["--cert", "alice.chain"]].concat();
        assert_echoed(&pki.connect("alice", &serve.address, &more));
    }
    let refused = pki.connect("eve", &serve.address, &[&trust[..], &name, &["--cert", "eve.chain"]].concat());
    assert!(code(&refused) == 4 && text(&refused.stderr).contains("certificate revoked"), "{}", text(&refused.stderr));
    // The leaf alone leads nowhere, and without the list of the intermediate nobody knows.
    let refused = pki.connect("alice", &serve.address, &[&trust[..], &name, &["--cert", "alice.pem"]].concat());
    assert!(code(&refused) == 4 && text(&refused.stderr).contains("not issued by a CA"), "{}", text(&refused.stderr));
    let check = |crls: &[&str]| {
        let args = ["trust", "check", "--ca", "root.pem", "--cert", "alice.chain"];
        let checked = pki.0.run(&[&args, crls].concat());
        (code(&checked), text(&checked.stdout) + &text(&checked.stderr))
    };
    assert_eq!(check(&trust[2..]).0, 0);
    let (exit, said) = check(&trust[2..4]);
    assert!(exit == 3 && said.contains("no revocation list of its issuer"), "{said}");
}

/// Who has an expired certificate is told so, by its own side at the start and by the other in the handshake.
#[test]
fn an_expired_certificate() {
    let pki = Pki::new();
    pki.root("root", P256);
    ["alice", "bob"].iter().for_each(|name| pki.leaf("root", name));
    pki.write("fresh.pem", &pki.read("bob.pem"));
    ["alice", "bob"].iter().for_each(|name| pki.sign_for("root", name, LEAF, "0"));
    std::thread::sleep(std::time::Duration::from_secs(2));
    let trust = ["--ca", "root.pem"];
    for (server, exit, trusting) in [("bob.pem", 3, &trust[..]), ("fresh.pem", 4, &["--peer", "bob.key.pub"][..])] {
        let key = pki.0.run(&["id", "bob.key"]);
        pki.write("bob.key.pub", text(&key.stdout).lines().next().expect("a line"));
        let serve = pki.serve(&[&trust[..], &["--cert", server]].concat());
        let refused = pki.connect("alice", &serve.address, &[trusting, &["--cert", "alice.pem"]].concat());
        let said = text(&refused.stderr);
        assert!(said.contains("warning: the certificate alice.pem expired at 20"), "{said}");
        assert!(code(&refused) == exit && said.contains("certificate expired"), "{said}");
    }
}

/// A list of version 1 is not one that can be used, and the message says what to do.
#[test]
fn an_old_list() {
    let pki = Pki::new();
    pki.root("root", P256);
    pki.leaf("root", "alice");
    let config = pki.read("root.cnf").replace("default_ca = any", "default_ca = v1");
    pki.write("root.cnf", &config);
    pki.crl("root", &[]);
    assert!(pki.openssl(&["crl", "-in", "root.crl", "-noout", "-text"]).contains("Version 1"));
    let args = ["trust", "check", "--ca", "root.pem", "--crl", "root.crl", "--cert", "alice.pem"];
    let refused = pki.0.run(&args);
    let said = text(&refused.stderr);
    assert!(code(&refused) == 1 && said.contains("version 1") && said.contains("crl_extensions"), "{said}");
}

/// What `countersign ca` makes with keys of other kinds satisfies `openssl verify`, lists included.
#[test]
fn openssl_judges_ours() {
    let pki = Pki::new();
    for (name, key) in [("p256", P256), ("rsa", RSA), ("ed25519", &["-algorithm", "ed25519"][..])] {
        pki.openssl(&[&["genpkey", "-out", name], key].concat());
        let folder = format!("{name}-ca");
        let [pem, crl, all] = ["ca.pem", "ca.crl", "all.pem"].map(|file| format!("{folder}/{file}"));
        let ok = |args: &[&str]| {
            let made = pki.0.run(args);
            assert_eq!(code(&made), 0, "{args:?}: {}", text(&made.stderr));
        };
        ok(&["ca", "init", &folder, "--name", name, "--key", name]);
        for who in ["alice", "eve"] {
            let [key, out] = [format!("{who}.key.pub"), format!("{who}.pem")];
            ok(&["ca", "issue", &folder, "--for", &key, "--uri", "spiffe://test/x", "--out", &out]);
        }
        ok(&["ca", "revoke", &folder, "eve.pem"]);
        pki.write(&all, &(pki.read(&pem) + &pki.read(&crl)));
        pki.openssl(&["verify", "-x509_strict", "-crl_check", "-CAfile", &all, "alice.pem"]);
        let judged = ca::openssl(&pki.0, &["verify", "-crl_check", "-CAfile", &all, "eve.pem"]);
        assert!(!judged.status.success() && text(&judged.stderr).contains("revoked"), "{judged:?}");
    }
}
