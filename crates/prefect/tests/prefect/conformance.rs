//! A real server against the table of transitions that the embedded engine is held to as well.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::conformance::{Answer, Given, Judge, Row};
use engine::transition::Entity;
use jiff::{SignedDuration, Timestamp};
use prefect::{Client, NewDeployment, NewFlowRun, NewTaskRun, Policy, Proposal, State, StateType, Verdict};
use serde_json::json;
use uuid::Uuid;

/// A Prefect server as a judge.
pub struct Server {
    client: Client,
    free: Uuid,
    limited: Uuid,
    limits: bool,
    count: AtomicU32,
}

fn kind(state: engine::StateType) -> StateType {
    serde_json::from_value(json!(state.to_string())).expect("both have the same types")
}

fn back(state: StateType) -> engine::StateType {
    serde_json::from_value(json!(state)).expect("both have the same types")
}

/// A deployment of a flow that no worker knows.
pub async fn deployment(client: &Client, name: &str, limit: Option<u32>) -> NewDeployment {
    let flow = client.flow(&format!("flow_of_{name}")).await.unwrap();
    NewDeployment {
        name: name.to_owned(),
        flow_id: flow.id,
        description: String::new(),
        version: "1".into(),
        tags: vec![],
        parameters: json!({}),
        parameter_openapi_schema: json!({ "type": "object", "properties": {} }),
        enforce_parameter_schema: false,
        work_pool_name: "judged".into(),
        work_queue_name: "default".into(),
        paused: false,
        concurrency_limit: limit,
        schedules: vec![],
        labels: BTreeMap::new(),
    }
}

impl Server {
    pub async fn new(client: &Client) -> Self {
        client.create_work_pool("judged", "beamrail", "", &json!({})).await.unwrap();
        let free = deployment(client, "free", None).await;
        let limited = deployment(client, "limited", Some(1)).await;
        Server {
            free: client.put_deployment(&free).await.unwrap().id,
            limited: client.put_deployment(&limited).await.unwrap().id,
            limits: client.version().await.unwrap().has_deployment_limits(),
            client: client.clone(),
            count: AtomicU32::new(0),
        }
    }

    async fn make(&self, row: &Row) -> (Uuid, State) {
        let deployment = if row.given == Given::LimitFull { self.limited } else { self.free };
        let mut new = NewFlowRun { name: Some(row.name.to_owned()), ..NewFlowRun::default() };
        if row.given == Given::NotDue && row.entity == Entity::Run {
            let later = Timestamp::now() + SignedDuration::from_hours(48);
            new.state = Some(Proposal::new(StateType::Scheduled).at(later));
        }
        if row.given == Given::RetryLeft && row.entity == Entity::Run {
            new.empirical_policy = Policy { retries: Some(1), retry_delay: Some(1) };
        }
        let run = self.client.run_deployment(deployment, &new).await.unwrap();
        if row.given == Given::Held {
            self.client.set_infrastructure(run.id, "host:1").await.unwrap();
        }
        (run.id, run.state.expect("a state"))
    }

    /// Brings a run to a state by the usual way.
    async fn bring(&self, run: Uuid, mut now: State, to: StateType) -> State {
        use StateType::{Cancelling, Paused, Pending, Running, Scheduled};
        let way: &[StateType] = match to {
            Scheduled => &[],
            Pending => &[Pending],
            Running => &[Pending, Running],
            _ => &[Pending, Running, to],
        };
        for step in way {
            if *step == Cancelling {
                self.client.set_infrastructure(run, "host:1").await.unwrap();
            }
            let later = Timestamp::now() + SignedDuration::from_hours(1);
            let proposal =
                if *step == Paused { Proposal::suspended("key", later) } else { Proposal::new(*step) };
            now = match self.client.propose(run, &proposal).await.unwrap() {
                Verdict::Accept(state) => state,
                other => panic!("{step} on the way to {to}: {other:?}"),
            };
        }
        now
    }

