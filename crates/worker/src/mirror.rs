//! Reports runs: states, steps with edges, logs, artifacts, in the order of the journal.

use std::collections::BTreeMap;

use engine::{ArtifactKind, HistoryEntry, Orchestrator, Run, RunFilter, StateType as Local, Step, StepKind};
use jiff::Timestamp;
use prefect::{
    Event, Log, NewFlowRun, NewTaskRun, Policy, Proposal, RunResource, StateType, TaskSeen, Verdict,
};
use serde_json::json;
use uuid::Uuid;

use crate::asking::transition;
use crate::bridge::Bridge;
use crate::edges::parents;
use crate::error::Result;
use crate::ledger::{Phase, Row, Task};
use crate::papers::{papers, picture};
use crate::show;

/// Log lines looked for at once.
const LINES: u32 = 1000;

pub(crate) fn there(state: Local) -> StateType {
    match state {
        Local::Scheduled => StateType::Scheduled,
        Local::Pending => StateType::Pending,
        Local::Running => StateType::Running,
        Local::Completed => StateType::Completed,
        Local::Failed => StateType::Failed,
        Local::Cancelled => StateType::Cancelled,
        Local::Crashed => StateType::Crashed,
        Local::Paused => StateType::Paused,
        Local::Cancelling => StateType::Cancelling,
    }
}

/// What a push works with.
struct Report<'a> {
    row: &'a Row,
    run: Run,
    steps: Vec<Step>,
    events: Vec<Event>,
}

impl Bridge {
    /// Tells everything that was not told of a run. Stops at the first call that fails; the next push goes on
    /// there. `unsure`: the last push did not end, so its last call may have been answered.
    pub async fn push(&self, flow_run: Uuid, unsure: bool) -> Result<()> {
        // Read now: a parent's push may have told this run to its end since the caller looked.
        let row = &match self.ledger.by_flow_run(flow_run)? {
            Some(row) if row.phase == Phase::Held => row,
            _ => return Ok(()),
        };
        let mut unsure = unsure;
        // The run first: where it has ended, the history that is read after it is whole.
        let run = self.engine.run(row.run).await?;
        let history = self.engine.history(row.run).await?;
        let mut report = Report { row, run, steps: self.engine.steps(row.run).await?, events: Vec::new() };
        for entry in history.iter().filter(|entry| entry.id > row.history) {
            match &entry.step {
                Some(key) => self.push_step(&mut report, key, entry, unsure).await?,
                None => self.push_run(&mut report, entry).await?,
            }
            unsure = false;
            self.ledger.told(row.flow_run, entry.id)?;
        }
        self.push_logs(&report, unsure).await?;
        self.push_artifacts(&report).await?;
        self.push_events(&mut report).await;
        self.children(&report).await
    }

    /// The feed is for looking at: what is lost there is lost.
    async fn push_events(&self, report: &mut Report<'_>) {
        let events = std::mem::take(&mut report.events);
        if !events.is_empty() {
            let _ = self.client.emit(&events).await;
        }
    }

    async fn push_run(&self, report: &mut Report<'_>, entry: &HistoryEntry) -> Result<()> {
        let (row, state) = (report.row, &entry.state);
        let transition = transition(row, entry.id);
        let base = |kind| {
            let mut proposal = Proposal::new(kind).transition(transition);
            proposal.message = state.message.clone();
            proposal
        };
        match state.kind {
            Local::Running => self.begin(report, base(StateType::Running)).await,
            Local::Paused => self.pause(row, entry.id, base(StateType::Paused)).await,
            Local::Completed | Local::Failed | Local::Crashed | Local::Cancelled => {
                self.children(report).await?;
                self.push_children(report).await?;
                self.push_logs(report, false).await?;
                self.push_artifacts(report).await?;
                self.close(report, state.kind).await?;
                self.end(report, base(there(state.kind)).named(&state.name)).await
            }
            Local::Cancelling => {
                self.client.propose(row.flow_run, &base(StateType::Cancelling)).await?;
                Ok(())
            }
            // Waits of the flow are the journal's business: to Prefect the run goes on.
            Local::Scheduled | Local::Pending => Ok(()),
        }
    }

