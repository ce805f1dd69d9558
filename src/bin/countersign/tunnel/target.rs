//! Where a service is.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use countersign::Stream;
use tokio::net::{TcpStream, UnixStream};

use crate::connect::check_address;
use crate::exec;
use crate::tunnel::plain::Plain;

/// A service and where it is.
#[derive(Clone, Debug)]
pub struct Route {
    pub service: String,
    pub target: Target,
}

#[derive(Clone, Debug)]
pub enum Target {
    Tcp(String),
    Unix(PathBuf),
    Exec(String),
}

impl Target {
    /// Connects, or starts the command.
    pub async fn open(&self, session: &Stream<TcpStream>, from: &str) -> io::Result<Plain> {
        match self {
            Target::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                Plain::tcp(socket)
            }
            Target::Unix(path) => UnixStream::connect(path).await.map(Plain::Unix),
            Target::Exec(command) => Plain::command(exec::prepare(command, session, from)),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, target) = text.split_once('=').ok_or("expected SERVICE=TARGET, such as redis=127.0.0.1:6379")?;
        Ok(Route { service: parse_service(service)?, target: target.parse()? })
    }
}

/// The name of a service, as the protocol has them.
pub fn parse_service(name: &str) -> Result<String, String> {
    if name.len() > 255 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("the service {name:?} is not of at most 255 visible ASCII characters"));
    }
    Ok(name.to_string())
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Target::Unix(path.into()));
        }
        if let Some(command) = text.strip_prefix("exec:").filter(|command| !command.is_empty()) {
            return Ok(Target::Exec(command.to_string()));
        }
        let expected = |_| format!("the target {text:?} is not HOST:PORT, unix:PATH or exec:COMMAND");
        check_address(text).map_err(expected)?;
        if text.contains('/') || text.ends_with(":0") {
            return Err(format!("the target {text:?} is not HOST:PORT, unix:PATH or exec:COMMAND"));
        }
        Ok(Target::Tcp(text.to_string()))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp(address) => f.write_str(address),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Exec(_) => f.write_str("exec"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (text, service, target) in [
            ("redis=127.0.0.1:6379", "redis", "127.0.0.1:6379"),
            ("db=db.internal:5432", "db", "db.internal:5432"),
            ("=[::1]:80", "", "[::1]:80"),
            ("web=unix:/run/a=b.sock", "web", "unix:/run/a=b.sock"),
            ("date=exec:date -u +%Y=1", "date", "exec"),
        ] {
            let route: Route = text.parse().unwrap();
            assert_eq!((&*route.service, &*route.target.to_string()), (service, target));
        }
        for text in [
            "",
            "redis",
            "redis=",
            "re dis=a:1",
            "a=b",
            "a=b:0",
            "a=b:70000",
            "a=http://b:80",
            "a=unix:",
            "a=exec:",
            "\u{e9}=a:1",
        ] {
            assert!(text.parse::<Route>().is_err(), "{text}");
        }
    }
}