    async fn task(&self, run: Uuid, policy: Policy) -> Uuid {
        let number = self.count.fetch_add(1, Ordering::Relaxed).to_string();
        let new = NewTaskRun {
            flow_run_id: run,
            name: format!("task-{number}"),
            task_key: "task".into(),
            dynamic_key: number,
            inputs: BTreeMap::new(),
            policy,
        };
        self.client.task_run(&new).await.unwrap().id
    }

    async fn about_a_run(&self, row: &Row) -> Option<Answer> {
        if row.given == Given::LimitFull {
            if !self.limits {
                return None;
            }
            let (first, state) = self.make(row).await;
            self.bring(first, state, StateType::Pending).await;
        }
        let (run, made) = self.make(row).await;
        let Some(from) = row.from else {
            return Some(if made.kind == kind(row.to) { Answer::Accept } else { Answer::Keep });
        };
        let before = self.bring(run, made, kind(from)).await;
        if row.given == Given::StepRunning {
            let task = self.task(run, Policy::default()).await;
            assert!(
                self.client.propose_task(task, &Proposal::new(StateType::Running)).await.unwrap().is_accept()
            );
        }
        let to = kind(row.to);
        let mut proposal = match (row.given, to) {
            (Given::AskedAgain, _) => Proposal::new(to).named("AwaitingRetry"),
            (_, StateType::Paused) => {
                Proposal::suspended("key", Timestamp::now() + SignedDuration::from_hours(1))
            }
            _ => Proposal::new(to),
        };
        let mut before = before;
        if row.given == Given::Resent {
            proposal = proposal.transition(Uuid::now_v7());
            before = match self.client.propose(run, &proposal).await.unwrap() {
                Verdict::Accept(state) => state,
                other => panic!("{other:?}"),
            };
        }
        Some(answer(&before, self.client.propose(run, &proposal).await.unwrap()))
    }

    async fn about_a_step(&self, row: &Row) -> Option<Answer> {
        let (run, made) = self.make(row).await;
        self.bring(run, made, StateType::Running).await;
        let retries = (row.given == Given::RetryLeft).then_some(1);
        let task = self.task(run, Policy { retries, retry_delay: retries }).await;
        let due = match row.given {
            Given::NotDue => Timestamp::now() + SignedDuration::from_hours(48),
            _ => Timestamp::now(),
        };
        let way: &[StateType] = match row.from? {
            engine::StateType::Scheduled => &[StateType::Scheduled],
            engine::StateType::Running => &[StateType::Running],
            engine::StateType::Completed => &[StateType::Running, StateType::Completed],
            other => panic!("no way to {other}"),
        };
        let mut before = None;
        for step in way {
            let proposal = Proposal::new(*step);
            let proposal = if *step == StateType::Scheduled { proposal.at(due) } else { proposal };
            before = match self.client.propose_task(task, &proposal).await.unwrap() {
                Verdict::Accept(state) => Some(state),
                other => panic!("{step} on the way: {other:?}"),
            };
        }
        let verdict = self.client.propose_task(task, &Proposal::new(kind(row.to))).await.unwrap();
        Some(answer(&before.expect("a state"), verdict))
    }
}

/// A verdict without its words. What was stored anew has a new id.
fn answer(before: &State, verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Accept(state) if state.id == before.id => Answer::Keep,
        Verdict::Accept(_) => Answer::Accept,
        Verdict::Reject { state: Some(state), .. } if state.id != before.id => {
            Answer::Instead(back(state.kind))
        }
        Verdict::Reject { .. } => Answer::Keep,
        Verdict::Abort { .. } => Answer::Abort,
        Verdict::Wait { .. } => Answer::Wait,
    }
}

#[async_trait::async_trait]
impl Judge for Server {
    async fn answer(&self, row: &Row) -> Option<Answer> {
        match row.entity {
            Entity::Run => self.about_a_run(row).await,
            Entity::Step => self.about_a_step(row).await,
        }
    }
}
