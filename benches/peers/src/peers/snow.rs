//! Noise XX by snow, which gives messages only. The framing is the least that works: two bytes of length before each
//! of at most 65,535 bytes.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use snow::params::NoiseParams;
use snow::resolvers::{BoxedCryptoResolver, DefaultResolver, FallbackResolver, RingResolver};
use snow::{Builder, HandshakeState, Keypair, TransportState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::conn::{Conn, Peer, Side, Sink, tcp};
use crate::id::{Family, Id};

/// A side that calls and one that answers, who know each other.
#[derive(Clone)]
pub struct Snow {
    ring: bool,
    params: NoiseParams,
    client: Party,
    server: Party,
}

/// What one side has.
#[derive(Clone)]
struct Party {
    private: Vec<u8>,
    /// Whom it expects.
    peer: Vec<u8>,
}

/// A connection whose peer is who we expect.
pub struct SnowConn {
    io: TcpStream,
    noise: TransportState,
    /// What is sent together.
    sealed: Vec<u8>,
    received: Received,
    plain: Vec<u8>,
}

/// Bytes as they came; of the front all is used.
#[derive(Default)]
struct Received {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Snow {
    /// As the id says.
    pub fn new(id: &Id) -> Result<Self> {
        let ring = id.family == Family::SnowRing;
        let params: NoiseParams = "Noise_XX_25519_ChaChaPoly_SHA256".parse()?;
        let (client, server) = (keys(ring, &params)?, keys(ring, &params)?);
        Ok(Snow {
            ring,
            params,
            client: Party { private: client.private, peer: server.public },
            server: Party { private: server.private, peer: client.public },
        })
    }

    fn builder<'a>(&self, party: &'a Party) -> Result<Builder<'a>> {
        Ok(Builder::with_resolver(self.params.clone(), resolver(self.ring)).local_private_key(&party.private)?)
    }
}

impl Peer for Snow {
    type Conn = SnowConn;

    async fn connect(&self, address: SocketAddr) -> Result<SnowConn> {
        let mut io = tcp(address).await?;
        let mut noise = self.builder(&self.client)?.build_initiator()?;
        let mut received = Received::default();
        say(&mut io, &mut noise).await?;
        hear(&mut io, &mut noise, &mut received).await?;
        say(&mut io, &mut noise).await?;
        SnowConn::new(io, noise, received, &self.client)
    }

    async fn accept(&self, mut io: TcpStream) -> Result<SnowConn> {
        let mut noise = self.builder(&self.server)?.build_responder()?;
        let mut received = Received::default();
        hear(&mut io, &mut noise, &mut received).await?;
        say(&mut io, &mut noise).await?;
        hear(&mut io, &mut noise, &mut received).await?;
        SnowConn::new(io, noise, received, &self.server)
    }

    fn imposter(&self, side: Side) -> Result<Self> {
        let mut imposter = self.clone();
        let stranger = keys(self.ring, &self.params)?;
        match side {
            Side::Client => imposter.client.private = stranger.private,
            Side::Server => imposter.server.private = stranger.private,
        }
        Ok(imposter)
    }
}

impl SnowConn {
    fn new(io: TcpStream, noise: HandshakeState, received: Received, party: &Party) -> Result<Self> {
        ensure!(noise.get_remote_static() == Some(&party.peer), "the peer is not who we expect");
        // What the handshake needed is not kept for ever.
        let received = if received.start == received.end { Received::default() } else { received };
        Ok(SnowConn { io, noise: noise.into_transport_mode()?, sealed: Vec::new(), received, plain: Vec::new() })
    }
}

impl Conn for SnowConn {
    type Message = Vec<u8>;

    fn message(data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }

    async fn send(&mut self, message: &Vec<u8>) -> Result<()> {
        let mut end = 0;
        for part in message.chunks(MAX_MESSAGE - TAG) {
            let start = end + HEADER;
            end = start + part.len() + TAG;
            if self.sealed.len() < end {
                self.sealed.resize(end, 0);
            }
            let (header, sealed) = self.sealed[end - part.len() - TAG - HEADER..end].split_at_mut(HEADER);
            header.copy_from_slice(&u16::try_from(sealed.len())?.to_be_bytes());
            self.noise.write_message(part, sealed)?;
        }
        Ok(self.io.write_all(&self.sealed[..end]).await?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn receive(&mut self, _: &mut [u8], sink: Sink<'_>) -> Result<usize> {
        let Some(sealed) = self.received.message(&mut self.io).await? else { return Ok(0) };
        if self.plain.len() < sealed.len() {
            self.plain.resize(sealed.len(), 0);
        }
        let count = self.noise.read_message(sealed, &mut self.plain)?;
        sink(&self.plain[..count]);
        Ok(count)
    }
}

impl Received {
    /// The next message; none at the end.
    async fn message(&mut self, io: &mut TcpStream) -> Result<Option<&[u8]>> {
        loop {
            let here = &self.buffer[self.start..self.end];
            let needed = match here {
                [high, low, ..] => HEADER + usize::from(u16::from_be_bytes([*high, *low])),
                _ => HEADER,
            };
            if needed > HEADER && here.len() >= needed {
                let start = self.start + HEADER;
                self.start += needed;
                return Ok(Some(&self.buffer[start..self.start]));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.is_empty() {
                // An idle connection holds nothing.
                io.readable().await?;
            }
            // Long messages come with others: more is read at a time.
            let room = if needed > MIN_BUFFER { MAX_BUFFER } else { MIN_BUFFER };
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
            let count = io.read(&mut self.buffer[self.end..]).await?;
            if count == 0 {
                ensure!(self.end == 0, "the connection was cut");
                return Ok(None);
            }
            self.end += count;
        }
    }
}

async fn say(io: &mut TcpStream, noise: &mut HandshakeState) -> Result<()> {
    let mut message = [0; HANDSHAKE_LEN];
    let (header, rest) = message.split_at_mut(HEADER);
    let count = noise.write_message(&[], rest)?;
    header.copy_from_slice(&u16::try_from(count)?.to_be_bytes());
    Ok(io.write_all(&message[..HEADER + count]).await?)
}

async fn hear(io: &mut TcpStream, noise: &mut HandshakeState, received: &mut Received) -> Result<()> {
    let message = received.message(io).await?.context("the peer ended within the handshake")?;
    noise.read_message(message, &mut [0; HANDSHAKE_LEN])?;
    Ok(())
}

fn keys(ring: bool, params: &NoiseParams) -> Result<Keypair> {
    Ok(Builder::with_resolver(params.clone(), resolver(ring)).generate_keypair()?)
}

fn resolver(ring: bool) -> BoxedCryptoResolver {
    if ring {
        // ring lends no X25519 with static keys.
        Box::new(FallbackResolver::new(Box::new(RingResolver), Box::new(DefaultResolver)))
    } else {
        Box::new(DefaultResolver)
    }
}

const HEADER: usize = 2;
const TAG: usize = 16;
const MAX_MESSAGE: usize = 65_535;
const HANDSHAKE_LEN: usize = 256;
const MIN_BUFFER: usize = 4 << 10;
const MAX_BUFFER: usize = 128 << 10;
