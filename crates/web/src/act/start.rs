//! Starting runs: in the journal, or where a service makes them for all workers.

use axum::http::StatusCode;
use beamline::NotStarted;
use engine::{NewRun, Orchestrator, RunId};

use crate::app::Shared;
use crate::fault::Fault;

/// A run that was started.
pub(crate) struct Started {
    /// Its id in the journal. Where a service made it, the journal has it once a worker of this state folder took it.
    pub run: RunId,
    /// Its id at the service, and its page there.
    pub there: Option<(String, String)>,
}

impl Started {
    /// Its page here.
    pub(crate) fn address(&self) -> String {
        match &self.there {
            Some((id, _)) => format!("/runs/{}?there={id}", self.run),
            None => format!("/runs/{}", self.run),
        }
    }

    /// For the audit log.
    pub(crate) fn told(&self) -> String {
        match &self.there {
            Some((id, _)) => format!("run {}, in Prefect {id}", self.run),
            None => format!("run {}", self.run),
        }
    }
}

/// Starts a run of the flow. The same key gives the same run.
pub(crate) async fn start(app: &Shared, flow: &str, new: NewRun) -> Result<Started, Fault> {
    let Some(starts) = app.starts.get() else {
        return Ok(Started { run: app.engine.start(flow, new).await?.id, there: None });
    };
    let made = starts.start(flow, new).await?;
    Ok(Started { run: made.run, there: Some((made.there, made.page)) })
}

impl From<NotStarted> for Fault {
    fn from(error: NotStarted) -> Self {
        match error.retry_helps {
            true => Fault::new(StatusCode::SERVICE_UNAVAILABLE, error.why)
                .hint("try again when the server is back: the same form makes one run, however often it is sent")
                .after(30),
            false => Fault::new(StatusCode::BAD_GATEWAY, error.why),
        }
    }
}
