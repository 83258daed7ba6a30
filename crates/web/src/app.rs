//! What all pages share: the beamline, its records, who may come in, and what is kept from request to request.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use beamline::config::Config;
use beamline::settings::Source;
use beamline::{Beamline, Starts};
use engine::Engine;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::access::{Access, Role, Visitor};
use crate::audit::Audit;
use crate::data::centers::Centers;
use crate::data::metadata::Files;
use crate::data::past::Past;
use crate::elsewhere::Elsewhere;
use crate::fault::Fault;
use crate::health::Health;
use crate::live::Hub;
use crate::looks::Looks;
use crate::rate::Rates;
use crate::session::{Sessions, random_text};
use crate::{Error, metrics};

/// Requests a second of one peer, and how many at once: a viewer asks for many tiles.
const RATE: (f64, f64) = (200.0, 1000.0);
/// Tries of a token.
const LOGINS: (f64, f64) = (0.2, 10.0);

/// Everything that requests share. One a process.
pub struct App {
    /// The journal.
    pub engine: Engine,
    /// Sites, facilities, custody.
    pub beamline: Arc<Beamline>,
    /// The configuration.
    pub config: Config,
    /// In which times are shown.
    pub zone: TimeZone,
    pub(crate) access: Access,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) secure: bool,
    pub(crate) sessions: Sessions,
    pub(crate) audit: Audit,
    pub(crate) live: Hub,
    pub(crate) past: Past,
    pub(crate) looks: Looks,
    pub(crate) centers: Centers,
    pub(crate) files: Files,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) starts: OnceLock<Arc<dyn Starts>>,
    pub(crate) health: Health,
    /// The configuration's file as this process began with it.
    pub(crate) text: String,
    pub(crate) rates: Rates,
    pub(crate) logins: Rates,
    pub(crate) metrics: metrics::Counters,
    pub(crate) began: Instant,
    pub(crate) viewer: viewer::Options,
    key: [u8; 32],
}

/// The application, as handlers get it.
pub type Shared = Arc<App>;

impl App {
    /// Opens what the pages need besides the beamline itself.
    ///
    /// # Errors
    /// The audit log cannot be opened.
    pub fn new(
        config: Config,
        engine: Engine,
        beamline: Arc<Beamline>,
        access: Access,
    ) -> Result<Shared, Error> {
        let audit = Audit::open(&config.state).map_err(|error| Error::Access {
            what: config.state.join("audit.jsonl").display().to_string(),
            reason: error.to_string(),
        })?;
        let zone = TimeZone::get(&config.beamline.time_zone).unwrap_or(TimeZone::UTC);
        let random = random_text().map_err(|error| Error::Access {
            what: "the system's randomness".into(),
            reason: error.to_string(),
        })?;
        let key = blake3::hash(random.as_bytes());
        let mut hosts: BTreeSet<String> = config.web.hosts.iter().map(|host| host.to_lowercase()).collect();
        let own = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        hosts.extend(["localhost".to_owned(), own]);
        Ok(Arc::new(Self {
            live: Hub::new(engine.clone()),
            past: Past::default(),
            looks: Looks::new(&config.state),
            centers: Centers::default(),
            files: Files::default(),
            elsewhere: Elsewhere::default(),
            starts: OnceLock::new(),
            health: Health::default(),
            text: std::fs::read_to_string(&config.path).unwrap_or_default(),
            rates: Rates::new(RATE.0, RATE.1),
            logins: Rates::new(LOGINS.0, LOGINS.1),
            metrics: metrics::Counters::default(),
            sessions: Sessions::default(),
            began: Instant::now(),
            viewer: viewer::Options::default(),
            secure: config.web.https,
            key: *key.as_bytes(),
            engine,
            beamline,
            config,
            zone,
            access,
            hosts,
            audit,
        }))
    }

    /// Deletions are scheduled there, and not in the journal. The first place stays.
    pub fn schedules_are_with(&self, source: Arc<dyn Source>) {
        self.elsewhere.attach(source);
    }

    /// Runs are made there, and not in the journal. The first place stays.
    pub fn runs_are_made_by(&self, starts: Arc<dyn Starts>) {
        let _ = self.starts.set(starts);
    }

    /// Now, by the beamline's clock.
    pub fn now(&self) -> Timestamp {
        self.engine.clock().now()
    }

    /// What the forms of a visitor carry: bound to this process and to their session or name.
    pub(crate) fn csrf(&self, of: &str) -> String {
        blake3::keyed_hash(&self.key, of.as_bytes()).to_hex().to_string()
    }

    /// Custody's answers come from a lock and a disk, so they are fetched on a thread that may wait.
    pub(crate) async fn custody<T, F>(self: &Arc<Self>, work: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce(&custody::Custody) -> custody::Result<T> + Send + 'static,
    {
        let app = self.clone();
        self.blocking(move || Ok(work(&app.beamline.custody)?)).await
    }

    /// Work that waits for a disk.
    pub(crate) async fn blocking<T, F>(&self, work: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(Fault::internal("the work was ended before it was done")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        parts.extensions.get::<Visitor>().cloned().ok_or_else(|| Fault::forbidden("nobody is signed in"))
    }
}

/// Somebody who may operate; others are refused before the handler begins.
pub(crate) struct Operator(pub Visitor);

/// Somebody who may administer.
pub(crate) struct Administrator(pub Visitor);

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        with_role(parts, state, Role::Operate).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Administrator {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        with_role(parts, state, Role::Administer).await.map(Self)
    }
}

async fn with_role<S: Send + Sync>(parts: &mut Parts, state: &S, role: Role) -> Result<Visitor, Fault> {
    let visitor = Visitor::from_request_parts(parts, state).await?;
    if visitor.role >= role {
        return Ok(visitor);
    }
    let may = visitor.role;
    Err(Fault::forbidden(format!("{} may {may}, and this needs the role {role}", visitor.who))
        .hint("ask whoever administers this dashboard for the role"))
}
