//! The listening sockets of the process. They are opened once, and stay open when the configuration is loaded again; they may come from systemd, or from the
//! process that is replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::net::{TcpSocket, lookup_host};

use crate::connect::check_address;
use crate::log;
use crate::report::Report;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// All of them, by what the configuration says of them.
#[derive(Debug, Default)]
pub struct Sockets {
    open: BTreeMap<String, Open>,
    /// Of the process that is replaced.
    taken_over: BTreeMap<String, Socket>,
    inherited: Inherited,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    /// Ours to remove when it is closed.
    path: Option<PathBuf>,
    /// The name of one that systemd has opened.
    systemd: Option<String>,
}

/// What systemd has opened for us (sd_listen_fds(3)), with the names of the sockets.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(String, Socket)>);

impl Inherited {
    /// To be called before there are threads: it takes variables out of the environment.
    pub fn take() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_string);
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for n in 0..given.len() {
            let name = names.next().unwrap_or_default();
            let tcp = given.take_tcp_listener(n).ok().flatten().map(Socket::Tcp);
            let socket = tcp.or_else(|| given.take_unix_listener(n).ok().flatten().map(Socket::Unix));
            match socket {
                Some(socket) => sockets.push((name, socket)),
                None => log::line(format!(
                    "warning: what systemd has given us as {name:?} is no TCP or Unix socket that listens"
                )),
            }
        }
        Inherited(sockets)
    }
}

/// Refuses what can't be listened on, before anything is opened.
pub fn check_listen(address: &str) -> Result<(), Report> {
    if is_systemd(address) {
        return Ok(());
    }
    match address.strip_prefix("unix:") {
        Some("") => Err(Report::usage("unix: there is no path behind it")),
        Some(path) if path.len() > MAX_PATH => {
            let len = path.len();
            Err(Report::usage(format!(
                "{address}: the path has {len} bytes, and that of a Unix socket at most {MAX_PATH}"
            )))
        }
        Some(_) => Ok(()),
        None => check_address(address),
    }
}

/// Whether systemd opens it.
pub fn is_systemd(address: &str) -> bool {
    address == "systemd" || address.starts_with("systemd:")
}

impl Sockets {
    pub fn new(inherited: Inherited, taken_over: BTreeMap<String, Socket>) -> Self {
        Sockets { open: BTreeMap::new(), taken_over, inherited }
    }

    /// A handle of the socket for an address, which is opened unless it is open; a Unix socket with this mode.
    pub async fn listen(&mut self, key: &str, address: &str, mode: u32) -> Result<Socket, Report> {
        if !self.open.contains_key(key) {
            let open = self.open(key, address, mode).await?;
            self.open.insert(key.to_string(), open);
        }
        let failed = |error: io::Error| Report::io(format!("can't listen on {address}"), &error);
        let open = self.open.get(key).ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
        open.socket.handle().map_err(failed)
    }

    /// Who may connect to a Unix socket from now on: it may have been opened with another mode.
    pub fn set_mode(&self, key: &str, mode: u32) {
        if let Some(Open { path: Some(path), .. }) = self.open.get(key)
            && is_socket(path)
            && let Err(error) = set_mode(path, mode)
        {
            log::line(format!("warning: the mode of {} stays as it is: {error}", path.display()));
        }
    }

    async fn open(&mut self, key: &str, address: &str, mode: u32) -> Result<Open, Report> {
        let failed = |error: io::Error| Report::io(format!("can't listen on {address}"), &error);
        let path = address.strip_prefix("unix:").map(PathBuf::from);
        if let Some(socket) = self.taken_over.remove(key) {
            return Ok(Open { socket, path, systemd: None });
        }
        if is_systemd(address) {
            let name = address.strip_prefix("systemd:");
            let (name, socket) = self.passed_by_systemd(address, name)?;
            return Ok(Open { socket, path: None, systemd: Some(name) });
        }
        let socket = match &path {
            Some(path) => Socket::Unix(bind_unix(path, mode).map_err(failed)?),
            None => Socket::Tcp(bind_tcp(address).await.map_err(failed)?),
        };
        Ok(Open { socket, path, systemd: None })
    }