    /// RUNNING, from wherever it stands there.
    async fn begin(&self, report: &Report<'_>, proposal: Proposal) -> Result<()> {
        let id = report.row.flow_run;
        match self.client.propose(id, &proposal).await? {
            Verdict::Accept(_) => Ok(()),
            Verdict::Wait { delay, .. } => {
                tokio::time::sleep(delay.min(std::time::Duration::from_secs(5))).await;
                self.client.propose(id, &proposal).await?;
                Ok(())
            }
            Verdict::Reject { state: Some(state), .. } if state.kind == StateType::Paused => {
                // Answered here, not there.
                if self.client.resume(id).await?.is_accept() {
                    self.client.propose(id, &Proposal::new(StateType::Pending)).await?;
                } else {
                    // The server wants the answer in its form, and it was given here.
                    self.client.force(id, &Proposal::new(StateType::Pending)).await?;
                }
                self.client.propose(id, &Proposal::new(StateType::Running)).await?;
                Ok(())
            }
            Verdict::Reject { .. } | Verdict::Abort { .. } => Ok(()),
        }
    }

    /// The end, if the server agrees.
    async fn end(&self, report: &mut Report<'_>, proposal: Proposal) -> Result<()> {
        let row = report.row;
        self.push_events(report).await;
        self.push_report(report).await?;
        self.push_papers(report).await?;
        let phase = match self.client.propose(row.flow_run, &proposal).await? {
            Verdict::Accept(_) | Verdict::Abort { .. } | Verdict::Wait { .. } => Phase::Closed,
            Verdict::Reject { state, .. } => match state.map(|state| state.kind) {
                Some(StateType::Cancelling) => {
                    let cancelled = Proposal::new(StateType::Cancelled)
                        .because(format!("it ended here as {} before it could be stopped", proposal.kind));
                    self.client.propose(row.flow_run, &cancelled).await?;
                    Phase::Closed
                }
                // The server tries it again: it will be polled.
                Some(StateType::Scheduled) => Phase::Back,
                _ => Phase::Closed,
            },
        };
        self.ledger.set_phase(row.flow_run, phase)
    }

    /// The table of steps that every run ends with: one, also where the end is told twice or the run tried again.
    async fn push_report(&self, report: &Report<'_>) -> Result<()> {
        const KEY: &str = "steps";
        let (flow_run, rows) = (report.row.flow_run, show::report(&report.run, &report.steps));
        if let Some((made, _)) = self.ledger.artifact(flow_run, KEY)? {
            return Ok(self.client.update_artifact(made, &rows).await?);
        }
        let about = Some("What each step did");
        let made = self.client.create_artifact(flow_run, None, KEY, &rows, about).await?;
        self.ledger.put_artifact(flow_run, KEY, made, 0)
    }

    /// For whoever looks only at Prefect: times, copies, the picture. One of each, as above. Sub-flows have theirs too: the
    /// dispatcher's reconstruction is where the picture is looked for.
    async fn push_papers(&self, report: &Report<'_>) -> Result<()> {
        let Some(post) = &self.custody else { return Ok(()) };
        let flow_run = report.row.flow_run;
        for (key, content, about) in papers(&post.beam, &self.engine, &report.run).await {
            if let Some((made, _)) = self.ledger.artifact(flow_run, key)? {
                self.client.update_artifact(made, &content).await?;
                continue;
            }
            let made = self.client.create_artifact(flow_run, None, key, &content, Some(about)).await?;
            self.ledger.put_artifact(flow_run, key, made, 0)?;
        }
        Ok(())
    }

    /// Nothing is left RUNNING under a run that has ended.
    async fn close(&self, report: &Report<'_>, ending: Local) -> Result<()> {
        let kind = if ending == Local::Cancelled { StateType::Cancelled } else { StateType::Crashed };
        for (step, generation, task) in self.ledger.tasks(report.row.flow_run)? {
            if !task.kind.is_terminal() {
                let proposal = Proposal::new(kind).because("its run ended before it did");
                self.client.propose_task(task.id, &proposal).await?;
                self.ledger.put_task(report.row.flow_run, &step, generation, &Task { kind, ..task })?;
            }
        }
        Ok(())
    }

