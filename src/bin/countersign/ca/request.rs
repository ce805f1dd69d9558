//! For whom a certificate is made: a public line, or a PKCS#10 request (RFC 2986).

use std::path::Path;

use countersign::PublicKey;
use countersign::identity::parse_line;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Header, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::request::{CertReq, ExtensionReq};

use super::certificate::{ED25519, ed25519_key};
use super::files;
use super::names::AltName;
use crate::report::{IO, Report};

/// Who gets a certificate.
pub struct Holder {
    pub key: PublicKey,
    /// The name at the end of a public line; empty for a request.
    pub comment: String,
    /// What a request asks for; `Err` if that is nothing we sign.
    pub requested: Result<Vec<AltName>, String>,
    pub is_request: bool,
}

/// Reads a public line or a request.
pub fn read(path: &Path) -> Result<Holder, Report> {
    let not = |why: String, hint: &'static str| Report::new(IO, format!("{}: {why}", path.display()), Some(hint));
    let content = files::read(path)?;
    let Ok(text) = std::str::from_utf8(&content) else {
        return Err(not(format!("{EXPECTED}, and found something that is not text"), HOW));
    };
    let begins = |label: &str| text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(label));
    if begins("PRIVATE KEY-----") {
        let hint = "give the file that ends in .pub; a secret key never has to leave its machine";
        return Err(not("a secret key: a certificate is made for a public one".to_string(), hint));
    }
    if begins("CERTIFICATE REQUEST-----") {
        return read_request(text).map_err(|why| not(why, HOW));
    }
    if begins("CERTIFICATE-----") {
        return Err(not("a certificate".to_string(), "to make a new one in its place, use `countersign ca renew`"));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(not(format!("{EXPECTED}, and found neither"), HOW));
    };
    let (key, comment) = parse_line(line).map_err(|error| not(error.to_string(), HOW))?;
    Ok(Holder { key, comment: comment.to_string(), requested: Ok(Vec::new()), is_request: false })
}

fn read_request(text: &str) -> Result<Holder, String> {
    // The older label of the same thing.
    let text = text.replace(" NEW CERTIFICATE REQUEST-----", " CERTIFICATE REQUEST-----");
    let damaged = |_| "the PEM of the request is damaged".to_string();
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(damaged)?;
    let unparsed = |error| format!("the request does not parse: {error}");
    let request = CertReq::from_der(&der).map_err(unparsed)?;
    let key = ed25519_key(&request.info.public_key)?;
    let mut reader = SliceReader::new(&der).map_err(unparsed)?;
    Header::decode(&mut reader).map_err(unparsed)?;
    let signed = reader.tlv_bytes().map_err(unparsed)?;
    let signature = request.signature.as_bytes().unwrap_or_default();
    // Whoever made it has the secret key.
    let verified = webpki::ring::ED25519.verify_signature(key.as_bytes(), signed, signature);
    if request.algorithm.oid != ED25519 || verified.is_err() {
        return Err("the request is not signed by its own key: it is damaged, or somebody altered it".to_string());
    }
    Ok(Holder { key, comment: String::new(), requested: requested_names(&request), is_request: true })
}

/// The names that a request asks for; whatever else it asks for is passed over.
fn requested_names(request: &CertReq) -> Result<Vec<AltName>, String> {
    let mut names = Vec::new();
    for attribute in request.info.attributes.iter().filter(|attribute| attribute.oid == ExtensionReq::OID) {
        for value in attribute.values.iter() {
            let extensions: ExtensionReq =
                value.decode_as().map_err(|error| format!("its extensions do not parse: {error}"))?;
            for extension in extensions.0.iter().filter(|extension| extension.extn_id == SubjectAltName::OID) {
                let general = SubjectAltName::from_der(extension.extn_value.as_bytes());
                let general = general.map_err(|error| format!("its names do not parse: {error}"))?;
                for name in &general.0 {
                    names.push(AltName::from_general(name)?);
                }
            }
        }
    }
    Ok(names)
}

const EXPECTED: &str =
    "expected a public line `ssh-ed25519 AAAA... name`, or a request `-----BEGIN CERTIFICATE REQUEST-----`";
const HOW: &str =
    "`countersign keygen --out KEY` makes KEY.pub; `openssl req -new -key KEY.pem -subj / -out REQUEST.csr` a request";
