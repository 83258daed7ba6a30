//! What to do about a failure, before why it happened.

use engine::{Failure, FailureKind};

/// What to do, by the failure's code.
pub(crate) fn advice(failure: &Failure) -> &'static str {
    match failure.code.as_deref().unwrap_or_default() {
        "bad-input" => {
            "Look at the scan: beamrail inspect says what is wrong with it. Once the file is right, retry."
        }
        "bad-recipe" | "bad-parameters" => "Start the run again with other parameters; these cannot be used.",
        "export-controlled" => {
            "The scan may not go there. Reconstruct it at a site that export control allows."
        }
        "refused" => "Custody refused; the reasons below say what is missing.",
        "site-unreachable" => "When the site answers again, retry. Finished steps are kept.",
        "facility-down" | "queue-timeout" => {
            "The facility cannot work now. Retry later, or start the flow of another facility."
        }
        "job-died" => {
            "Look at memory and time limits at the facility, then retry: the job goes on at its first unfinished block."
        }
        "job-interrupted" => "Retry: the job goes on at its first unfinished block.",
        "job-failed" => "Read the end of the job's log below, remove the cause, then retry.",
        "disk-full" => "Make room at the site, then retry. Finished steps are kept.",
        "globus-denied" => {
            "Run beamrail check: a credential, a consent or a permission is missing. Then retry."
        }
        "globus-task" | "globus" => "Read what Globus said below, remove the cause, then retry.",
        "run-timeout" => "It took longer than it may. Raise the limit of the facility, then retry.",
        "sub-run-failed" => "Look at the run that failed, below; a retry here tries it again too.",
        _ if failure.kind == FailureKind::Retryable => "Retry. Finished steps are kept.",
        _ => "Remove the cause below, then retry. Finished steps are kept.",
    }
}

/// The message without the log that it quotes, and the log.
pub(crate) fn parts(failure: &Failure) -> (String, Option<String>) {
    const QUOTES: &str = "; its log ends with:\n";
    let (message, quoted) = match failure.message.split_once(QUOTES) {
        Some((message, log)) => (message.to_owned(), Some(log.to_owned())),
        None => (failure.message.clone(), None),
    };
    let log = failure.details.get("log").and_then(|log| log.as_str()).map(str::to_owned);
    (message, log.filter(|log| !log.is_empty()).or(quoted))
}