    async fn push_step(
        &self,
        report: &mut Report<'_>,
        key: &str,
        entry: &HistoryEntry,
        unsure: bool,
    ) -> Result<()> {
        let row = report.row;
        let of_key = report.steps.iter().filter(|step| step.key == key);
        let Some(step) = of_key.max_by_key(|step| step.generation).cloned() else { return Ok(()) };
        let mut task = self.task(report, &step).await?;
        let kind = there(entry.state.kind);
        let transition = Uuid::new_v5(&row.flow_run, format!("task/{}", entry.id).as_bytes());
        if unsure {
            let state = self.client.task_run_by_id(task.id).await?.and_then(|task| task.state);
            if state.is_some_and(|state| state.state_details.transition_id == Some(transition)) {
                return Ok(());
            }
        }
        let mut proposal = Proposal::new(kind).named(&entry.state.name).transition(transition);
        proposal.message = entry.state.message.clone();
        if kind == StateType::Scheduled {
            proposal = proposal.at(step.wake.unwrap_or(entry.state.time));
        }
        let verdict = match self.client.propose_task(task.id, &proposal).await? {
            // The journal knows when it may begin; the server's clock or rule differs.
            Verdict::Wait { .. } => {
                self.client.propose_task(task.id, &Proposal::new(StateType::Pending)).await?;
                self.client.propose_task(task.id, &proposal).await?
            }
            verdict => verdict,
        };
        if let Verdict::Accept(state) = &verdict {
            let about = self.resource(row);
            let seen = TaskSeen {
                id: task.id,
                name: &step.name,
                task_key: &step.key,
                dynamic_key: &step.generation.to_string(),
                run_count: task.runs,
                before: Some(task.kind),
            };
            report.events.extend(Event::of_task(&about, &seen, state));
        }
        task.runs += u32::from(kind == StateType::Running);
        task.kind = kind;
        self.ledger.put_task(row.flow_run, &step.key, step.generation, &task)
    }

    /// The task of a step, made with what it follows when it is first told of.
    async fn task(&self, report: &Report<'_>, step: &Step) -> Result<Task> {
        let flow_run = report.row.flow_run;
        if let Some(task) = self.ledger.task(flow_run, &step.key, step.generation)? {
            return Ok(task);
        }
        let mut after = Vec::new();
        for parent in parents(step, &report.steps) {
            after.extend(self.ledger.task(flow_run, parent, step.generation)?.map(|task| task.id));
        }
        let new = NewTaskRun {
            flow_run_id: flow_run,
            name: show::name(&step.key),
            task_key: step.key.clone(),
            dynamic_key: step.generation.to_string(),
            inputs: BTreeMap::from([("after".to_owned(), after)]),
            policy: Policy::default(),
        };
        let made = self.client.task_run(&new).await?;
        let task = Task { id: made.id, kind: StateType::Pending, runs: 0 };
        self.ledger.put_task(flow_run, &step.key, step.generation, &task)?;
        Ok(task)
    }

    pub(crate) fn resource(&self, row: &Row) -> RunResource {
        RunResource {
            flow_run: row.flow_run,
            name: row.name.clone(),
            flow: row.flow,
            deployment: row.deployment,
        }
    }

    async fn push_logs(&self, report: &Report<'_>, unsure: bool) -> Result<()> {
        let row = report.row;
        // What was told earlier in this push.
        let mut after = self.ledger.by_flow_run(row.flow_run)?.map_or(row.logs, |row| row.logs);
        loop {
            let lines = self.engine.logs(row.run, after, LINES).await?;
            let mut told = Vec::with_capacity(lines.len());
            let mut last = after;
            for line in lines {
                let task = match &line.step {
                    Some(step) => self.ledger.task(row.flow_run, step, report.run.generation)?,
                    None => None,
                };
                // A line of a step that began after this push: the next push knows its task.
                if task.is_none() && line.step.is_some() && !report.run.state.kind.is_terminal() {
                    break;
                }
                last = line.id;
                told.push(Log {
                    name: if task.is_some() { "prefect.task_runs" } else { "prefect.flow_runs" }.to_owned(),
                    level: line.level.number(),
                    message: line.message,
                    timestamp: line.time,
                    flow_run_id: Some(row.flow_run),
                    task_run_id: task.map(|task| task.id),
                });
            }
            if told.is_empty() {
                return Ok(());
            }
            self.client.logs(&told, unsure).await?;
            self.ledger.told_logs(row.flow_run, last)?;
            after = last;
        }
    }

