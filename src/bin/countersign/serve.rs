//! `serve`: listen, and let in who is trusted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use countersign::error::{Error, Reason, Untrusted};
use countersign::net::HandshakeFailure;
use countersign::stream::{ConnectError, ReadHalf, WriteHalf, protocol_error};
use countersign::{Config, Listener, Stream};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::args::ServeArgs;
use crate::certificates;
use crate::exec;
use crate::log;
use crate::metrics::{self, Sessions};
use crate::pipe::{CopyError, discard, meanwhile, receive, send, send_back};
use crate::report::{Blame, Report, side};
use crate::session;
use crate::watch::Watched;
use crate::whom::Whom;

/// Runs until it is told to stop, or for one session.
pub async fn run(args: ServeArgs) -> Result<u8, Report> {
    let (trust, mut watched) = whom(&args).open()?;
    let (signer, own) = certificates::signer(&args.own, &args.cert)?;
    watched.extend(own);
    let config = args.own.settings.config(signer, trust, &args.services)?;
    let config = config.max_handshakes(args.max_handshakes).max_handshakes_per_address(args.max_handshakes_per_address);
    // Before the ready line, so that a signal right after it is not lost.
    let stop = stop_signal()?;
    let listener = listen(&args.listen, config).await?;
    if args.once { once(listener, stop).await } else { many(listener, args, watched, stop).await }
}

fn whom(args: &ServeArgs) -> Whom<'_> {
    Whom { trust: args.trust.as_deref(), cas: &args.cert.cas, names: &args.peer_names }
}

/// Listens, says where, and logs the handshakes that fail.
pub async fn listen(address: &str, config: Config) -> Result<Listener, Report> {
    let cant_listen = |error| Report::io(format!("can't listen on {address}"), &error);
    let listener = TcpListener::bind(address).await.map_err(cant_listen)?;
    let listener = Listener::from_tcp(listener, config, log_failure).map_err(cant_listen)?;
    log::line(format!("listening on {}", listener.local_addr()));
    Ok(listener)
}

async fn once(listener: Listener, stop: impl Future<Output = ()>) -> Result<u8, Report> {
    tokio::pin!(stop);
    let stream = tokio::select! {
        stream = listener.accept() => stream.map_err(|error| Report::io("can't accept", &error))?,
        () = &mut stop => return Ok(0),
    };
    drop(listener);
    let (accepted, id) = (Instant::now(), stream.session_id());
    log_accepted(&stream);
    let result = session::on_stdio(stream, stop).await;
    let outcome = if result.is_ok() { "ok" } else { "failed" };
    log::line(format!("closed session={id} time={:.3}s outcome={outcome}", accepted.elapsed().as_secs_f64()));
    result
}

async fn many(
    listener: Listener,
    args: ServeArgs,
    watched: Vec<Watched>,
    stop: impl Future<Output = ()>,
) -> Result<u8, Report> {
    let exec: Option<Arc<str>> = args.exec.as_deref().map(Into::into);
    let (stopping, stopped) = watch::channel(false);
    let mut sessions = JoinSet::new();
    let counted = Arc::<Sessions>::default();
    let mut written = Box::pin(async {
        match &args.metrics {
            Some(path) => metrics::write(path, &listener, &counted, &watched).await,
            None => std::future::pending().await,
        }
    });
    tokio::pin!(stop);
    loop {
        tokio::select! {
            stream = listener.accept() => {
                let stream = stream.map_err(|error| Report::io("can't accept", &error))?;
                sessions.spawn(serve(stream, exec.clone(), stopped.clone(), counted.clone()));
            }
            Some(_) = sessions.join_next() => {}
            () = &mut written => {}
            () = &mut stop => break,
        }
    }
    drop(written);
    drop(listener);
    log::line(format!("stopping, {} sessions to end", sessions.len()));
    let _ = stopping.send(true);
    let _ = timeout(STOP_GRACE, async { while sessions.join_next().await.is_some() {} }).await;
    Ok(0)
}

/// Bytes of one session.
#[derive(Debug, Default)]
struct Traffic {
    received: u64,
    sent: u64,
}

async fn serve(
    stream: Stream<TcpStream>,
    command: Option<Arc<str>>,
    mut stopped: watch::Receiver<bool>,
    counted: Arc<Sessions>,
) {
    log_accepted(&stream);
    counted.live.fetch_add(1, Ordering::Relaxed);
    let (started, id) = (Instant::now(), stream.session_id());
    let mut traffic = Traffic::default();
    let from = stream.get_ref().peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let command = command.map(|command| exec::prepare(&command, &stream, &from));
    let (mut read, mut write) = stream.into_split();
    let work = async {
        match command {
            None => echo(&mut read, &mut write, &mut traffic).await,
            Some(command) => run_command(command, &mut read, &mut write, &mut traffic).await,
        }
    };
    let (outcome, linger) = tokio::select! {
        outcome = work => (outcome, LINGER),
        _ = stopped.wait_for(|stopped| *stopped) => (Ok("stopped".to_string()), STOP_LINGER),
    };
    // The authenticated end of our direction, whatever happened before; a failed session refuses it.
    let ended = timeout(linger, write.shutdown()).await;
    if outcome.is_err() || matches!(ended, Ok(Err(_))) {
        // The peer has been told why; it gets the time to read it.
        read.linger().await;
    }
    let outcome = match (outcome, ended) {
        (Err(error), _) | (Ok(_), Ok(Err(error))) => {
            if matches!(protocol_error(&error), Some(Error::Revoked(_))) {
                counted.revoked.fetch_add(1, Ordering::Relaxed);
            }
            format!(
                "failed: {error}{}",
                protocol_error(&error).map(side).map(|side| format!("; at fault: {side}")).unwrap_or_default()
            )
        }
        (Ok(_), Err(_)) => "failed: the peer does not read".to_string(),
        (Ok(outcome), Ok(Ok(()))) => {
            // Closing with bytes unread would reset the connection, and what we sent with it.
            let _ = timeout(linger, discard(&mut read)).await;
            outcome
        }
    };
    counted.live.fetch_sub(1, Ordering::Relaxed);
    counted.ended.fetch_add(1, Ordering::Relaxed);
    let Traffic { received, sent } = traffic;
    let time = started.elapsed().as_secs_f64();
    log::line(format!("closed session={id} received={received} sent={sent} time={time:.3}s outcome={outcome}"));
}

