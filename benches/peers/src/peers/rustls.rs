//! TLS 1.3 by rustls: mutual authentication with Ed25519 certificates, raw public keys, or resumption.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::{
    AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, CommonState, HandshakeKind, NamedGroup, RootCertStore, ServerConfig,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::conn::{Lent, Peer, Side, tcp};
use crate::id::{Agreement, Cipher, Family, Id, Identities};
use crate::peers::certificates::{Holder, NAME, two};
use crate::peers::tls::{RawKey, Tickets};

/// A side that calls and one that answers, who know each other.
#[derive(Clone)]
pub struct Rustls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    /// What the sides present: the client, the server.
    presented: [CertificateDer<'static>; 2],
    name: ServerName<'static>,
    shared: Arc<Shared>,
}

struct Shared {
    identities: Identities,
    provider: Arc<CryptoProvider>,
    holders: [Holder; 2],
    /// From now on only resumed sessions will do.
    strict: AtomicBool,
}

impl Rustls {
    /// As the id says.
    pub fn new(id: &Id) -> Result<Self> {
        let shared = Shared {
            identities: id.identities,
            provider: Arc::new(provider(id)?),
            holders: two()?,
            strict: AtomicBool::new(false),
        };
        let [client, server] = &shared.holders;
        let presented = match shared.identities {
            Identities::Raw => [client.raw.clone(), server.raw.clone()],
            Identities::Certificates | Identities::Resumed => [client.certificate.clone(), server.certificate.clone()],
        };
        Ok(Rustls {
            connector: TlsConnector::from(Arc::new(shared.client(client, server)?)),
            acceptor: TlsAcceptor::from(Arc::new(shared.server(server, client)?)),
            presented,
            name: ServerName::try_from(NAME)?,
            shared: Arc::new(shared),
        })
    }

    /// Checks who the other end is, and whether the session was resumed if it should be.
    fn check(&self, session: &CommonState, expected: Side) -> Result<()> {
        let [client, server] = &self.presented;
        let expected = if expected == Side::Client { client } else { server };
        let presented = session.peer_certificates().and_then(<[_]>::first).context("the peer presented nothing")?;
        ensure!(presented == expected, "the peer is not who we expect");
        if self.shared.strict.load(Ordering::Relaxed) && self.shared.identities == Identities::Resumed {
            ensure!(session.handshake_kind() == Some(HandshakeKind::Resumed), "the session was not resumed");
        }
        Ok(())
    }
}

impl Shared {
    fn client(&self, me: &Holder, peer: &Holder) -> Result<ClientConfig> {
        let builder =
            ClientConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&[&TLS13])?.dangerous();
        let mut config = match self.identities {
            Identities::Raw => {
                let key =
                    CertifiedKey::new(vec![me.raw.clone()], self.provider.key_provider.load_private_key(me.key())?);
                builder
                    .with_custom_certificate_verifier(Arc::new(self.raw_key(peer)))
                    .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(key))))
            }
            Identities::Certificates | Identities::Resumed => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots(peer)?, self.provider.clone());
                builder
                    .with_custom_certificate_verifier(verifier.build()?)
                    .with_client_auth_cert(vec![me.certificate.clone()], me.key())?
            }
        };
        config.enable_sni = false;
        config.resumption = match self.identities {
            Identities::Resumed => Resumption::store(Tickets::new()),
            Identities::Raw | Identities::Certificates => Resumption::disabled(),
        };
        Ok(config)
    }

    fn server(&self, me: &Holder, peer: &Holder) -> Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(self.provider.clone()).with_protocol_versions(&[&TLS13])?;
        let mut config = match self.identities {
            Identities::Raw => {
                let key =
                    CertifiedKey::new(vec![me.raw.clone()], self.provider.key_provider.load_private_key(me.key())?);
                builder
                    .with_client_cert_verifier(Arc::new(self.raw_key(peer)))
                    .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(key))))
            }
            Identities::Certificates | Identities::Resumed => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(peer)?, self.provider.clone());
                builder
                    .with_client_cert_verifier(verifier.clear_root_hint_subjects().build()?)
                    .with_single_cert(vec![me.certificate.clone()], me.key())?
            }
        };
        if self.identities == Identities::Resumed {
            // One ticket for each that is used.
            config.send_tls13_tickets = 1;
            config.session_storage = ServerSessionMemoryCache::new(TICKETS);
        } else {
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(config)
    }

    fn raw_key(&self, peer: &Holder) -> RawKey {
        RawKey { expected: peer.raw.clone(), algorithms: self.provider.signature_verification_algorithms }
    }
}

impl Peer for Rustls {
    type Conn = Lent<TlsStream<TcpStream>>;

    async fn connect(&self, address: SocketAddr) -> Result<Self::Conn> {
        let stream = self.connector.connect(self.name.clone(), tcp(address).await?).await?;
        self.check(stream.get_ref().1, Side::Server)?;
        Ok(Lent(TlsStream::Client(stream)))
    }

    async fn accept(&self, io: TcpStream) -> Result<Self::Conn> {
        let stream = self.acceptor.accept(io).await?;
        self.check(stream.get_ref().1, Side::Client)?;
        Ok(Lent(TlsStream::Server(stream)))
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        let [stranger, _] = two()?;
        let [client, server] = &self.shared.holders;
        let mut imposter = self.clone();
        match side {
            Side::Client => {
                imposter.connector = TlsConnector::from(Arc::new(self.shared.client(&stranger, server)?));
            }
            Side::Server => {
                imposter.acceptor = TlsAcceptor::from(Arc::new(self.shared.server(&stranger, client)?));
            }
        }
        Ok(imposter)
    }

    fn warmed(&self) {
        self.shared.strict.store(true, Ordering::Relaxed);
    }
}

/// A provider with one suite and one group.
fn provider(id: &Id) -> Result<CryptoProvider> {
    let mut provider = match id.family {
        Family::RustlsAws => aws_lc_rs::default_provider(),
        _ => ring::default_provider(),
    };
    let suite = match id.cipher {
        Cipher::ChaCha20 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        Cipher::Aes128 => CipherSuite::TLS13_AES_128_GCM_SHA256,
        Cipher::Aes256 => CipherSuite::TLS13_AES_256_GCM_SHA384,
    };
    provider.cipher_suites.retain(|known| known.suite() == suite);
    let group = match id.agreement {
        Agreement::X25519 => NamedGroup::X25519,
        Agreement::Hybrid => NamedGroup::X25519MLKEM768,
    };
    if id.agreement == Agreement::Hybrid && id.family == Family::RustlsAws {
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    }
    provider.kx_groups.retain(|known| known.name() == group);
    if provider.cipher_suites.is_empty() || provider.kx_groups.is_empty() {
        bail!("{id}: this provider has no such suite");
    }
    Ok(provider)
}

fn roots(peer: &Holder) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(peer.authority.clone())?;
    Ok(Arc::new(roots))
}

const TICKETS: usize = 4_096;
