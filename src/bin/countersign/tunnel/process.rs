//! The process: its tunnels start and stop, its configuration is loaded again, and it drains at the end.

use std::collections::{BTreeMap, HashSet};
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign::Reload;
use countersign::identity::Signer;
use countersign::reload::ReloadEvent;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use crate::args::{CertArgs, LinkArgs, SelfArgs};
use crate::certificates;
use crate::exec;
use crate::keys::quiet_identity;
use crate::log::{self, Event};
use crate::report::{IO, Report};
use crate::tunnel::args::{LogFormat, ProcessArgs};
use crate::tunnel::book::{Book, Side};
use crate::tunnel::client;
use crate::tunnel::failures::Failures;
use crate::tunnel::file::{End, Entry, Plan};
use crate::tunnel::manager::Manager;
use crate::tunnel::running::{Network, Ready, ReadyEnd, Running};
use crate::tunnel::session::Stage;
use crate::tunnel::sockets::{Inherited, Socket, Sockets, check_listen};
use crate::tunnel::takeover::{self, Handover};
use crate::tunnel::{admin, server};
use crate::watch::Watched;

/// What all tunnels of the process share.
pub struct Shared {
    pub book: Arc<Book>,
    pub failures: Arc<Failures>,
    pub stage: watch::Sender<Stage>,
    /// Nobody can be asked for a passphrase: the process runs.
    quiet: bool,
    /// Something has changed that only a tunnel that begins anew can use.
    changed: mpsc::Sender<()>,
}

struct Process {
    args: ProcessArgs,
    source: Source,
    shared: Shared,
    sockets: Sockets,
    running: Vec<Running>,
}

/// Where the tunnels are described.
enum Source {
    File(PathBuf),
    Flags(Vec<Entry>),
}

/// A configuration that can be used.
struct Opened {
    /// What is said of each tunnel in it.
    wanted: Vec<Vec<String>>,
    /// Those that are new.
    ready: Vec<(Ready, Socket)>,
}

/// Runs until it is told to stop, or replaced.
pub async fn run(plan: Plan, file: Option<PathBuf>, inherited: Inherited) -> Result<u8, Report> {
    log::set_json(plan.process.log == LogFormat::Json);
    let _ = raise_descriptors();
    log::write_apart();
    let signal = |kind| signal(kind).map_err(|error| Report::io("can't watch for signals", &error));
    let mut hangup = signal(SignalKind::hangup())?;
    if let Some(admin) = &plan.process.admin {
        admin::check_address(admin).await?;
    }
    let taken = plan.process.takeover.as_deref().map(takeover::take).transpose()?.flatten();
    let (sockets, predecessor) =
        taken.map_or_else(|| (BTreeMap::new(), None), |taken| (taken.sockets, Some(taken.from)));
    let took_over = predecessor.is_some();
    let source = file.map_or_else(|| Source::Flags(plan.entries.clone()), Source::File);
    let (mut process, mut changed) = Process::new(plan.process, source, Sockets::new(inherited, sockets));
    let _watch = process.watch_file()?;
    let opened = process.open(plan.entries).await.map_err(|report| report.within(&process.source.shown()))?;
    // Until now they have ended us, also while we ask for a passphrase.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut stop = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    // From here on the other process takes nothing more; connections wait in the sockets.
    let told_already = match predecessor {
        Some(predecessor) => predecessor.release(stop()).await?,
        None => false,
    };
    // Before the lines that say that we listen: then the next process may come.
    let mut handover = process.handover(took_over)?;
    process.begin(opened)?;
    let admin = process.admin(took_over).await?;
    let manager = Manager;
    manager.ready(took_over);
    tokio::spawn(Manager::watchdog(took_over));
    process.shared.quiet = true;

    let told = loop {
        if told_already {
            break true;
        }
        let all = tokio::select! {
            _ = hangup.recv() => true,
            Some(()) = changed.recv() => false,
            () = process.retry() => false,
            () = handed_over(handover.as_mut(), &process.sockets) => break false,
            () = stop() => break true,
        };
        // A name server that does not answer must not keep us from stopping.
        tokio::select! {
            () = process.reload(&manager, all) => {}
            () = stop() => break true,
        }
    };
    let handed_over = match &mut handover {
        Some(handover) if told => handover.hurry(|| process.sockets.handles()).await,
        _ => !told,
    };
    process.close(handed_over);
    // Whoever wants to take over from now on finds nobody, and ports that are free.
    if let Some(handover) = handover {
        handover.end(handed_over);
    }
    if handed_over {
        admin.into_iter().for_each(|admin| admin.abort());
    } else {
        // Where another process goes on the service does not stop.
        manager.stopping();
    }
    let again = async || {
        if !told {
            stop().await;
        }
        stop().await;
    };
    process.drain(again).await;
    log::finish();
    Ok(0)
}

