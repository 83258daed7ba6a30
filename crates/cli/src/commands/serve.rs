//! `beamrail serve`: the dashboard.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use beamline::config::Config;
use engine::Clock;
use web::{Access, Role, Server, Shared};

use super::beam::{Beam, BeamArgs};
use super::live::say;
use crate::exit::{Exit, Failure};
use crate::output;

/// Show the dashboard: scans, runs, copies and what goes next, in a browser
///
/// Listens on this machine alone unless told otherwise. For others, give people tokens (BEAMRAIL_WEB_ACCESS_FILE) or
/// put a proxy in front that authenticates ([web] in beamrail.toml).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    beam: BeamArgs,

    /// Address and port; port 0 takes a free one [default: [web] listen, else 127.0.0.1:8320]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// Serves until told to stop.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let beam = Beam::open(&args.beam)?;
    // Pages start runs, too.
    beam.deploy()?;
    let stop = super::stop_on_signals()?;
    let server = bind(&beam, args.listen)?;
    // On stdout: scripts that took port 0 read where it is.
    output::print(&format!("http://{}", server.address()))?;
    say(&format!("dashboard of beamline {}; Ctrl-C ends it", beam.config.beamline.id));
    beam.wait(server.serve(async move {
        while !stop.requested() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }));
    Ok(())
}

/// A dashboard beside other work, with a clock of its own.
pub(crate) struct Background {
    beam: Beam,
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Background {
    /// Starts it.
    pub(crate) fn start(config: &Config, clock: Clock, listen: SocketAddr) -> Result<Self, Failure> {
        let beam = Beam::with(config.clone(), clock)?;
        let server = bind(&beam, Some(listen))?;
        let address = server.address();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = beam.spawn(server.serve(async move {
            let _ = stopped.await;
        }));
        Ok(Self { beam, address, stop, serving })
    }

    /// Starts it anew at the same address, at another time. Pages that are open go on by themselves.
    pub(crate) fn at(self, config: &Config, clock: Clock) -> Result<Self, Failure> {
        let _ = self.stop.send(());
        let _ = self.beam.wait(self.serving);
        Self::start(config, clock, self.address)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The server of this beamline, listening.
pub(crate) fn bind(beam: &Beam, listen: Option<SocketAddr>) -> Result<Server, Failure> {
    let access = access(beam)?;
    let default = || web::DEFAULT_LISTEN.parse().ok();
    let listen = listen.or(beam.config.web.listen).or_else(default);
    let listen = listen.ok_or_else(|| Failure::usage("give an address with --listen"))?;
    let app = web::App::new(beam.config.clone(), beam.engine.clone(), beam.beamline.clone(), access)?;
    if let Some(client) = super::prefect::client()? {
        // Only to be read: who may delete what is the workers' business.
        let mark = worker::mark(&beam.config.state.join(super::beam::PREFECT_LEDGER))?;
        app.schedules_are_with(std::sync::Arc::new(worker::PrefectSettings::new(&client, mark)?));
        app.runs_are_made_by(std::sync::Arc::new(worker::PrefectStarts::new(&client, &beam.config)?));
    }
    beam.wait(open(app, listen)).map_err(Failure::from)
}

async fn open(app: Shared, listen: SocketAddr) -> Result<Server, web::Error> {
    let router = web::router(&app);
    Server::bind(app, listen, router).await
}

/// Who may come in: the access file, one token in the environment, a proxy.
fn access(beam: &Beam) -> Result<Access, Failure> {
    let mut access = Access::default();
    let bad = |what: &str, why: String| Failure::new(Exit::BadInput, format!("{what}: {why}"));
    if let Some(file) = variable("BEAMRAIL_WEB_ACCESS_FILE") {
        access.read(&PathBuf::from(file))?;
    }
    if let Some(token) = secret("BEAMRAIL_WEB_TOKEN")? {
        access.add("admin", Role::Administer, &token).map_err(|why| bad("BEAMRAIL_WEB_TOKEN", why))?;
    }
    let web = &beam.config.web;
    if let Some(header) = &web.proxy_header {
        let secret = secret("BEAMRAIL_PROXY_SECRET")?.ok_or_else(|| {
            bad("[web] proxy_header", "set BEAMRAIL_PROXY_SECRET, which the proxy sends along".into())
        })?;
        // The configuration has been checked, so every role is one.
        let roles = web.roles.iter().filter_map(|(who, role)| Some((who.clone(), role.parse().ok()?)));
        access
            .trust_proxy(header, &secret, roles.collect())
            .map_err(|why| bad("BEAMRAIL_PROXY_SECRET", why))?;
    }
    Ok(access)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A secret of the environment, or of the file that `NAME_FILE` names.
fn secret(name: &str) -> Result<Option<String>, Failure> {
    if let Some(value) = variable(name) {
        return Ok(Some(value));
    }
    let Some(file) = variable(&format!("{name}_FILE")) else { return Ok(None) };
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::new(Exit::BadInput, format!("{name}_FILE: {file}: {error}")))?;
    Ok(Some(text.trim().to_owned()))
}
