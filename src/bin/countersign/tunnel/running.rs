//! One tunnel of the process: ready when its files are loaded, and running once it takes connections.

use std::io;
use std::path::Path;
use std::sync::Arc;

use countersign::crypto::network::NetworkKey;
use countersign::{Listener, Reload};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::keys::load_network_key;
use crate::log::{self, Event};
use crate::report::Report;
use crate::tunnel::book::{Book, Side};
use crate::tunnel::client::{self, Door};
use crate::tunnel::server;
use crate::tunnel::sockets::Socket;
use crate::watch::{Watched, watch_and_tell};

/// A tunnel that takes connections.
pub struct Running {
    pub said: Vec<String>,
    pub key: String,
    pub name: (String, Side),
    pub watched: Vec<Arc<Watched>>,
    pub network: Option<Network>,
    stop: Stop,
}

/// The network key that a tunnel was begun with, and what its file says. With another one it has to be begun anew.
pub struct Network {
    begun_with: Arc<NetworkKey>,
    file: Reload<NetworkKey>,
    pub watched: Arc<Watched>,
}

enum Stop {
    Server(Arc<Listener>),
    Client(watch::Sender<bool>),
}

/// A tunnel whose files are loaded, and that has no socket yet.
pub struct Ready {
    pub said: Vec<String>,
    pub key: String,
    pub name: (String, Side),
    pub watched: Vec<Arc<Watched>>,
    pub network: Option<Network>,
    /// What it is called where it fails.
    pub place: String,
    pub listen: String,
    pub mode: u32,
    pub end: ReadyEnd,
}

pub enum ReadyEnd {
    Server(Box<server::Prepared>),
    Client(client::Prepared),
}

impl Ready {
    /// Takes connections from now on.
    pub fn start(self, socket: Socket, book: &Book) -> io::Result<Running> {
        let Ready { said, key, name, watched, network, end, .. } = self;
        let door = socket.door()?;
        let address = door.address();
        let stop = match (end, door) {
            (ReadyEnd::Server(server), Door::Tcp(socket)) => Stop::Server(server.start(socket)?),
            (ReadyEnd::Server(_), Door::Unix(_)) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a server needs a TCP socket"));
            }
            (ReadyEnd::Client(client), door) => {
                let (stop, stopped) = watch::channel(false);
                if address.parse().is_ok_and(|address: std::net::SocketAddr| !address.ip().to_canonical().is_loopback())
                {
                    log::line(format!("warning: whoever can reach {address} acts with the key of tunnel {}", name.0));
                }
                client.start(door, stopped);
                Stop::Client(stop)
            }
        };
        book.tunnel(&name.0, name.1).listens(&address);
        Event::new("listening")
            .saying(format!("on {address}"))
            .only_json("address", address.into())
            .word("tunnel", &name.0)
            .word("side", name.1.name())
            .write();
        Ok(Running { said, key, name, watched, network, stop })
    }
}

impl Network {
    /// Loads a network key; `changed` is called when there is another one.
    pub fn open(path: &Path, changed: impl Fn() + Send + Sync + 'static) -> Result<Self, Report> {
        load_network_key(path)?;
        let file = path.to_path_buf();
        let load = move || load_network_key(&file).map_err(|report| report.to_string().into());
        let (file, watched) = watch_and_tell("network key", vec![path.to_path_buf()], load, changed)?;
        Ok(Network { begun_with: file.current(), file, watched: Arc::new(watched) })
    }

    /// For the tunnel that begins with what the file says now.
    pub fn renewed(&self) -> Self {
        Network { begun_with: self.file.current(), file: self.file.clone(), watched: self.watched.clone() }
    }

    pub fn has_changed(&self) -> bool {
        !bool::from(self.file.current().expose().ct_eq(self.begun_with.expose()))
    }
}

impl Running {
    /// Takes no more connections.
    pub fn stop(&self) {
        match &self.stop {
            Stop::Server(listener) => listener.stop(),
            Stop::Client(stop) => drop(stop.send(true)),
        }
    }
}

impl Socket {
    pub fn door(self) -> io::Result<Door> {
        Ok(match self {
            Socket::Tcp(socket) => Door::Tcp(TcpListener::from_std(socket)?),
            Socket::Unix(socket) => Door::Unix(UnixListener::from_std(socket)?),
        })
    }
}
