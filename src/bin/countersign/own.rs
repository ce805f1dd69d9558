//! Who we are and how we talk: the settings that `serve`, `connect` and `bench` have in common.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign::Config;
use countersign::handshake::respond;
use countersign::identity::Signer;
use countersign::session::RekeyPolicy;
use countersign::trust::Trust;
use getrandom::SysRng;

use crate::args::{SelfArgs, SettingsArgs};
use crate::keylog;
use crate::keys::{load_identity, load_network_key};
use crate::report::Report;

impl SelfArgs {
    /// Whether the key is in an ssh-agent.
    pub fn in_agent(&self) -> bool {
        self.identity.to_str().is_some_and(|identity| identity.starts_with("agent:"))
    }
}

impl SettingsArgs {
    /// The configuration of whoever signs, with settings that can be.
    pub fn config(
        &self,
        signer: Arc<dyn Signer>,
        trust: impl Trust + 'static,
        services: &[String],
    ) -> Result<Config, Report> {
        let link = &self.link;
        let default = RekeyPolicy::default();
        let rekey = RekeyPolicy::new(
            link.rekey_bytes.unwrap_or(default.bytes),
            link.rekey_seconds.map_or(default.age, Duration::from_secs),
        );
        let mut config = Config::new(signer, trust)
            .context(&self.context)
            .handshake_timeout(Duration::from_secs(self.timeout))
            .padding(link.padding)
            .rekey(rekey);
        if !services.is_empty() {
            config = config.services(services);
        }
        if !link.suites.is_empty() {
            config = config.suites(link.suites.iter().copied());
        }
        if let Some(path) = &link.network_key {
            config = config.network_key(load_network_key(path)?);
        }
        if link.keepalive > 0 {
            config = config.keep_alive(Duration::from_secs(link.keepalive));
        }
        if link.idle_timeout > 0 {
            config = config.idle_timeout(Duration::from_secs(link.idle_timeout));
        }
        if let Some(log) = keylog::from_environment()? {
            config = config.dangerous_key_log(log);
        }
        // A setting that can't be is said now, and not to every peer that calls.
        respond(&config, &mut SysRng).map_err(|failure| Report::usage(failure.error))?;
        Ok(config)
    }

    /// The key of `identity`, loaded or found.
    pub fn signer(&self, identity: &Path) -> Result<Arc<dyn Signer>, Report> {
        let which = identity.to_str().and_then(|identity| identity.strip_prefix("agent:"));
        let Some(which) = which else {
            return Ok(Arc::new(load_identity(identity, self.passphrase_file.as_deref())?));
        };
        if self.passphrase_file.is_some() {
            return Err(Report::usage("--passphrase-file is for key files: an ssh-agent asks for itself"));
        }
        agent(which)
    }
}

/// A key that stays in the ssh-agent.
#[cfg(unix)]
fn agent(which: &str) -> Result<Arc<dyn Signer>, Report> {
    use countersign::identity::{AgentError, AgentSigner};

    use crate::keys::parse_who;
    use crate::report::IO;

    if which.is_empty() {
        return Err(Report::usage("--identity agent: expected `agent:SHA256:...` or `agent:FILE.pub`"));
    }
    let key = parse_who("--identity agent:", which)?;
    let failed = |why: String, hint| Report::new(IO, format!("can't use the key agent:{which}: {why}"), Some(hint));
    let socket = std::env::var_os("SSH_AUTH_SOCK")
        .filter(|socket| !socket.is_empty())
        .ok_or_else(|| failed("SSH_AUTH_SOCK is not set: it names the socket of the ssh-agent".into(), START_AGENT))?;
    match AgentSigner::find(Path::new(&socket), &key) {
        Ok(signer) => Ok(Arc::new(signer)),
        Err(error @ AgentError::NoSuchKey(_)) => {
            Err(failed(error.to_string(), "add the key with `ssh-add FILE`; `ssh-add -l` shows what the agent holds"))
        }
        Err(error) => Err(failed(error.to_string(), START_AGENT)),
    }
}

#[cfg(not(unix))]
fn agent(_: &str) -> Result<Arc<dyn Signer>, Report> {
    Err(Report::usage("--identity agent: there is no ssh-agent on this system"))
}

#[cfg(unix)]
const START_AGENT: &str = "start an agent with `eval \"$(ssh-agent)\"`, and add the key with `ssh-add FILE`";