type Read = ReadHalf<OwnedReadHalf>;
type Write = WriteHalf<OwnedWriteHalf>;

async fn echo(read: &mut Read, write: &mut Write, traffic: &mut Traffic) -> std::io::Result<String> {
    send_back(read, write, &mut traffic.received).await.map_err(CopyError::into_inner)?;
    traffic.sent = traffic.received;
    Ok("ok".to_string())
}

/// The command's standard input and output are the session. A session that fails kills it: a cut must not look like an end.
async fn run_command(
    mut command: Command,
    read: &mut Read,
    write: &mut Write,
    traffic: &mut Traffic,
) -> std::io::Result<String> {
    let mut child = command.spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("the command has no pipes"));
    };
    let mut stdin = Some(stdin);
    // Dropped before the pipes: whoever is killed must not see them end first.
    let mut group = exec::Group::of(&child);
    let Traffic { received, sent } = traffic;
    let input = async {
        if let Some(pipe) = &mut stdin {
            match receive(read, pipe, received).await {
                // The end; or the command needs no more input.
                Ok(()) | Err(CopyError::Write(_)) => {}
                Err(CopyError::Read(error)) => return Err(error),
            }
        }
        drop(stdin.take());
        // What still comes is discarded, so that the peer can finish.
        discard(read).await?;
        std::future::pending().await
    };
    let output = async {
        send(stdout, write, sent).await.map_err(CopyError::into_inner)?;
        meanwhile(write, child.wait()).await?
    };
    let status = tokio::select! {
        status = output => status?,
        failed = input => return failed,
    };
    group.leave();
    Ok(if status.success() { "ok".to_string() } else { format!("command failed: {status}") })
}

fn log_accepted(stream: &Stream<TcpStream>) {
    let from = stream.get_ref().peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let (peer, service, id) = (stream.peer(), stream.service(), stream.session_id());
    log::line(format!("accepted session={id} peer={peer} service={service:?} from={from}"));
}

fn log_failure(failure: &HandshakeFailure) {
    let HandshakeFailure { address, peer, service, error, rule, .. } = failure;
    let side = Blame::of_connect(error).side;
    let hint = hint(failure);
    let who = match peer {
        None => format!("failed from={address}"),
        Some(key) => {
            let service = service.as_deref().unwrap_or_default();
            format!("refused peer={} service={service:?} from={address}", key.fingerprint())
        }
    };
    let rule = rule.as_ref().map(|rule| format!(" rule={:?}", rule)).unwrap_or_default();
    log::line(format!("{who} fault={side:?}{rule} error={error}{hint}"));
}

/// What to try, behind a semicolon; or nothing.
pub fn hint(failure: &HandshakeFailure) -> String {
    let cause = if let ConnectError::Protocol(failure) = &failure.error { Some(&failure.error) } else { None };
    match (cause, failure.peer) {
        // Where there is a text, its certificate is expired or revoked, or otherwise bad: a line would not be the answer to that.
        (Some(Error::Denied(refusal)), Some(key))
            if refusal.reason == Reason::NotTrusted && refusal.text.is_empty() =>
        {
            format!("; to let it in, add this line to the trust file: {key}")
        }
        (Some(Error::NoCommonSuite), _) => "; compare --suite on both sides".to_string(),
        (Some(Error::Signer(_)), _) => "; `ssh-add -l` shows what the ssh-agent holds".to_string(),
        (Some(Error::Untrusted(Untrusted::NetworkKeyUnexpected)), _) => {
            "; the peer has to leave --network-key out, or this side to be given the same file".to_string()
        }
        _ => String::new(),
    }
}

/// Returns at SIGINT or SIGTERM.
#[cfg(unix)]
pub fn stop_signal() -> Result<impl Future<Output = ()>, Report> {
    use tokio::signal::unix::{SignalKind, signal};
    let watch = |kind| signal(kind).map_err(|error| Report::io("can't watch for signals", &error));
    let (mut interrupt, mut terminate) = (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub fn stop_signal() -> Result<impl Future<Output = ()>, Report> {
    Ok(crate::connect::interrupt())
}

/// How long a finished session waits for the peer to finish.
const LINGER: Duration = Duration::from_secs(10);
/// The same when the program stops.
const STOP_LINGER: Duration = Duration::from_secs(1);
/// How long all sessions get to end when the program stops.
const STOP_GRACE: Duration = Duration::from_secs(3);
