//! The transition function shows every row of the table; the rows are what was seen on real servers, and the
//! promises of the embedded engine.

use engine::conformance::{Column, Function, Side, TABLE, check};
use engine::state::StateType;
use engine::transition::{Entity, Facts, Verdict, decide};
use jiff::Timestamp;

#[tokio::test]
async fn every_row_of_the_embedded_column() {
    let (asked, wrong) = check(&Function, Column::Embedded).await;
    println!("{asked} rows");
    assert_eq!(asked, TABLE.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Against Prefect's column exactly the rows marked as stricter differ: no row is lax by accident.
#[tokio::test]
async fn only_the_marked_rows_differ_from_prefect() {
    let (_, differing) = check(&Function, Column::Prefect).await;
    let marked = TABLE.iter().filter(|row| matches!(row.side, Side::Stricter { .. })).count();
    assert_eq!(differing.len(), marked);
    assert!(differing.iter().all(|(row, _)| matches!(row.side, Side::Stricter { .. })), "{differing:#?}");
}

/// Over all pairs of states and all circumstances: nothing leaves COMPLETED, and what has ended is left only
/// towards SCHEDULED.
#[test]
fn nothing_leaves_an_end_but_by_request() {
    let mut tried = 0;
    for entity in [Entity::Run, Entity::Step] {
        for from in StateType::ALL {
            for to in StateType::ALL {
                for bits in 0..32_u32 {
                    let bit = |index: u32| bits >> index & 1 == 1;
                    let facts = Facts {
                        now: Timestamp::UNIX_EPOCH,
                        due: None,
                        held: bit(0),
                        slot_free: bit(1),
                        retry_at: bit(2).then_some(Timestamp::UNIX_EPOCH),
                        steps_running: bit(3),
                        asked_again: bit(4),
                        seen_before: false,
                    };
                    let verdict = decide(entity, Some(from), to, &facts);
                    let changes =
                        matches!(verdict, Verdict::Accept | Verdict::Reject { instead: Some(_), .. });
                    tried += 1;
                    if from == StateType::Completed {
                        assert!(!changes, "{entity:?} {from} to {to}");
                    }
                    if from.is_terminal() && changes {
                        assert_eq!(to, StateType::Scheduled, "{entity:?} {from} to {to}");
                        assert!(entity == Entity::Run || facts.asked_again);
                    }
                }
            }
        }
    }
    assert_eq!(tried, 2 * 9 * 9 * 32);
}