/// Loads everything that a configuration names.
pub async fn check(plan: Plan, file: Option<PathBuf>) -> Result<usize, Report> {
    if let Some(admin) = &plan.process.admin {
        admin::check_address(admin).await?;
    }
    let source = file.map_or_else(|| Source::Flags(Vec::new()), Source::File);
    let (process, _) = Process::new(plan.process, source, Sockets::default());
    let ready = process.prepare(plan.entries).map_err(|report| report.within(&process.source.shown()))?;
    Ok(ready.len())
}

impl Source {
    /// For messages about what is in it.
    fn shown(&self) -> String {
        match self {
            Source::File(file) => file.display().to_string(),
            Source::Flags(_) => String::new(),
        }
    }
}

impl Shared {
    /// Who signs for a tunnel.
    pub fn signer(&self, own: &SelfArgs, cert: &CertArgs) -> Result<(Arc<dyn Signer>, Vec<Watched>), Report> {
        if self.quiet && !own.in_agent() {
            quiet_identity(&own.identity, own.settings.passphrase_file.as_deref())?;
        }
        certificates::signer(own, cert)
    }

    fn network(&self, link: &LinkArgs) -> Result<Option<Network>, Report> {
        let Some(path) = &link.network_key else { return Ok(None) };
        let changed = self.changed.clone();
        // One that waits to be heard says enough.
        let changed = move || {
            let _ = changed.try_send(());
        };
        Network::open(path, changed).map(Some)
    }
}

impl Process {
    /// With it comes what tells that something has changed.
    fn new(args: ProcessArgs, source: Source, sockets: Sockets) -> (Self, mpsc::Receiver<()>) {
        let (book, failures, stage) = (Book::new(), Arc::new(Failures::new()), watch::channel(Stage::Running).0);
        let (changed, changes) = mpsc::channel(1);
        let shared = Shared { book, failures, stage, quiet: false, changed };
        (Process { args, source, shared, sockets, running: Vec::new() }, changes)
    }

    /// Tells when the configuration file has changed. A file that can't be read is said at once.
    fn watch_file(&self) -> Result<Option<Reload<()>>, Report> {
        let Source::File(file) = &self.source else { return Ok(None) };
        let path = file.clone();
        let load = move || match Plan::read(&path) {
            Ok(_) => Ok(()),
            Err(report) => Err(report.to_string().into()),
        };
        // Also what is broken is tried, to be counted and said.
        let changed = self.shared.changed.clone();
        let observer = move |_: &ReloadEvent| {
            let _ = changed.try_send(());
        };
        Reload::new([file], load, observer).map(Some).map_err(|error| Report::new(IO, error, None))
    }

    fn prepare(&self, entries: Vec<Entry>) -> Result<Vec<Ready>, Report> {
        let (mut names, mut keys) = (HashSet::new(), BTreeMap::<String, usize>::new());
        let mut all = Vec::new();
        for Entry { end, said } in entries {
            let (side, listen, mode, name) = match &end {
                End::Server(args) => (Side::Server, &args.listen, 0, &args.sessions.name),
                End::Client(args) => (Side::Client, &args.listen, args.socket_mode, &args.sessions.name),
            };
            let (listen, name) = (listen.clone(), (name.clone().unwrap_or_else(|| listen.clone()), side));
            // One tunnel alone needs no name.
            let place = if said.is_empty() { String::new() } else { format!("{} tunnel {:?}", side.name(), name.0) };
            check_listen(&listen).map_err(|report| report.within("--listen").within(&place))?;
            if side == Side::Server && listen.starts_with("unix:") {
                return Err(Report::usage(format!("{listen}: a server listens on an address and port")).within(&place));
            }
            if !names.insert(name.clone()) {
                let (name, side) = (name.0, side.name());
                return Err(Report::usage(format!(
                    "there are two {side} tunnels named {name:?}: give one of them another `name`"
                )));
            }
            let nth = keys.entry(listen.clone()).or_default();
            *nth += 1;
            if *nth > 1 && !listen.ends_with(":0") && listen != "systemd" {
                return Err(Report::usage(format!("{listen}: two tunnels can't listen there")));
            }
            let key = format!("{listen}#{nth}");
            let same = |running: &&Running| running.said == said && running.key == key && running.name == name;
            let running = self.running.iter().find(same);
            let network = running.and_then(|running| running.network.as_ref());
            if running.is_some() && !network.is_some_and(Network::has_changed) {
                continue;
            }
            let link = match &end {
                End::Server(args) => &args.own.settings.link,
                End::Client(args) => &args.own.settings.link,
            };
            let network = match network {
                Some(network) => Some(network.renewed()),
                None => self.shared.network(link).map_err(|report| report.within(&place))?,
            };
            let (end, watched) = match end {
                End::Server(args) => {
                    let prepared = server::prepare(*args, &name.0, &self.shared);
                    let (ready, watched) = prepared.map_err(|report| report.within(&place))?;
                    (ReadyEnd::Server(Box::new(ready)), watched)
                }
                End::Client(args) => {
                    let prepared = client::prepare(*args, &name.0, &self.shared);
                    let (ready, watched) = prepared.map_err(|report| report.within(&place))?;
                    (ReadyEnd::Client(ready), watched)
                }
            };
            let mut watched: Vec<_> = watched.into_iter().map(Arc::new).collect();
            watched.extend(network.as_ref().map(|network| network.watched.clone()));
            all.push(Ready { said, key, name, place, watched, network, listen, mode, end });
        }
        Ok(all)
    }

