//! HTTP for operators: metrics, health, the sessions, and a page that shows them. It answers on loopback and Unix sockets only, and changes nothing.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::report::Report;
use crate::tunnel::book::Book;
use crate::tunnel::client::Door;
use crate::tunnel::metrics;
use crate::tunnel::plain::Plain;
use crate::tunnel::session::Stage;
use crate::tunnel::sockets::{check_listen, is_systemd};

/// Refuses addresses that others can reach: who is there sees who talks to whom.
pub async fn check_address(address: &str) -> Result<(), Report> {
    check_listen(address).map_err(|report| report.within("--admin"))?;
    // What systemd has opened is looked at when it is there.
    if address.starts_with("unix:") || is_systemd(address) {
        return Ok(());
    }
    let found = lookup_host(address).await.map_err(|error| Report::usage(format!("--admin {address}: {error}")))?;
    match found.into_iter().find(|found: &SocketAddr| !found.ip().to_canonical().is_loopback()) {
        None => Ok(()),
        Some(found) => Err(Report::usage(format!(
            "--admin {address}: {found} is not a loopback address; use 127.0.0.1:PORT, [::1]:PORT or unix:PATH"
        ))),
    }
}

/// Answers until it is dropped, and keeps the history that the page shows.
pub async fn serve(door: Door, book: Arc<Book>, stage: watch::Receiver<Stage>) {
    tokio::select! {
        () = book.note_history() => {}
        () = listen(door, book.clone(), stage) => {}
    }
}

async fn listen(door: Door, book: Arc<Book>, stage: watch::Receiver<Stage>) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((plain, _)) = door.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (book, stage) = (book.clone(), stage.clone());
        tokio::spawn(async move {
            answer_all(plain, book, stage).await;
            drop(place);
        });
    }
}

async fn answer_all(plain: Plain, book: Arc<Book>, stage: watch::Receiver<Stage>) {
    // No page in a browser can reach a Unix socket.
    let any_host = matches!(plain, Plain::Unix(_));
    let service = service_fn(move |request| {
        let response = answer(&request, any_host, &book, *stage.borrow() != Stage::Running);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(MAX_REQUEST);
    let mut connection = pin!(server.serve_connection(TokioIo::new(plain), service));
    if timeout(LONGEST, connection.as_mut()).await.is_err() {
        // It is told with the next answer, and may come again.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(PATIENCE, connection).await;
    }
}

fn answer(request: &Request<Incoming>, any_host: bool, book: &Book, draining: bool) -> Response<Full<Bytes>> {
    if !any_host && !is_local(request) {
        // A page of somebody else whose name was made to lead here.
        return say(StatusCode::MISDIRECTED_REQUEST, TEXT, "the Host has to be localhost or an address\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return say(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
    }
    match request.uri().path() {
        "/healthz" if draining => say(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n"),
        "/healthz" => say(StatusCode::OK, TEXT, "ok\n"),
        "/metrics" => say(StatusCode::OK, PROMETHEUS, metrics::prometheus(book, draining)),
        "/sessions" => say(StatusCode::OK, JSON, metrics::sessions(book, draining).to_string()),
        "/history" => say(StatusCode::OK, JSON, metrics::history(book).to_string()),
        "/" => say(StatusCode::OK, HTML, include_str!("page/status.html")),
        "/status.js" => say(StatusCode::OK, JAVASCRIPT, include_str!("page/status.js")),
        "/status.css" => say(StatusCode::OK, CSS, include_str!("page/status.css")),
        _ => say(StatusCode::NOT_FOUND, TEXT, "there are /, /metrics, /healthz, /sessions and /history\n"),
    }
}

/// Whether it was asked for by an address or as localhost, and not by a name that anybody can have.
fn is_local(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

fn say(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const MOST_CONNECTIONS: usize = 256;
const MAX_REQUEST: usize = 16 * 1024;
/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last: who does not read must not keep the place.
const LONGEST: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