    fn passed_by_systemd(&mut self, address: &str, name: Option<&str>) -> Result<(String, Socket), Report> {
        let given = &mut self.inherited.0;
        let found = given.iter().position(|(given, _)| name.is_none_or(|name| name == given));
        match found {
            Some(n) => Ok(given.remove(n)),
            None => {
                let names: Vec<&str> = given.iter().map(|(name, _)| &**name).collect();
                let there = if names.is_empty() { "none are left".to_string() } else { names.join(", ") };
                Err(Report::usage(format!(
                    "{address}: systemd has not given us such a socket (LISTEN_FDS, LISTEN_FDNAMES; {there})"
                )))
            }
        }
    }

    /// Closes those that are not among these.
    pub fn keep(&mut self, keys: &[String]) {
        for (key, socket) in std::mem::take(&mut self.taken_over) {
            // What the other process had and this one does not want. Paths of systemd's are its own.
            if key.contains("unix:")
                && let Socket::Unix(socket) = socket
                && let Ok(address) = socket.local_addr()
                && let Some(path) = address.as_pathname().filter(|path| path.is_absolute())
            {
                remove_socket(path);
            }
        }
        let gone: Vec<String> = self.open.keys().filter(|key| !keys.contains(key)).cloned().collect();
        gone.iter().for_each(|key| self.close(key));
    }

    /// Another process has them now: the paths stay.
    pub fn leave(&mut self) {
        self.open.clear();
    }

    fn close(&mut self, key: &str) {
        match self.open.remove(key) {
            Some(Open { path: Some(path), .. }) => remove_socket(&path),
            // It can't be opened again: it is kept for whoever names it next.
            Some(Open { socket, systemd: Some(name), .. }) => self.inherited.0.push((name, socket)),
            _ => {}
        }
    }

    /// All that are open, for another process.
    pub fn handles(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let handles = self.open.iter().map(|(key, open)| Ok((key.clone(), open.socket.handle()?.into())));
        handles.collect()
    }
}

impl Socket {
    /// Of another process.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&descriptor);
        if !socket.is_listener()? {
            return Err(io::Error::new(ErrorKind::InvalidData, "a socket that does not listen"));
        }
        let unix = socket.domain()? == socket2::Domain::UNIX;
        Ok(if unix { Socket::Unix(descriptor.into()) } else { Socket::Tcp(descriptor.into()) })
    }

    /// Whether nobody can reach it from another machine.
    pub fn is_local(&self) -> bool {
        match self {
            Socket::Tcp(socket) => socket.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Socket::Unix(_) => true,
        }
    }

    fn handle(&self) -> io::Result<Self> {
        let handle = match self {
            Socket::Tcp(socket) => Socket::Tcp(socket.try_clone()?),
            Socket::Unix(socket) => Socket::Unix(socket.try_clone()?),
        };
        match &handle {
            Socket::Tcp(socket) => socket.set_nonblocking(true)?,
            Socket::Unix(socket) => socket.set_nonblocking(true)?,
        }
        Ok(handle)
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(socket) => socket.into(),
            Socket::Unix(socket) => socket.into(),
        }
    }
}

async fn bind_tcp(address: &str) -> io::Result<std::net::TcpListener> {
    let mut failure = io::Error::new(ErrorKind::InvalidInput, "the name has no address");
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG.unsigned_abs())) {
            Ok(listener) => return listener.into_std(),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A socket whose process is gone is in nobody's way. Any other file stays.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let bound = match bind_new(path, mode) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if !is_socket(path) {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is not a socket"));
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                _ => return Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
            }
            bind_new(path, mode)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(io::Error::new(ErrorKind::NotFound, "there is no such directory"));
        }
        bound => bound,
    }?;
    // The umask may have taken something away.
    set_mode(path, mode)?;
    Ok(bound)
}

#[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
fn bind_new(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // So it never stands open to more than these.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a socket; any other file stays.
pub fn remove_socket(path: &Path) {
    if is_socket(path) {
        let _ = fs::remove_file(path);
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

const BACKLOG: i32 = 4_096;
/// sun_path, without the zero at its end.
const MAX_PATH: usize = 107;
