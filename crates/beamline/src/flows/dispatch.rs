//! `dispatcher`: what is done with a new scan. It moves it, then starts reconstructions side by side, at another
//! facility where one is down or too busy.

use std::collections::BTreeMap;
use std::sync::Arc;

use custody::ScanName;
use engine::{Context, Failure, NewRun, RunId, StepContext, join_all};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::job::FACILITY_DOWN;
use super::work::{Outcome, patient, scan_of, sight};
use crate::error::{EXPORT_CONTROLLED, Error, Result};
use crate::runtime::{Beamline, DispatcherSettings};
use crate::settings::{self, DECISIONS, Given};

/// The flow that moves a new scan.
const NEW_FILE: &str = "new_832_file_flow";
/// Failures after which another facility is tried: it does not answer, or its queue is too long.
const ELSEWHERE: [&str; 3] = [FACILITY_DOWN, "queue-timeout", "site-unreachable"];

/// The parameters of `dispatcher`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DispatcherParameters {
    /// The raw scan, by any path that ends in its folder and name.
    #[serde(default)]
    pub file_path: Option<String>,
    /// Whether the scan is export-controlled, if whoever asks knows.
    #[serde(default)]
    pub is_export_control: Option<bool>,
    /// What older triggers pass; not used.
    #[serde(default)]
    pub config: Option<Value>,
}

/// What was dispatched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dispatched {
    /// The scan.
    pub scan: String,
    /// What the move did, if it was one.
    pub moved: Option<Value>,
    /// What each flow made, under the name that was configured.
    pub reconstructed: BTreeMap<String, Leg>,
}

/// How one of the reconstructions went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "leg")]
pub enum Leg {
    /// It is done.
    Done {
        /// The flow that did it: the configured one, or one in its place.
        by: String,
        /// What it made.
        output: Value,
        /// The flows that could not.
        instead_of: Vec<String>,
    },
    /// The scan may not go there.
    KeptBack {
        /// Why.
        reason: String,
    },
}

/// The flow.
pub(super) async fn dispatch(
    beam: Arc<Beamline>,
    context: Context,
    parameters: DispatcherParameters,
) -> Outcome<Dispatched> {
    let path = parameters.file_path.clone().unwrap_or_default();
    let identity = scan_of(&path)?;
    let scan = identity.name.clone();
    let settings = decided(&beam, &context).await?;
    let flag = parameters.is_export_control;
    let controlled = sight(&beam, &context, &scan, flag).await?;
    let given = json!({ "file_path": path, "is_export_control": flag });
    let run =
        |flow: &str| NewRun::of(flow, given.clone()).named(format!("{flow}: {scan}")).tag(identity.tag());
    let mut moved = None;
    if settings.new_file {
        moved = Some(context.sub_run::<Value>("move", run(NEW_FILE)).await?);
    }
    let legs = settings.recon.iter().map(|flow| {
        let others: Vec<String> =
            settings.fallback.iter().filter(|other| !settings.recon.contains(other)).cloned().collect();
        leg(&beam, context.scope(flow), flow, others, controlled, &scan, &run)
    });
    let legs: Vec<std::result::Result<Leg, Failure>> =
        join_all(legs.map(|leg| async { Ok(leg.await) }).collect::<Vec<_>>()).await?;
    let mut reconstructed = BTreeMap::new();
    let mut failures = Vec::new();
    for (flow, leg) in settings.recon.iter().zip(legs) {
        match leg {
            Ok(leg) => {
                reconstructed.insert(flow.clone(), leg);
            }
            Err(failure) if failure.kind == engine::FailureKind::Fatal => failures.push((flow, failure)),
            Err(failure) => return Err(failure),
        }
    }
    if failures.is_empty() {
        return Ok(Dispatched { scan: scan.to_string(), moved, reconstructed });
    }
    let text: Vec<String> = failures.iter().map(|(flow, failure)| format!("{flow}: {failure}")).collect();
    let code = failures.first().and_then(|(_, failure)| failure.code.clone());
    let failure = Failure::fatal(format!("{scan}: {}", text.join("; ")));
    Err(Failure { code, ..failure })
}

