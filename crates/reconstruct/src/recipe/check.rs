//! Contradictions between parameters.
//!
//! Each parameter was checked against its own type and range when it was set; here only combinations
//! are looked at. What depends on the scan (a distance for phase retrieval, a centre inside the image)
//! is checked when the job is planned.

use super::choices::{CenterMethod, Decision, FlatMethod, PaddingMethod, RingMethod, ScanRange};
use super::error::Problem;
use super::table::Recipe;

/// Every contradiction in `recipe`; empty when it can be used.
pub(super) fn contradictions(recipe: &Recipe) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |broken: bool, key: &str, message: &str| {
        if broken {
            problems.push(Problem { key: key.into(), place: String::new(), message: message.into() });
        }
    };
    let Recipe { geometry, flat, lens, center, gridrec, rings, output, .. } = recipe;

    refuse(
        geometry.half_acquisition == Decision::Yes && geometry.range == ScanRange::Half,
        "geometry.half_acquisition",
        "\"yes\" contradicts geometry.range \"180\": a half-acquisition turns by 360°",
    );
    refuse(
        center.method == CenterMethod::Overlap && geometry.range == ScanRange::Half,
        "center.method",
        "\"overlap\" contradicts geometry.range \"180\": it compares the two halves of a 360° scan",
    );
    refuse(
        center.method == CenterMethod::Fixed && center.value.is_none(),
        "center.value",
        "is missing: center.method \"fixed\" needs the column, for example --set center.value=1279.5",
    );
    refuse(
        center.method != CenterMethod::Fixed && center.value.is_some(),
        "center.value",
        "is used only by center.method \"fixed\"; set that too, or leave the value out",
    );
    if let Some((low, high)) = center.search {
        refuse(low >= high, "center.search", "must be two columns, the smaller first");
        refuse(
            matches!(center.method, CenterMethod::Fixed | CenterMethod::Production),
            "center.search",
            "is not used by center.method \"fixed\" or \"production\"; leave it out or choose another method",
        );
    }
    refuse(
        flat.method == FlatMethod::Region && flat.region.is_none(),
        "flat.region",
        "is missing: flat.method \"region\" needs a region of air, for example \"0:2160,0:50\"",
    );
    refuse(
        flat.method != FlatMethod::Region && flat.region.is_some(),
        "flat.region",
        "is used only by flat.method \"region\"; set that too, or leave the region out",
    );
    refuse(
        lens.enabled && lens.factors.is_empty(),
        "lens.factors",
        "is empty: lens.enabled needs a polynomial, for example [1.0, 0.0, -2.4e-8]",
    );
    refuse(
        gridrec.padding == PaddingMethod::None && gridrec.pad_columns.is_some_and(|columns| columns > 0),
        "gridrec.pad_columns",
        "contradicts gridrec.padding \"none\"; choose \"edge\" or \"zero\"",
    );
    refuse(
        rings.method == RingMethod::Polar && rings.minimum >= rings.maximum,
        "rings.minimum",
        "must be smaller than rings.maximum",
    );
    match (output.scale_min, output.scale_max) {
        (None, None) => {}
        (Some(low), Some(high)) => {
            refuse(low >= high, "output.scale_min", "must be smaller than output.scale_max");
        }
        (None, Some(_)) => refuse(true, "output.scale_min", "is missing: output.scale_max needs it"),
        (Some(_), None) => refuse(true, "output.scale_max", "is missing: output.scale_min needs it"),
    }
    problems
}
