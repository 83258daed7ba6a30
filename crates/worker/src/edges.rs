//! What a step follows, for the graph that people look at.
//!
//! The journal has no edges: a flow is code. A step follows those that had ended when it began and that no
//! other such step follows in turn. Parts that run side by side have scopes (`alcf/copy`), and a step follows
//! only steps of its own scope, of scopes around it and of scopes within.

use engine::Step;

fn scope(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(scope, _)| scope)
}

/// Whether one scope is the other or lies around it.
fn kin(a: &str, b: &str) -> bool {
    let around = |outer: &str, inner: &str| {
        outer.is_empty()
            || inner == outer
            || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    around(a, b) || around(b, a)
}

/// The keys of the steps that this one follows.
pub(crate) fn parents<'a>(step: &Step, all: &'a [Step]) -> Vec<&'a str> {
    let Some(began) = step.started else { return Vec::new() };
    let before: Vec<&Step> = all
        .iter()
        .filter(|other| other.generation == step.generation && other.key != step.key)
        .filter(|other| other.position < step.position && kin(scope(&other.key), scope(&step.key)))
        .filter(|other| other.ended.is_some_and(|ended| ended <= began))
        .collect();
    let followed = |one: &&&Step| {
        before.iter().any(|other| {
            let between = one.ended.is_some() && one.ended <= other.started && one.position < other.position;
            between && kin(scope(&one.key), scope(&other.key))
        })
    };
    before.iter().filter(|one| !followed(one)).map(|one| one.key.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{RunId, State, StateType, StepKind};
    use jiff::Timestamp;

    fn step(position: u32, key: &str, from: i64, to: Option<i64>) -> Step {
        let at = |second| Timestamp::from_second(second).unwrap();
        Step {
            run: RunId(uuid::Uuid::nil()),
            generation: 1,
            key: key.into(),
            name: key.into(),
            kind: StepKind::Local,
            position,
            state: State::new(StateType::Running, at(from)),
            attempt: 1,
            submission: 0,
            input: None,
            output: None,
            error: None,
            handle: None,
            acted: false,
            started: Some(at(from)),
            attempt_started: None,
            running_since: None,
            ended: to.map(at),
            wake: None,
        }
    }

    #[test]
    fn a_flow_that_forks_and_joins() {
        let all = [
            step(0, "check", 0, Some(1)),
            step(1, "alcf/copy", 1, Some(5)),
            step(2, "nersc/copy", 1, Some(3)),
            step(3, "nersc/recon", 3, Some(4)),
            step(4, "alcf/recon", 5, Some(9)),
            step(5, "report", 9, None),
        ];
        let of = |index: usize| parents(&all[index], &all);
        assert!(of(0).is_empty());
        assert_eq!((of(1), of(2)), (vec!["check"], vec!["check"]));
        assert_eq!(of(3), ["nersc/copy"], "not of the other branch");
        assert_eq!(of(4), ["alcf/copy"]);
        assert_eq!(of(5), ["nersc/recon", "alcf/recon"], "it joins both");
    }

    #[test]
    fn scopes_that_only_begin_alike_are_strangers() {
        assert!(kin("a", "a/b") && kin("a/b", "") && !kin("a", "ab") && !kin("a/b", "a/c"));
    }
}