/// What the dispatcher does today: the configuration, with what the operator decided elsewhere. A journalled answer, so
/// that a run that is taken up again does what it began.
async fn decided(beam: &Arc<Beamline>, context: &Context) -> Outcome<DispatcherSettings> {
    let work = |step: StepContext| async move {
        let base = &beam.flows.dispatcher;
        let given = match beam.settings.decisions().await {
            Ok(Some(given)) => Given::from([(DECISIONS.to_owned(), given)]),
            Ok(None) => return Ok(base.clone()),
            Err(why) => {
                step.warn(format!("the configuration decides, for {DECISIONS} could not be read: {why}"));
                return Ok(base.clone());
            }
        };
        settings::decisions(base, beam.flows.recon.keys(), &given)
            .map_err(|why| Failure::fatal(why).with_code("bad-settings"))
    };
    context.step("decide", patient(), work).await
}

/// One reconstruction, at the facility meant for it or at another.
async fn leg(
    beam: &Arc<Beamline>,
    context: Context,
    flow: &str,
    others: Vec<String>,
    controlled: bool,
    scan: &ScanName,
    run: &(dyn Fn(&str) -> NewRun + Sync),
) -> Outcome<Leg> {
    let mut instead_of: Vec<String> = Vec::new();
    let mut last = None;
    for flow in std::iter::once(flow.to_owned()).chain(others) {
        if let Some(reason) = forbidden(beam, &flow, controlled, scan) {
            // Not even begun: what the gate would refuse needs no red run. The gate is asked by the flow anyway.
            context.warn(&reason);
            last = last.or(Some(Ok(Leg::KeptBack { reason })));
            continue;
        }
        let failure = match context.sub_run::<Value>(&flow, run(&flow)).await {
            Ok(output) => return Ok(Leg::Done { by: flow, output, instead_of }),
            Err(failure) => failure,
        };
        match code_of(beam, &context, &flow, &failure).await?.as_deref() {
            Some(code) if ELSEWHERE.contains(&code) => {
                context.warn(format!("{flow} cannot ({code}); trying another facility"));
                instead_of.push(flow);
                last = Some(Err(failure.with_code(code)));
            }
            Some(EXPORT_CONTROLLED) => last = Some(Ok(Leg::KeptBack { reason: failure.message })),
            Some(code) => return Err(failure.with_code(code)),
            None => return Err(failure),
        }
    }
    last.unwrap_or_else(|| Err(Failure::fatal(format!("{flow}: no facility is configured"))))
}

/// Why a controlled scan is not sent through a flow, by custody's policy.
fn forbidden(beam: &Beamline, flow: &str, controlled: bool, scan: &ScanName) -> Option<String> {
    let settings = beam.flows.recon.get(flow)?;
    let site = &beam.facilities.get(&settings.facility)?.site;
    let away = !beam.policy.may_be_at(controlled, site);
    away.then(|| format!("{flow}: {scan} is export-controlled and may not be at {site}"))
}

/// The code of the failure of the run that a sub-run step waited for.
async fn code_of(
    beam: &Arc<Beamline>,
    context: &Context,
    flow: &str,
    failure: &Failure,
) -> Outcome<Option<String>> {
    let child = failure.details.get("run").cloned().and_then(|run| serde_json::from_value::<RunId>(run).ok());
    let Some(child) = child else { return Ok(failure.code.as_deref().map(str::to_owned)) };
    let work = |_: StepContext| async move {
        let Some(runs) = beam.runs.get() else { return Ok(None) };
        let run: Result<_> = runs.run(child).await.map_err(Error::from);
        Ok(run?.error.and_then(|error| error.code).map(String::from))
    };
    context.step(&format!("why {flow} failed"), patient().input(&child), work).await
}