    /// All of a configuration that can fail: what it names is loaded, and its sockets are open. Those of its tunnels that run already are not touched.
    async fn open(&mut self, entries: Vec<Entry>) -> Result<Opened, Report> {
        let wanted = entries.iter().map(|entry| entry.said.clone()).collect();
        let mut ready = Vec::new();
        for new in self.prepare(entries)? {
            let socket = self.sockets.listen(&new.key, &new.listen, new.mode).await;
            let socket = socket.map_err(|report| report.within(&new.place))?;
            ready.push((new, socket));
        }
        if let Some(address) = self.args.admin.clone() {
            let socket = self.sockets.listen(&admin_key(&address), &address, 0o600).await?;
            if !socket.is_local() {
                return Err(Report::usage(format!(
                    "--admin {address}: that socket can be reached from other machines"
                )));
            }
        }
        Ok(Opened { wanted, ready })
    }

    /// Runs these tunnels and no others.
    fn begin(&mut self, opened: Opened) -> Result<(), Report> {
        let Opened { wanted, ready } = opened;
        let mut started = Vec::new();
        for (ready, socket) in ready {
            let address = ready.listen.clone();
            self.sockets.set_mode(&ready.key, ready.mode);
            match ready.start(socket, &self.shared.book) {
                Ok(running) => started.push(running),
                Err(error) => {
                    started.iter().for_each(Running::stop);
                    return Err(Report::io(format!("can't listen on {address}"), &error));
                }
            }
        }
        let stays = |running: &Running| {
            wanted.contains(&running.said) && !started.iter().any(|started: &Running| started.name == running.name)
        };
        let (kept, stopped): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().partition(stays);
        self.running = kept;
        self.running.extend(started);
        // Nobody may come between the last call and the end of a socket. The new ones listen already, on those that stay.
        self.keep_sockets();
        stopped.iter().for_each(Running::stop);
        self.keep_pages();
        let watched = self
            .running
            .iter()
            .flat_map(|running| running.watched.iter().map(|watched| (running.name.0.clone(), watched.clone())));
        self.shared.book.set_watched(watched.collect());
        Ok(())
    }

    fn keep_sockets(&mut self) {
        let keys = self.running.iter().map(|running| running.key.clone());
        let keys: Vec<String> = keys.chain(self.args.admin.as_deref().map(admin_key)).collect();
        self.sockets.keep(&keys);
    }

    fn keep_pages(&self) {
        let names: Vec<(String, Side)> = self.running.iter().map(|running| running.name.clone()).collect();
        self.shared.book.keep(&names);
    }

    /// Reads the configuration again; with `all`, also the files that are watched.
    async fn reload(&mut self, manager: &Manager, all: bool) {
        manager.reloading();
        if all {
            // Loading may wait for a disk.
            let watched = self.shared.book.watched();
            let refresh = move || {
                for (tunnel, files) in watched {
                    let before = files.stats().failing;
                    // What is new is said by whoever watches.
                    if !files.refresh() && files.stats().failing == before {
                        let (what, why) = (files.what, before.unwrap_or_default());
                        log::line(format!("error: {tunnel}: {what} not reloaded, the old stays in use: {why}"));
                    }
                }
            };
            let _ = tokio::task::spawn_blocking(refresh).await;
        }
        let applied = self.apply().await;
        if applied.is_err() {
            // What was opened for it.
            self.keep_sockets();
            self.keep_pages();
        }
        let failure = applied.err().map(|report| report.to_string());
        let new = self.shared.book.reloaded(failure.as_deref());
        match failure {
            // Flags don't change; what was loaded for them has been said.
            None if matches!(self.source, Source::Flags(_)) => {}
            None => Event::new("reloaded").saying("configuration").only_json("what", "configuration".into()).write(),
            Some(why) if new || all => {
                log::line(format!("error: configuration not reloaded, the old stays in use: {why}"));
            }
            Some(_) => {}
        }
        manager.ready(false);
    }

