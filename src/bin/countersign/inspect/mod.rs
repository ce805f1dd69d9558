//! `inspect`: what is in the bytes of a connection, field by field; with a key log also what is sealed, and whether all is right.

mod decrypt;
mod frames;
mod keys;
mod listing;
mod proofs;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use countersign::crypto::suite::Suite;
use countersign::limits::MAX_CONTEXT_LEN;
use countersign::role::Role;
use countersign::wire::frame::FrameType;
use countersign::wire::message::{Hello, HelloReply};
use zeroize::Zeroizing;

use crate::args::InspectArgs;
use crate::report::{IO, Report};
use decrypt::{Records, open_auth};
use frames::Direction;
use keys::Keys;
use listing::Listing;
use proofs::Proofs;

/// Reads the files, and prints the listing. The exit code is 0 if everything decodes and is right.
pub fn run(args: &InspectArgs) -> Result<u8, Report> {
    let stdin = Path::new("-");
    if args.file == stdin && args.other.as_deref() == Some(stdin) {
        return Err(Report::usage("only one of FILE and OTHER can be standard input"));
    }
    if args.context.len() > MAX_CONTEXT_LEN {
        return Err(Report::usage("an application context has at most 255 bytes"));
    }
    let first = read(&args.file)?;
    let other = args.other.as_deref().map(read).transpose()?;
    let log = args.keylog.as_deref().map(read).transpose()?.map(Zeroizing::new);
    let name = |path: &Path| path.display().to_string().escape_debug().to_string();
    let mut inputs = vec![(name(&args.file), first.as_slice())];
    if let (Some(path), Some(bytes)) = (&args.other, &other) {
        inputs.push((name(path), bytes));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut listing = Listing::new(&mut out, args.full);
    inspect(&mut listing, &inputs, log.as_ref().map(|log| log.as_slice()), args.context.as_bytes());
    let good = listing.summary();
    // A reader that has seen enough is no failure.
    let _ = out.flush();
    Ok(if good { 0 } else { IO })
}

fn read(path: &Path) -> Result<Vec<u8>, Report> {
    let mut bytes = Vec::new();
    let result =
        if path == Path::new("-") { io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes) } else { fs::read(path) };
    result.map_err(|error| Report::io(format!("can't read {}", path.display()), &error))
}

/// Lists one or two directions, and checks what can be checked.
fn inspect(listing: &mut Listing<'_>, inputs: &[(String, &[u8])], log: Option<&[u8]>, context: &[u8]) {
    let mut directions: Vec<Direction<'_>> = inputs.iter().map(|(_, bytes)| Direction::split(bytes)).collect();
    frames::settle_roles(&mut directions);
    if let [one, other] = directions.as_slice()
        && one.role.is_some()
        && one.role == other.role
    {
        let whose = one.role.map_or("", Role::name);
        return listing.wrong(format!("both files are what the {whose} sent: give one of each side"));
    }
    let connection = Connection::new(&directions);
    let keys = log.and_then(|log| connection.keys(listing, log));
    let mut proofs = Proofs::default();
    for ((name, bytes), direction) in inputs.iter().zip(&directions) {
        let whose = direction.role.map_or("one side".to_string(), |role| format!("the {role}"));
        listing.line(format!("{name}: {} bytes that {whose} sent", bytes.len()));
        list(listing, direction, keys.as_ref(), &mut proofs);
        listing.line("");
    }
    if let (Some(hello), Some(reply)) = (&connection.hello, &connection.reply) {
        proofs::compare(listing, hello, reply);
    }
    match &keys {
        None if log.is_none() && directions.iter().any(Direction::has_sealed) => {
            listing.line("not checked: what is sealed; a key log (--keylog FILE) opens it");
        }
        None => {}
        Some(keys) => match (connection.first(FrameType::Hello), connection.first(FrameType::HelloReply)) {
            (Some(hello), Some(reply)) => proofs.check(listing, [hello, reply], keys, context),
            _ => listing.line("not checked: confirmations and signatures, which need both directions"),
        },
    }
}

/// Lists one direction.
fn list(listing: &mut Listing<'_>, direction: &Direction<'_>, keys: Option<&Keys>, proofs: &mut Proofs) {
    let mut records = keys.zip(direction.role).map(|(keys, role)| Records::new(keys, role));
    for frame in &direction.frames {
        listing.header(frame);
        match frame.kind {
            FrameType::Hello => listing.hello(frame),
            FrameType::HelloReply => listing.hello_reply(frame),
            FrameType::Alert => listing.alert(frame),
            FrameType::AuthR | FrameType::AuthI => match keys {
                None => listing.sealed(frame),
                Some(keys) => match open_auth(listing, frame, keys) {
                    Some(plaintext) => proofs.note(frame, plaintext),
                    None => listing.sealed(frame),
                },
            },
            FrameType::Record => match &mut records {
                Some(records) => records.open(listing, frame),
                None => listing.sealed(frame),
            },
        }
        if let Some(why) = direction.misplaced(frame) {
            listing.wrong(why);
        }
    }
    if let Some((offset, why)) = &direction.stop {
        listing.wrong(format!("stops at byte {offset} (0x{offset:x}): {why}"));
    }
    if let Some(records) = records {
        records.finish(listing);
    }
}

/// What the two HELLO messages say, as far as they are there.
struct Connection<'a> {
    directions: &'a [Direction<'a>],
    hello: Option<Hello>,
    reply: Option<HelloReply<'a>>,
}

impl<'a> Connection<'a> {
    fn new(directions: &'a [Direction<'a>]) -> Self {
        let mut connection = Connection { directions, hello: None, reply: None };
        connection.hello = connection.first(FrameType::Hello).and_then(|frame| Hello::decode(frame.body).ok());
        let reply = connection.first(FrameType::HelloReply);
        connection.reply = reply.and_then(|frame| HelloReply::decode(frame.body).ok());
        connection
    }

    /// The frame of this type, if a direction begins with one.
    fn first(&self, kind: FrameType) -> Option<&'a frames::RawFrame<'a>> {
        self.directions.iter().filter_map(|direction| direction.frames.first()).find(|frame| frame.kind == kind)
    }

    /// The lines of a key log that are about this connection.
    fn keys(&self, listing: &mut Listing<'_>, log: &[u8]) -> Option<Keys> {
        let nonces = (self.hello.as_ref().map(|hello| hello.nonce), self.reply.as_ref().map(|reply| reply.nonce));
        let (keys, problems) = keys::parse(log, nonces);
        problems.into_iter().for_each(|problem| listing.wrong(problem));
        let keys = keys?;
        let chosen = self.reply.as_ref().map(|reply| reply.suite);
        if chosen.is_some_and(|chosen| Suite::from_code(chosen) != Some(keys.suite)) {
            listing.wrong(format!("the key log names the suite {}, HELLO_REPLY another", keys.suite));
            return None;
        }
        Some(keys)
    }
}
