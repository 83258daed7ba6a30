//! What the parts of the worker share: the server, the journal, and which run is which.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use beamline::config::is_custodial;
use engine::{Engine, NewRun, Orchestrator, Registry, RunId, StateType as Local};
use jiff::Timestamp;
use prefect::{Client, FlowRun, Proposal, StateType, Verdict};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Result;
use crate::ledger::{Ledger, Phase, Row};
use crate::post::Post;

/// The queue here of runs that are ours. The other holds back what is not, or not yet known to be.
pub(crate) const OURS: &str = "prefect";
const AWAY: &str = "prefect-away";
/// The pool here.
pub(crate) const POOL: &str = "default";

/// Something to tell people: the journal of the service.
pub(crate) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A server and a journal.
pub(crate) struct Bridge {
    pub client: Client,
    pub engine: Engine,
    pub registry: Registry,
    pub ledger: Ledger,
    pub aliases: BTreeMap<String, String>,
    pub custody: Option<Post>,
    pub host: String,
    pub tell: Tell,
    pub flows: Mutex<HashMap<Uuid, String>>,
    pub claimed: std::sync::atomic::AtomicU64,
}

/// The id of a run here: the same on whichever host it is done.
pub(crate) fn local_id(there: &FlowRun) -> RunId {
    RunId::derived(there.created, there.id, "prefect")
}

/// What became of a try to claim a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    Ours,
    Refused,
    Unknown,
}

impl Bridge {
    /// How runs of ours are marked in Prefect: "host:pid:mark". The mark stays over restarts.
    fn infrastructure(&self) -> String {
        format!("{}:{}:{}", self.host, std::process::id(), self.ledger.mark())
    }

    fn is_ours(&self, run: &FlowRun) -> bool {
        run.infrastructure_pid.as_deref().is_some_and(|pid| pid.ends_with(&self.ledger.mark()))
    }

    /// The name here of a flow there. Flows keep their names.
    pub async fn flow_name(&self, id: Uuid) -> Result<Option<String>> {
        let lock = || self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = lock().get(&id) {
            return Ok(Some(name.clone()));
        }
        let found = self.client.flow_by_id(id).await?;
        let name = found.map(|flow| self.aliases.get(&flow.name).cloned().unwrap_or(flow.name));
        if let Some(name) = &name {
            lock().insert(id, name.clone());
        }
        Ok(name)
    }

    /// Claims a polled run and makes its run here. The transition is written down before it is proposed, so a
    /// claim whose answer never came is known again after a restart.
    pub async fn claim(&self, there: &FlowRun) -> Result<Claimed> {
        let Some(flow) = self.flow_name(there.flow_id).await? else { return Ok(Claimed::Unknown) };
        if self.registry.get(&flow).is_none() {
            return Ok(Claimed::Unknown);
        }
        if is_custodial(&flow) && self.custody.as_ref().is_some_and(|post| !post.is_owner()) {
            return Ok(Claimed::Refused);
        }
        let known = self.ledger.by_flow_run(there.id)?;
        let row = Row {
            flow_run: there.id,
            run: known.as_ref().map_or_else(|| local_id(there), |row| row.run),
            name: there.name.clone(),
            flow: there.flow_id,
            deployment: there.deployment_id,
            claim: Uuid::now_v7(),
            phase: Phase::Claiming,
            child: false,
            history: 0,
            logs: 0,
        };
        self.ledger.put(&row)?;
        if !self.propose_claim(&row).await? {
            return Ok(Claimed::Refused);
        }
        self.client.set_infrastructure(there.id, &self.infrastructure()).await?;
        if self.client.version().await?.has_submitting() {
            let submitting = Proposal::new(StateType::Pending).named("Submitting");
            self.client.propose(there.id, &submitting).await?;
        }
        self.take_up(&row, there, &flow).await?;
        Ok(Claimed::Ours)
    }