    async fn push_artifacts(&self, report: &Report<'_>) -> Result<()> {
        let row = report.row;
        for artifact in self.engine.artifacts(row.run).await? {
            let updated = artifact.updated.as_microsecond();
            let known = self.ledger.artifact(row.flow_run, &artifact.key)?;
            let place = artifact.data.as_str().filter(|_| artifact.kind == ArtifactKind::Image);
            let seen = match (&self.custody, place) {
                (Some(post), Some(place)) => picture(&post.beam, place).await,
                _ => None,
            };
            let content = seen.unwrap_or_else(|| show::content(&artifact));
            let id = match known {
                Some((_, told)) if told >= updated => continue,
                Some((id, _)) => {
                    self.client.update_artifact(id, &content).await?;
                    id
                }
                None => {
                    let task = match &artifact.step {
                        Some(step) => self.ledger.task(row.flow_run, step, report.run.generation)?,
                        None => None,
                    };
                    if task.is_none() && artifact.step.is_some() && !report.run.state.kind.is_terminal() {
                        continue;
                    }
                    let task = task.map(|task| task.id);
                    let about = artifact.description.as_deref();
                    self.client.create_artifact(row.flow_run, task, &artifact.key, &content, about).await?
                }
            };
            self.ledger.put_artifact(row.flow_run, &artifact.key, id, updated)?;
        }
        Ok(())
    }

    /// What a run started is told to its end before the run's own.
    async fn push_children(&self, report: &Report<'_>) -> Result<()> {
        if report.steps.iter().all(|step| step.kind != StepKind::Subrun) {
            return Ok(());
        }
        let filter = RunFilter { parent: Some(report.row.run), ..RunFilter::default() };
        for child in self.engine.runs(filter).await?.items {
            if let Some(row) = self.ledger.by_run(child.id)? {
                Box::pin(self.push(row.flow_run, true)).await?;
            }
        }
        Ok(())
    }

    /// A sub-run that had ended is tried again with its parent.
    async fn reopen(&self, row: &Row) -> Result<()> {
        let again = Proposal::new(StateType::Scheduled).named("AwaitingRetry").at(Timestamp::now());
        self.client.propose(row.flow_run, &again).await?;
        self.client.propose(row.flow_run, &Proposal::new(StateType::Pending)).await?;
        self.ledger.set_phase(row.flow_run, Phase::Held)
    }

    /// Sub-runs become sub-flows of the tasks that wait for them. They are done here, and never polled.
    async fn children(&self, report: &Report<'_>) -> Result<()> {
        let waits = |step: &Step| step.kind == StepKind::Subrun;
        if !report.steps.iter().any(waits) {
            return Ok(());
        }
        let filter = RunFilter { parent: Some(report.row.run), ..RunFilter::default() };
        for child in self.engine.runs(filter).await?.items {
            if let Some(row) = self.ledger.by_run(child.id)? {
                if row.phase == Phase::Closed && !child.state.kind.is_terminal() {
                    self.reopen(&row).await?;
                }
                continue;
            }
            let handle = json!(child.id);
            let of = report.steps.iter().find(|step| waits(step) && step.handle.as_ref() == Some(&handle));
            let Some(of) = of else { continue };
            let task = self.task(report, of).await?;
            let there = self.aliases.iter().find(|(_, here)| **here == child.flow).map(|(there, _)| there);
            let flow = self.client.flow(there.unwrap_or(&child.flow)).await?;
            let new = NewFlowRun {
                name: Some(child.name.clone()),
                parameters: child.parameters.clone(),
                idempotency_key: Some(format!("beamrail:{}", child.id)),
                tags: child.tags.clone(),
                parent_task_run_id: Some(task.id),
                state: Some(Proposal::new(StateType::Pending)),
                ..NewFlowRun::default()
            };
            let made = self.client.create_flow_run(flow.id, &new).await?;
            self.ledger.put(&Row {
                flow_run: made.id,
                run: child.id,
                name: made.name,
                flow: flow.id,
                deployment: None,
                claim: Uuid::now_v7(),
                phase: Phase::Held,
                child: true,
                history: 0,
                logs: 0,
            })?;
        }
        Ok(())
    }
}