    /// Has what is configured now run, and nothing else.
    async fn apply(&mut self) -> Result<(), Report> {
        let Plan { process, entries } = match &self.source {
            Source::File(file) => Plan::read(file)?,
            Source::Flags(entries) => Plan { process: self.args.clone(), entries: entries.clone() },
        };
        let opened = match self.open(entries).await {
            Ok(opened) => opened,
            Err(report) => return Err(report.within(&self.source.shown())),
        };
        self.begin(opened)?;
        self.adopt(process);
        Ok(())
    }

    /// Returns when a configuration that could not be used is tried again: a port may be free by now.
    async fn retry(&self) {
        if self.shared.book.configuration().failing.is_none() {
            pending().await
        }
        sleep(RETRY).await;
    }

    fn adopt(&mut self, new: ProcessArgs) {
        if new.admin != self.args.admin || new.takeover != self.args.takeover {
            log::line("warning: admin and takeover change when the process is started again");
        }
        log::set_json(new.log == LogFormat::Json);
        (self.args.log, self.args.drain) = (new.log, new.drain);
    }

    /// Where the next process asks. Once the other one has gone there is no way back: then this one goes on without.
    fn handover(&self, took_over: bool) -> Result<Option<Handover>, Report> {
        or_without(took_over, self.args.takeover.as_deref().map(Handover::listen).transpose())
    }

    /// Answers HTTP, if that is wanted.
    async fn admin(&mut self, took_over: bool) -> Result<Option<JoinHandle<()>>, Report> {
        or_without(took_over, self.open_admin().await)
    }

    async fn open_admin(&mut self) -> Result<Option<JoinHandle<()>>, Report> {
        let Some(address) = self.args.admin.clone() else { return Ok(None) };
        let socket = self.sockets.listen(&admin_key(&address), &address, 0o600).await?;
        let door = socket.door().map_err(|error| Report::io(format!("can't listen on {address}"), &error))?;
        Event::new("listening")
            .saying(format!("on {}", door.address()))
            .only_json("address", door.address().into())
            .word("side", "admin")
            .write();
        let (book, stage) = (self.shared.book.clone(), self.shared.stage.subscribe());
        Ok(Some(tokio::spawn(admin::serve(door, book, stage))))
    }

    /// Takes nothing new.
    fn close(&mut self, handed_over: bool) {
        if handed_over {
            self.sockets.leave();
        }
        // Whether we drain can be asked until the end. Nobody may come between the last call and the end of a socket.
        self.sockets.keep(&self.args.admin.as_deref().map(admin_key).into_iter().collect::<Vec<_>>());
        self.running.iter().for_each(Running::stop);
        let _ = self.shared.stage.send(Stage::Draining);
        Event::new("draining")
            .number("sessions", self.shared.book.live())
            .number("seconds", self.args.drain)
            .number("handed_over", handed_over)
            .write();
    }

    /// Lets what is there end, for so long, or until it is told to stop again.
    async fn drain(mut self, mut stop: impl AsyncFnMut()) {
        let patience = Duration::from_secs(self.args.drain);
        tokio::select! {
            () = self.at_rest() => {}
            () = sleep(patience) => {}
            () = stop() => {}
        }
        let left = self.shared.book.live();
        let _ = self.shared.stage.send(Stage::Ending);
        let _ = tokio::time::timeout(LAST_WORDS, self.at_rest()).await;
        self.sockets.keep(&[]);
        self.shared.failures.flush();
        Event::new("stopped").number("broken_off", left).write();
    }

    /// Returns when nobody works on anything.
    async fn at_rest(&self) {
        let mut every = interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            if self.shared.book.working() == 0 {
                return;
            }
        }
    }
}

async fn handed_over(handover: Option<&mut Handover>, sockets: &Sockets) {
    match handover {
        Some(handover) => handover.done(|| sockets.handles()).await,
        None => pending().await,
    }
}

/// What a process that took over does without, rather than end with nobody to go on.
fn or_without<T>(took_over: bool, made: Result<Option<T>, Report>) -> Result<Option<T>, Report> {
    match made {
        Err(report) if took_over => {
            log::line(format!("warning: {report}; this process goes on without it"));
            Ok(None)
        }
        made => made,
    }
}

/// What the admin listener is called among the sockets.
fn admin_key(address: &str) -> String {
    format!("admin {address}")
}

/// Each session needs two; a shell gives a thousand. Commands get what we were given: some programs can't use more, or try to close them all.
fn raise_descriptors() -> rustix::io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if let Some(before) = limit.current.filter(|_| limit.current != limit.maximum) {
        exec::set_descriptors(before);
    }
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
}

/// How long after a failure the same configuration is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How long it takes to tell all peers that we stop.
const LAST_WORDS: Duration = Duration::from_secs(5);