    async fn propose_claim(&self, row: &Row) -> Result<bool> {
        let claim = Proposal::new(StateType::Pending).transition(row.claim);
        match self.client.propose(row.flow_run, &claim).await? {
            Verdict::Accept(_) => Ok(true),
            // Somebody else was faster, or no place is free: it is polled again when it is due.
            Verdict::Reject { .. } | Verdict::Abort { .. } | Verdict::Wait { .. } => {
                self.ledger.set_phase(row.flow_run, Phase::Closed)?;
                Ok(false)
            }
        }
    }

    /// Makes the run here, or lets the one of before go on.
    async fn take_up(&self, row: &Row, there: &FlowRun, flow: &str) -> Result<()> {
        let parameters = match &there.parameters {
            Value::Object(_) => there.parameters.clone(),
            _ => Value::Object(serde_json::Map::new()),
        };
        let mut new = NewRun::of(flow, parameters).named(&there.name).on(POOL, OURS);
        new.tags = there.tags.clone();
        // The limits and retries of this host's own deployment hold for whoever started the run.
        if let Some(own) = self.engine.deployments().await?.into_iter().find(|one| one.name == flow) {
            (new.retries, new.retry_delay, new.deployment) = (own.retries, own.retry_delay, Some(own.name));
        }
        let made = self.engine.create_run_as(row.run, new).await?;
        self.ledger.set_phase(row.flow_run, Phase::Held)?;
        if made.is_new {
            return Ok(());
        }
        self.engine.put_in_queue(row.run, OURS).await?;
        let state = self.engine.run(row.run).await?.state.kind;
        let went_on = match state {
            Local::Paused => return self.resumed(row).await,
            Local::Failed | Local::Crashed | Local::Cancelled => {
                self.engine.retry(row.run, false).await.map(drop)
            }
            Local::Completed => return self.stays_completed(row).await,
            _ => Ok(()),
        };
        if let Err(error) = went_on {
            (self.tell)(&format!("run {} ({}) stays as it is: {error}", there.name, row.run));
        }
        Ok(())
    }

    /// Prefect lets a completed run be tried again; here, what has completed stays so, and it is told so.
    async fn stays_completed(&self, row: &Row) -> Result<()> {
        let why = "it had completed, and what has completed is not done again";
        self.client.propose(row.flow_run, &Proposal::new(StateType::Running)).await?;
        self.client.propose(row.flow_run, &Proposal::new(StateType::Completed).because(why)).await?;
        self.ledger.set_phase(row.flow_run, Phase::Closed)
    }

    /// After a start: nothing of Prefect's is touched before Prefect has said whose it is.
    pub async fn put_away(&self) -> Result<()> {
        for row in self.ledger.open_rows()? {
            if !row.child {
                self.put(row.run, AWAY).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, run: RunId, queue: &str) -> Result<()> {
        Ok(self.engine.put_in_queue(run, queue).await?)
    }

    /// Asks Prefect whose the runs are that were ours before the start.
    pub async fn settle(&self) -> Result<()> {
        for row in self.ledger.open_rows()? {
            if row.child {
                continue;
            }
            let Some(there) = self.client.flow_run(row.flow_run).await? else {
                (self.tell)(&format!("run {} was deleted in Prefect; its run here is held back", row.name));
                self.ledger.set_phase(row.flow_run, Phase::Closed)?;
                continue;
            };
            self.settle_one(&row, &there).await?;
        }
        Ok(())
    }

    async fn settle_one(&self, row: &Row, there: &FlowRun) -> Result<()> {
        let made = self.engine.run(row.run).await.ok();
        let ended_here = made.as_ref().is_some_and(|run| run.state.kind.is_terminal());
        match there.state_type() {
            Some(StateType::Pending) if row.phase == Phase::Claiming => {
                // The answer to this claim may have been lost.
                if self.propose_claim(row).await? {
                    self.client.set_infrastructure(row.flow_run, &self.infrastructure()).await?;
                    let flow = self.flow_name(there.flow_id).await?.unwrap_or_default();
                    self.take_up(row, there, &flow).await?;
                }
                Ok(())
            }
            Some(StateType::Pending | StateType::Running | StateType::Paused | StateType::Cancelling)
                if self.is_ours(there) =>
            {
                if made.is_none() {
                    let flow = self.flow_name(there.flow_id).await?.unwrap_or_default();
                    return self.take_up(row, there, &flow).await;
                }
                self.put(row.run, OURS).await?;
                self.ledger.set_phase(row.flow_run, Phase::Held)?;
                if there.state_type() == Some(StateType::Cancelling) && !ended_here {
                    self.engine.cancel(row.run, "cancelled in Prefect").await?;
                }
                Ok(())
            }
            Some(StateType::Cancelled) if made.is_some() && !ended_here => {
                // Whoever cancelled it wants its work outside stopped too.
                self.put(row.run, OURS).await?;
                self.engine.cancel(row.run, "cancelled in Prefect").await?;
                Ok(())
            }
            Some(StateType::Crashed) if made.is_some() && !ended_here && self.is_ours(there) => {
                // Taken for dead while this worker was away: its journal knows how to go on.
                let again = Proposal::new(StateType::Scheduled)
                    .named("AwaitingRetry")
                    .because("its worker is back and goes on")
                    .at(Timestamp::now());
                self.client.propose(row.flow_run, &again).await?;
                self.ledger.set_phase(row.flow_run, Phase::Back)
            }
            // Waits for a claim, which goes on here or elsewhere.
            Some(StateType::Scheduled) => self.ledger.set_phase(row.flow_run, Phase::Back),
            _ if ended_here && row.phase == Phase::Held => Ok(()),
            _ => {
                (self.tell)(&format!("run {} was taken over elsewhere; its run here is held back", row.name));
                self.ledger.set_phase(row.flow_run, Phase::Closed)
            }
        }
    }

    /// A person wants it stopped.
    pub async fn cancel(&self, flow_run: Uuid) -> Result<()> {
        let Some(row) = self.ledger.by_flow_run(flow_run)? else { return Ok(()) };
        if row.phase == Phase::Closed {
            return Ok(());
        }
        if self.engine.run(row.run).await?.state.kind.is_terminal() {
            return Ok(());
        }
        self.put(row.run, OURS).await?;
        self.ledger.set_phase(flow_run, Phase::Held)?;
        self.engine.cancel(row.run, "cancelled in Prefect").await?;
        Ok(())
    }

    /// What people did to runs of ours in Prefect that no push tells of: a pause, or a state set by force.
    pub async fn heed(&self) -> Result<()> {
        let rows: Vec<Row> =
            self.ledger.open_rows()?.into_iter().filter(|row| row.phase == Phase::Held).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.flow_run).collect();
        let filter = serde_json::json!({ "flow_runs": { "id": { "any_": ids } } });
        for there in self.client.flow_runs(filter).await? {
            let Some(row) = rows.iter().find(|row| row.flow_run == there.id) else { continue };
            let here = self.engine.run(row.run).await?.state.kind;
            match (there.state_type(), here) {
                (Some(StateType::Paused), Local::Running) if !self.is_own_pause(row, &there).await? => {
                    self.engine.pause(row.run, "paused in Prefect").await?;
                }
                // What we tell has a transition's id; what "Resume" puts has none.
                (Some(StateType::Running), Local::Paused)
                    if there
                        .state
                        .as_ref()
                        .is_some_and(|state| state.state_details.transition_id.is_none()) =>
                {
                    self.resumed(row).await?;
                }
                (Some(StateType::Cancelling | StateType::Cancelled), Local::Running | Local::Paused) => {
                    self.cancel(there.id).await?;
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Gives back what has not ended: another worker may take it, or this one when it is back.
    pub async fn give_back(&self) -> Result<u64> {
        let mut given = 0;
        for row in self.ledger.open_rows()? {
            if row.child || row.phase != Phase::Held {
                continue;
            }
            let state = self.engine.run(row.run).await?.state.kind;
            if matches!(state, Local::Scheduled | Local::Pending | Local::Running) {
                self.put(row.run, AWAY).await?;
                let back = Proposal::new(StateType::Scheduled)
                    .named("AwaitingRetry")
                    .because("its worker stopped and handed it back")
                    .at(Timestamp::now());
                self.client.propose(row.flow_run, &back).await?;
                self.ledger.set_phase(row.flow_run, Phase::Back)?;
                given += 1;
            }
        }
        Ok(given)
    }
}
